//! A real PgBouncer in transaction mode in front of a cluster: LISTEN delivers nothing, named statements get lost.

use std::env::{self, split_paths};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use workflow_worker::config::process_variable;
use workflow_worker::dev::{Account, Cluster, free_port};

use super::wait::{SOON, wait_until_blocking};

/// Runs the rest of its arguments until standard input closes, then removes the directory `$1`.
const UNTIL_CLOSED: &str = r#"
directory=$1; shift
"$@" </dev/null >"$directory/log" 2>&1 & child=$!
cat >/dev/null
kill -KILL "$child"; wait "$child"
cd / && rm -rf -- "$directory"
"#;

/// A running PgBouncer. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    supervisor: Child,
    port: u16,
}

impl PgBouncer {
    /// Starts one. Fails the test where the program is not installed.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let program = find();
        let port = free_port().expect("a free port");
        let account = Account::instead_of_root().unwrap();
        let directory = env::temp_dir().join(format!("workflow-worker-pgbouncer-{port}"));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let directory_text = directory.display().to_string();
        let configuration = directory.join("pgbouncer.ini");
        fs::write(directory.join("users.txt"), "\"postgres\" \"\"\n").unwrap();
        fs::write(&configuration, ini(cluster.port(), port, &directory_text)).unwrap();

        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                UNTIL_CLOSED,
                "workflow-worker-pgbouncer",
                &directory_text,
            ])
            .arg(program)
            .arg(&configuration)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(account) = account {
            let (uid, gid) = account.ids();
            chown(&directory, Some(uid), Some(gid)).unwrap();
            account.apply(&mut command);
        }
        let supervisor = command.spawn().expect("sh starts");
        let bouncer = Self { supervisor, port };
        wait_until_blocking("PgBouncer answers", SOON, || {
            let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
            TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("{error}; {}", log()))
        });
        bouncer
    }

    /// The address of a database of the cluster, through PgBouncer.
    pub(crate) fn url(&self, dbname: &str) -> String {
        format!(
            "postgresql://postgres@127.0.0.1:{}/{dbname}?sslmode=disable",
            self.port
        )
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        self.supervisor.wait().ok();
    }
}

fn ini(cluster_port: u16, port: u16, directory: &str) -> String {
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={cluster_port}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {directory}/users.txt\n\
         pool_mode = transaction\n\
         default_pool_size = 10\n\
         max_client_conn = 500\n"
    )
}

fn find() -> PathBuf {
    let path = process_variable("PATH").unwrap_or_default();
    let places: Vec<_> = split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .collect();
    let found = places
        .iter()
        .map(|place| place.join("pgbouncer"))
        .find(|program| program.is_file());
    found.expect("this test needs PgBouncer (scripts/test installs it; Debian, Ubuntu: apt-get install pgbouncer)")
}
