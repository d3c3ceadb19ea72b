//! The configuration: read from the environment once, checked as a whole, plain data from then on.
//!
//! [`settings`] is the one table of what can be set; this file turns it into typed structs, one per part of the
//! worker. All wrong values are reported together, each with its variable, its value (unless secret) and what is
//! allowed, so that a deployment is mended in one go. An empty value counts as unset, as it does for the platform.
//!
//! Nothing here prints a secret: passwords are `SecretString`s, URLs show `***`, and a wrong value of a secret
//! setting is not repeated in the error.

mod activities;
pub mod code;
mod database;
pub mod database_url;
mod events;
mod outgoing;
mod parse;
mod reader;
mod retention;
mod schedules;
pub mod settings;
#[cfg(test)]
mod tests;

use std::fs;
use std::time::Duration;

pub use activities::{ActivityConfig, ActivityHost, ActivityUrl};
pub use code::CodeConfig;
pub use database_url::{DatabaseUrl, DatabaseUrlError, Host, SslMode};
pub use events::Events;
pub use outgoing::{
    MailConfig, OutgoingConfig, ProviderConfig, ProvidersConfig, SmtpSecurity, WebhooksConfig,
};
pub use parse::{duration_with_unit, show_duration};
pub use reader::{ConfigErrors, InForce, Problem, Source};
pub use retention::RetentionConfig;
pub use schedules::{Missed, ScheduleConfig};

use crate::engine::Bounds;
use crate::retry::RetryPolicy;
use reader::Reader;

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the platform says this runs (`ENVIRONMENT`).
    pub environment: Environment,
    /// How PostgreSQL is reached.
    pub database: DatabaseConfig,
    /// How this process takes and keeps work.
    pub worker: WorkerConfig,
    /// For how long history is kept.
    pub retention: RetentionConfig,
    /// When a failed execution is tried again.
    pub retry: RetryPolicy,
    /// Bounds on what a graph may do.
    pub bounds: Bounds,
    /// How schedules fire that have no policies of their own.
    pub schedules: ScheduleConfig,
    /// How long a whole execution may take that says nothing of it.
    pub execution_timeout: Option<Duration>,
    /// Limits of a single node.
    pub node: NodeConfig,
    /// Where the nodes run that the worker does not run itself.
    pub activities: ActivityConfig,
    /// What nodes and mails call in the world outside.
    pub outgoing: OutgoingConfig,
    /// What the programs of `code` nodes may be and use.
    pub code: CodeConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    in_force: Vec<InForce>,
}

/// `ENVIRONMENT`, with the three values that the platform accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// A developer's machine; the default.
    #[default]
    Local,
    /// A rehearsal.
    Staging,
    /// The real thing: logs are JSON unless `WORKFLOW_WORKER_LOG_FORMAT` says otherwise.
    Production,
}

/// How PostgreSQL is reached.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The address for queries.
    pub url: DatabaseUrl,
    /// The variables that `url` was made of, for messages.
    pub url_source: &'static str,
    /// A direct address for the LISTEN session, where `url` goes through a transaction pooler.
    pub listen_url: Option<DatabaseUrl>,
    /// Connections for queries; the listener has one more.
    pub pool_size: usize,
    /// Whether statements are prepared under a name.
    pub prepared_statements: PreparedStatements,
    /// The longest that the server works on one statement of ours.
    pub statement_timeout: Duration,
    /// Whether `run` brings the schema up to date before it starts.
    pub auto_migrate: bool,
}

impl DatabaseConfig {
    /// The address for the LISTEN session.
    pub fn listener_url(&self) -> &DatabaseUrl {
        self.listen_url.as_ref().unwrap_or(&self.url)
    }
}

/// Whether statements are prepared under a name, which a transaction pooler loses between two transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PreparedStatements {
    /// Found out when connecting.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How this process takes and keeps work.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// What operators call this process.
    pub name: String,
    /// Executions that run at the same time; a waiting one does not count.
    pub concurrency: usize,
    /// How often the safety net looks for work that no notification announced.
    pub poll_interval: Duration,
    /// How often the process proves that it is alive.
    pub heartbeat_interval: Duration,
    /// How long after its last proof its executions stay its own.
    pub lease: Duration,
    /// How long running nodes may finish once the process was told to stop.
    pub grace_period: Duration,
    /// `running` rows that are older than this when the worker is first installed stay untouched; zero adopts none.
    pub adopt_max_age: Duration,
    /// Which changes of executions are to be told to others; `None` leaves it as it is.
    pub events: Option<Events>,
}

/// Limits of a single node.
#[derive(Debug, Clone, Copy)]
pub struct NodeConfig {
    /// How many executions may stand above one another as parents of sub-workflows.
    pub max_depth: u32,
    /// The longest attempt of a node that sets no limit of its own.
    pub timeout: Duration,
    /// The longest evaluation of one expression.
    pub expression_timeout: Duration,
    /// The most memory that one evaluation may hold.
    pub expression_memory_bytes: usize,
}

/// What decides which nodes run, and how: all that can be said without a database.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Limits of a single node.
    pub node: NodeConfig,
    /// Where the nodes run that the worker does not run itself.
    pub activities: ActivityConfig,
    /// What nodes call in the world outside.
    pub outgoing: OutgoingConfig,
    /// What the programs of `code` nodes may be and use.
    pub code: CodeConfig,
}

impl NodeSettings {
    /// Reads them, and no others.
    ///
    /// # Errors
    /// Every setting that is wrong, at once.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup);
        let settings = Self::read(&mut reader);
        match reader.finish() {
            (_, problems) if problems.is_empty() => Ok(settings),
            (_, problems) => Err(ConfigErrors(problems)),
        }
    }

    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            node: config.node,
            activities: config.activities.clone(),
            outgoing: config.outgoing.clone(),
            code: config.code.clone(),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            node: NodeConfig {
                max_depth: reader.integer(&settings::MAX_SUB_WORKFLOW_DEPTH),
                timeout: reader.duration(&settings::NODE_TIMEOUT),
                expression_timeout: Duration::from_millis(
                    reader.integer(&settings::EXPRESSION_TIMEOUT).into(),
                ),
                expression_memory_bytes: to_usize(reader.integer(&settings::EXPRESSION_MEMORY))
                    .saturating_mul(1024 * 1024),
            },
            activities: activities::read(reader),
            outgoing: outgoing::read(reader),
            code: code::read(reader),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`, checked.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Reads the configuration through `lookup`, which answers with the value of an environment variable.
    ///
    /// # Errors
    /// Every setting that is wrong, at once.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup);
        let environment = reader.choice(&settings::ENVIRONMENT, Environment::parse);
        let database = database::read(&mut reader);
        let worker = read_worker(&mut reader);
        let retention = retention::read(&mut reader);
        let retry = RetryPolicy {
            max_retries: reader.integer(&settings::MAX_RETRIES),
            multiplier: reader.number(&settings::RETRY_BACKOFF_MULTIPLIER),
            ..RetryPolicy::default()
        };
        let bounds = Bounds {
            max_iterations: reader.integer(&settings::MAX_LOOP_ITERATIONS),
        };
        let schedules = schedules::read(&mut reader);
        let execution_timeout = reader.optional_duration(&settings::EXECUTION_TIMEOUT);
        let NodeSettings {
            node,
            activities,
            outgoing,
            code,
        } = NodeSettings::read(&mut reader);
        let log = read_log(&mut reader, environment);
        let (in_force, problems) = reader.finish();
        match database {
            Some(database) if problems.is_empty() => Ok(Self {
                environment,
                database,
                worker,
                retention,
                retry,
                bounds,
                schedules,
                execution_timeout,
                node,
                activities,
                outgoing,
                code,
                log,
                in_force,
            }),
            _ => Err(ConfigErrors(problems)),
        }
    }

    /// Reads the configuration from the environment of this process. Nothing else in the worker reads it.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_process_env() -> Result<Self, ConfigErrors> {
        Self::from_env(process_variable)
    }

    /// Each setting with the value in force and where it came from, in the order of the table. Secrets are masked.
    pub fn describe(&self) -> &[InForce] {
        &self.in_force
    }
}

/// One variable of this process's environment. What is not UTF-8 is taken with replacement characters, because an
/// unreadable value must be complained about by its setting, not taken for unset.
pub fn process_variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if value.is_none() && name == HOSTNAME {
        // Shells set HOSTNAME but do not export it; a service started by an init system has none.
        return ["/proc/sys/kernel/hostname", "/etc/hostname"]
            .iter()
            .find_map(|path| fs::read_to_string(path).ok());
    }
    value
}

const HOSTNAME: &str = "HOSTNAME";

fn read_worker(reader: &mut Reader<'_>) -> WorkerConfig {
    let worker = WorkerConfig {
        name: reader.text_or(&settings::WORKER_NAME, HOSTNAME, "workflow-worker"),
        concurrency: to_usize(reader.integer(&settings::CONCURRENCY)),
        poll_interval: reader.duration(&settings::POLL_INTERVAL),
        heartbeat_interval: reader.duration(&settings::HEARTBEAT_INTERVAL),
        lease: reader.duration(&settings::LEASE),
        grace_period: reader.duration(&settings::GRACE_PERIOD),
        adopt_max_age: reader.duration(&settings::ADOPT_MAX_AGE),
        events: reader.choice(&settings::EVENTS, Events::parse),
    };
    // Two heartbeats may be lost to a slow database without a living worker being declared dead.
    if worker.lease < worker.heartbeat_interval.saturating_mul(3) {
        reader.wrong(
            &settings::LEASE,
            Some(show_duration(worker.lease)),
            format!(
                "at least 3 times {}, which is {}",
                settings::HEARTBEAT_INTERVAL.name,
                show_duration(worker.heartbeat_interval),
            ),
        );
    }
    worker
}

fn read_log(reader: &mut Reader<'_>, environment: Environment) -> LogConfig {
    let format = match reader.choice(&settings::LOG_FORMAT, LogFormat::parse) {
        LogFormat::Auto if environment == Environment::Production => LogFormat::Json,
        format => format,
    };
    let filter = reader.checked_text(&settings::LOG, |text| {
        tracing_subscriber::EnvFilter::try_new(text)
            .map(drop)
            .map_err(|error| format!("a log filter such as `info,workflow_worker=debug` ({error})"))
    });
    LogConfig { format, filter }
}

/// Lossless where a `usize` has at least 32 bits; the bounds of the table are far below.
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Environment {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "local" => Some(Self::Local),
            "staging" => Some(Self::Staging),
            "production" => Some(Self::Production),
            _ => None,
        }
    }
}

impl PreparedStatements {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

impl LogFormat {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}
