//! One PostgreSQL on 127.0.0.1 and a Unix socket, without passwords, gone when its owner is.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs, io, thread};

use super::port::{free_port, is_free};
use super::supervisor::Supervisor;
use super::{Account, binaries};

/// The oldest PostgreSQL that the worker supports.
const OLDEST: u32 = 13;

/// How many ports are tried before it is given up.
const PORT_ATTEMPTS: u32 = 5;

/// What kind of PostgreSQL.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether a commit reaches the disk. False for tests, true where commits are measured.
    pub fsync: bool,
    /// Settings for `postgresql.conf`; they win over ours.
    pub extra_config: Vec<(String, String)>,
    /// The port on 127.0.0.1; `None` for a free one.
    pub port: Option<u16>,
    /// Where `initdb`, `pg_ctl` and `postgres` are; `None` to look in PATH and in the usual places.
    pub bin_dir: Option<PathBuf>,
    /// A directory to use and keep, with what is in it from the last time; `None` for one that is removed.
    pub keep_in: Option<PathBuf>,
}

/// How PostgreSQL is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are cut, transactions rolled back, a checkpoint is written.
    Fast,
    /// As if the machine lost its power: the next start recovers from the log.
    Immediate,
}

/// Why there is no PostgreSQL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The programs are not there.
    #[error(
        "PostgreSQL's initdb, pg_ctl and postgres are not in one of: {}; install PostgreSQL {OLDEST} or newer \
         (Debian, Ubuntu: apt-get install postgresql) or name their directory",
        looked_in.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotInstalled {
        /// The directories that were looked at.
        looked_in: Vec<PathBuf>,
    },
    /// The programs are too old.
    #[error("PostgreSQL in {} has version {version}; the worker needs {OLDEST} or newer", bin_dir.display())]
    TooOld {
        /// Where it is.
        bin_dir: PathBuf,
        /// Its version, as `PG_VERSION` has it.
        version: String,
    },
    /// This process is root and knows no other account.
    #[error("{0}")]
    Account(String),
    /// One of its programs failed.
    #[error("PostgreSQL: {what} failed: {output}")]
    Failed {
        /// What was attempted.
        what: String,
        /// The last lines that it printed, and those of its log.
        output: String,
    },
    /// A file or a process could not be worked with.
    #[error("PostgreSQL: {what}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A statement of [`Cluster::execute`] failed.
    #[error("PostgreSQL: {statement:?} failed")]
    Sql {
        /// The statement.
        statement: String,
        /// What the server said.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Io {
        what: what.into(),
        source,
    }
}

/// A running PostgreSQL. Its superuser `postgres` has no password. Dropping it stops it and removes its directory.
#[derive(Debug)]
pub struct Cluster {
    supervisor: Mutex<Supervisor>,
    bin_dir: PathBuf,
    root: PathBuf,
    port: u16,
    version: u32,
}

impl Cluster {
    /// Makes and starts a PostgreSQL; takes about a second.
    ///
    /// # Errors
    /// PostgreSQL is missing, too old, or does not start.
    pub fn start(options: &Options) -> Result<Self, ClusterError> {
        let bin_dir = binaries::find(options.bin_dir.as_deref())
            .map_err(|looked_in| ClusterError::NotInstalled { looked_in })?;
        let account = Account::instead_of_root().map_err(ClusterError::Account)?;
        if let Some(directory) = &options.keep_in {
            make_kept(directory, account.as_ref())?;
        }
        let mut supervisor = Supervisor::spawn(
            &bin_dir,
            &env::temp_dir(),
            options.keep_in.as_deref(),
            account.as_ref(),
        )
        .map_err(io_error("its supervisor does not start"))?;
        order(&mut supervisor, "init")?;
        let root = supervisor.root().to_owned();
        let data = root.join("data");
        let version = read_version(&data, &bin_dir)?;
        fs::write(data.join("postgresql.conf"), configuration(options, &root))
            .map_err(io_error("postgresql.conf cannot be written"))?;
        let port = start_on_a_port(&mut supervisor, options.port)?;
        Ok(Self {
            supervisor: Mutex::new(supervisor),
            bin_dir,
            root,
            port,
            version,
        })
    }

    /// The address of a database, through TCP.
    pub fn url(&self, dbname: &str) -> String {
        format!(
            "postgresql://postgres@127.0.0.1:{}/{dbname}?sslmode=disable",
            self.port
        )
    }

    /// The address of a database, through the Unix socket.
    pub fn socket_url(&self, dbname: &str) -> String {
        let directory = self.socket_dir();
        format!(
            "postgresql:///{dbname}?user=postgres&port={}&host={}",
            self.port,
            directory.display()
        )
    }

    /// The port on 127.0.0.1; the same for the whole life of the cluster.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The major version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// A program of the same installation, such as `pg_dump`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.root.join("socket")
    }

    /// The directory with everything of the cluster.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// PostgreSQL's log file.
    pub fn log_file(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The process that outlives the owner just long enough to clean up.
    pub fn supervisor_id(&self) -> u32 {
        self.supervisor().id()
    }

    /// Stops the server; the cluster and its port stay.
    ///
    /// # Errors
    /// It does not stop within a minute.
    pub fn stop(&self, mode: StopMode) -> Result<(), ClusterError> {
        order(
            &mut self.supervisor(),
            match mode {
                StopMode::Fast => "stop fast",
                StopMode::Immediate => "stop immediate",
            },
        )
    }

    /// Starts the server again, on the same port.
    ///
    /// # Errors
    /// It does not start within a minute.
    pub fn start_again(&self) -> Result<(), ClusterError> {
        order(&mut self.supervisor(), &format!("start {}", self.port))
    }

    /// Stops and starts the server, on the same port.
    ///
    /// # Errors
    /// It does not stop or not start.
    pub fn restart(&self, mode: StopMode) -> Result<(), ClusterError> {
        self.stop(mode)?;
        self.start_again()
    }

    /// Makes an empty database. `name` is taken as it is, quoted.
    ///
    /// # Errors
    /// What the server says.
    pub fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        self.execute(
            "postgres",
            &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")),
        )
    }

    /// Runs statements in a database, as its superuser. For setting things up: a connection is made for it.
    ///
    /// # Errors
    /// What the server says.
    pub fn execute(&self, dbname: &str, statements: &str) -> Result<(), ClusterError> {
        let url = self.url(dbname);
        // On a thread of its own, because the caller may be within a runtime, which cannot hold another one.
        let done = thread::scope(|scope| {
            scope
                .spawn(|| execute_on_this_thread(&url, statements))
                .join()
        });
        match done {
            Ok(Ok(result)) => result.map_err(|source| ClusterError::Sql {
                statement: statements.to_owned(),
                source: Box::new(source),
            }),
            Ok(Err(source)) => Err(io_error("no runtime for a connection")(source)),
            Err(_) => Err(io_error("a connection")(io::Error::other(
                "its thread panicked",
            ))),
        }
    }

    fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        // Nothing is left half done by a panic: each command is answered before the lock is free.
        self.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn execute_on_this_thread(
    url: &str,
    statements: &str,
) -> io::Result<Result<(), tokio_postgres::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let driver = tokio::spawn(connection);
        let result = client.batch_execute(statements).await;
        drop(client);
        // The session must be over before the caller drops or copies the database. Its own errors came with the
        // statement.
        drop(driver.await);
        result
    }))
}

fn order(supervisor: &mut Supervisor, command: &str) -> Result<(), ClusterError> {
    supervisor
        .order(command)
        .map_err(io_error(format!("`{command}` cannot be ordered")))?
        .map_err(|output| ClusterError::Failed {
            what: command.to_owned(),
            output,
        })
}

/// A directory that is kept belongs to the account that PostgreSQL runs as, if it is made here.
fn make_kept(directory: &Path, account: Option<&Account>) -> Result<(), ClusterError> {
    if directory.exists() {
        return Ok(());
    }
    let what = format!("{} cannot be made", directory.display());
    fs::create_dir_all(directory).map_err(io_error(what.clone()))?;
    if let Some((uid, gid)) = account.map(Account::ids) {
        std::os::unix::fs::chown(directory, Some(uid), Some(gid)).map_err(io_error(what))?;
    }
    Ok(())
}

fn read_version(data: &Path, bin_dir: &Path) -> Result<u32, ClusterError> {
    let text = fs::read_to_string(data.join("PG_VERSION"))
        .map_err(io_error("PG_VERSION cannot be read"))?;
    let version = text.trim().to_owned();
    match version.parse() {
        Ok(number) if number >= OLDEST => Ok(number),
        _ => Err(ClusterError::TooOld {
            bin_dir: bin_dir.to_owned(),
            version,
        }),
    }
}

/// The whole of `postgresql.conf`; what it does not name has PostgreSQL's own default.
fn configuration(options: &Options, root: &Path) -> String {
    let switch = if options.fsync { "on" } else { "off" };
    let socket = root.join("socket").display().to_string();
    let ours = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", socket.as_str()),
        ("max_connections", "200"),
        ("fsync", switch),
        ("full_page_writes", switch),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] %a "),
    ];
    let extra = options
        .extra_config
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut text = String::new();
    for (name, value) in ours.into_iter().chain(extra) {
        // Writing to a String cannot fail.
        writeln!(text, "{name} = '{}'", value.replace('\'', "''")).ok();
    }
    text
}

fn start_on_a_port(supervisor: &mut Supervisor, wanted: Option<u16>) -> Result<u16, ClusterError> {
    if let Some(port) = wanted {
        return order(supervisor, &format!("start {port}")).map(|()| port);
    }
    let mut attempt = 1;
    loop {
        let port = free_port().map_err(io_error("no port"))?;
        match order(supervisor, &format!("start {port}")) {
            Ok(()) => return Ok(port),
            // Somebody took it in between. (Asked of the port, because PostgreSQL's words for it may be translated.)
            Err(_) if !is_free(port) && attempt < PORT_ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for the whole life, because making a cluster is the slow part of it.
    #[test]
    fn a_cluster_serves_restarts_on_its_port_and_leaves_nothing_behind() {
        let options = Options {
            extra_config: vec![("application_name".to_owned(), "o'clock".to_owned())],
            ..Options::default()
        };
        let cluster = Cluster::start(&options).unwrap_or_else(|error| panic!("{error}"));
        cluster.create_database("a \"b\"").unwrap();
        let check = "DO $$ BEGIN ASSERT current_setting('application_name') = 'o''clock'; END $$";
        cluster.execute("postgres", check).unwrap();
        cluster
            .execute("postgres", "CREATE TABLE kept AS SELECT 1")
            .unwrap();
        cluster.restart(StopMode::Immediate).unwrap();
        cluster.execute("postgres", "SELECT * FROM kept").unwrap();
        let failure = cluster.execute("postgres", "SELECT nonsense").unwrap_err();
        assert!(matches!(failure, ClusterError::Sql { .. }), "{failure}");

        let (root, port) = (cluster.root().to_owned(), cluster.port());
        assert!(root.exists());
        drop(cluster);
        assert!(!root.exists());
        assert!(is_free(port));
    }

    #[test]
    fn a_missing_postgresql_is_named_with_what_to_install() {
        let options = Options {
            bin_dir: Some("/nowhere".into()),
            ..Options::default()
        };
        let error = Cluster::start(&options).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere") && error.contains("apt-get install postgresql"),
            "{error}"
        );
    }

    #[test]
    fn a_setting_that_postgresql_refuses_is_reported_with_its_log() {
        let options = Options {
            extra_config: vec![("shared_buffers".to_owned(), "many".to_owned())],
            ..Options::default()
        };
        let error = Cluster::start(&options).unwrap_err().to_string();
        assert!(error.contains("shared_buffers"), "{error}");
    }

    #[test]
    fn a_kept_directory_has_its_data_the_next_time() {
        let directory =
            env::temp_dir().join(format!("workflow-worker-kept-{}", std::process::id()));
        let options = Options {
            keep_in: Some(directory.clone()),
            ..Options::default()
        };
        let first = Cluster::start(&options).unwrap_or_else(|error| panic!("{error}"));
        first
            .execute("postgres", "CREATE TABLE kept AS SELECT 1")
            .unwrap();
        drop(first);
        let second = Cluster::start(&options).unwrap_or_else(|error| panic!("{error}"));
        second.execute("postgres", "SELECT * FROM kept").unwrap();
        drop(second);
        fs::remove_dir_all(directory).unwrap();
    }
}
