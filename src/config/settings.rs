//! The table of settings: each defined once, with its name, default, bounds and meaning.
//!
//! `Config::from_env` takes defaults and bounds from here; `workflow-worker config`, `doctor` and the table in the
//! README show the same rows. A setting that is not in this table does not exist.

use std::fmt::Write as _;
use std::time::Duration;

use super::parse::show_duration;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// The value in force when it is unset, as one would type it; `None` where there is no value then.
    pub default: Option<&'static str>,
    /// What is allowed.
    pub kind: Kind,
    /// What it does, in one sentence.
    pub help: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// What a setting allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Any text; the word says of what.
    Text(&'static str),
    /// A PostgreSQL URL, shown without its password.
    DatabaseUrl,
    /// A whole number, in a unit (empty for a count).
    Integer {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
        /// `ms`, `MiB`, or empty.
        unit: &'static str,
    },
    /// A decimal number.
    Number {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// A length of time: seconds, or a number with `ms`, `s`, `m`, `h` or `d`.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// True or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// What is allowed, as the end of the sentence 'allowed is …'.
    pub fn allowed(self) -> String {
        match self {
            Self::Text(what) => what.to_owned(),
            Self::DatabaseUrl => "postgresql://user:password@host:port/database".to_owned(),
            Self::Integer { min, max, unit: "" } => format!("a whole number from {min} to {max}"),
            Self::Integer { min, max, unit } => {
                format!("a whole number of {unit} from {min} to {max}")
            }
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Duration { min, max } => format!(
                "seconds, or a number with ms, s, m, h or d, from {} to {}",
                show_duration(min),
                show_duration(max)
            ),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(words) => words.join(", "),
        }
    }
}

const fn row(
    name: &'static str,
    default: Option<&'static str>,
    kind: Kind,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        default,
        kind,
        help,
        secret: false,
    }
}

const fn secret(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    Setting {
        name,
        default: None,
        kind,
        help,
        secret: true,
    }
}

const fn count(min: u32, max: u32) -> Kind {
    Kind::Integer { min, max, unit: "" }
}

const fn millis(min: u64, max: u64) -> Kind {
    Kind::Duration {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
    }
}

const HTTP_URL: &str = "an http:// or https:// URL";

const DAY_MS: u64 = 86_400_000;

macro_rules! settings {
    ($($constant:ident = $setting:expr;)+) => {
        $(
            #[doc = concat!("The row `", stringify!($constant), "`.")]
            pub const $constant: Setting = $setting;
        )+
        static TABLE: &[&Setting] = &[$(&$constant),+];
    };
}

settings! {
    SUPABASE_DB_URL = secret("SUPABASE_DB_URL", Kind::DatabaseUrl,
        "The database. `+driver` suffixes of the scheme and unencoded passwords are accepted. Looked at first.");
    SUPABASE_URL = row("SUPABASE_URL", None, Kind::Text("https://<ref>.supabase.co"),
        "With `SUPABASE_DB_PASSWORD`: the database of this Supabase project. Looked at second.");
    SUPABASE_DB_PASSWORD = secret("SUPABASE_DB_PASSWORD", Kind::Text("the database password"),
        "The database password of the Supabase project.");
    POSTGRES_SERVER = row("POSTGRES_SERVER", None, Kind::Text("a host name or address"),
        "The host of the database, with the four variables below. Looked at third.");
    POSTGRES_PORT = row("POSTGRES_PORT", Some("5432"), count(1, 65_535),
        "The port of `POSTGRES_SERVER`.");
    POSTGRES_USER = row("POSTGRES_USER", None, Kind::Text("a role name"),
        "The role at `POSTGRES_SERVER`.");
    POSTGRES_PASSWORD = secret("POSTGRES_PASSWORD", Kind::Text("the role's password"),
        "The password of `POSTGRES_USER`.");
    POSTGRES_DB = row("POSTGRES_DB", None, Kind::Text("a database name"),
        "The database at `POSTGRES_SERVER`.");
    DATABASE_URL = secret("DATABASE_URL", Kind::DatabaseUrl,
        "The database, where none of the platform's own variables is set. Looked at last.");
    LISTEN_URL = secret("WORKFLOW_WORKER_LISTEN_URL", Kind::DatabaseUrl,
        "A direct or session-mode address for LISTEN, where the database is reached through a transaction pooler.");
    POOL_SIZE = row("WORKFLOW_WORKER_POOL_SIZE", Some("5"), count(2, 100),
        "Connections for queries. The listener has one more.");
    PREPARED_STATEMENTS = row("WORKFLOW_WORKER_PREPARED_STATEMENTS", Some("auto"), Kind::Choice(&["auto", "on", "off"]),
        "Whether statements are prepared by name. `off` suits every pooler; `auto` finds out.");
    STATEMENT_TIMEOUT = row("WORKFLOW_WORKER_STATEMENT_TIMEOUT", Some("30s"), millis(1_000, 3_600_000),
        "The longest that the server works on one statement of the worker.");
    AUTO_MIGRATE = row("WORKFLOW_WORKER_AUTO_MIGRATE", Some("true"), Kind::Flag,
        "Whether `run` brings the worker's own schema up to date before it starts.");
    WORKER_NAME = row("WORKFLOW_WORKER_NAME", None, Kind::Text("any text; the host name if unset"),
        "What this process is called in lists and logs.");
    CONCURRENCY = row("WORKFLOW_WORKER_CONCURRENCY", Some("10"), count(1, 10_000),
        "Executions that run at the same time. One that waits (delay, signal, retry) takes no place.");
    POLL_INTERVAL = row("WORKFLOW_WORKER_POLL_INTERVAL", Some("1s"), millis(50, DAY_MS),
        "How often the worker looks for work that no notification announced.");
    HEARTBEAT_INTERVAL = row("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", Some("1s"), millis(100, 30_000),
        "How often the worker proves that it is alive.");
    LEASE = row("WORKFLOW_WORKER_LEASE_SECONDS", Some("15s"), millis(2_000, 600_000),
        "How long after its last proof a worker keeps its executions. At least 3 heartbeats.");
    GRACE_PERIOD = row("WORKFLOW_WORKER_GRACE_PERIOD", Some("20s"), millis(0, 300_000),
        "How long running nodes may finish after SIGTERM, before the rest is handed to other workers.");
    ADOPT_MAX_AGE = row("WORKFLOW_WORKER_ADOPT_MAX_AGE", Some("24h"), millis(0, 36_500 * DAY_MS),
        "At installation, `running` executions older than this are left alone. 0 adopts none.");
    HISTORY_RETENTION_DAYS = row("WORKFLOW_HISTORY_RETENTION_DAYS", Some("30"), Kind::Integer { min: 0, max: 36_500, unit: "days" },
        "How long after its end the worker keeps what it has recorded of an execution. 0 keeps it for ever.");
    PRUNE_HOST_TABLES = row("WORKFLOW_PRUNE_HOST_TABLES", Some("false"), Kind::Flag,
        "Whether the platform's own rows of such executions, with their logs and signals, are removed as well.");
    MAX_RETRIES = row("WORKFLOW_MAX_RETRIES", Some("3"), count(0, 1_000),
        "Retries of a failed execution after its first attempt.");
    RETRY_BACKOFF_MULTIPLIER = row("WORKFLOW_RETRY_BACKOFF_MULTIPLIER", Some("2.0"), Kind::Number { min: 1.0, max: 100.0 },
        "The n-th retry, counted from 0, waits 1 s times this to the power of n, at most an hour.");
    MAX_LOOP_ITERATIONS = row("WORKFLOW_MAX_LOOP_ITERATIONS", Some("10000"), count(1, 1_000_000),
        "The most rounds of one loop; more fail it.");
    MAX_SUB_WORKFLOW_DEPTH = row("WORKFLOW_MAX_SUB_WORKFLOW_DEPTH", Some("5"), count(0, 100),
        "How deep sub-workflows may start sub-workflows.");
    SCHEDULE_MISSED = row("WORKFLOW_SCHEDULE_MISSED", Some("coalesce"), Kind::Choice(&["coalesce", "catch_up", "skip"]),
        "What happens to the times of a schedule that passed while no worker ran: one fire for all, one for each, or none.");
    SCHEDULE_MAX_CATCH_UP = row("WORKFLOW_SCHEDULE_MAX_CATCH_UP", Some("10"), count(1, 1_000),
        "With `catch_up`: the most missed times of a schedule that fire each for itself; one more fire stands for the rest.");
    SCHEDULE_GRACE = row("WORKFLOW_SCHEDULE_GRACE", Some("30s"), millis(1_000, DAY_MS),
        "With `skip`: how late a schedule may still fire.");
    NODE_TIMEOUT = row("WORKFLOW_NODE_TIMEOUT_SECONDS", Some("300"), millis(1_000, 7 * DAY_MS),
        "The longest attempt of a node that sets no `timeout_seconds` of its own.");
    EXECUTION_TIMEOUT = row("WORKFLOW_TIMEOUT_SECONDS", None, millis(100, 3_650 * DAY_MS),
        "How long a whole execution may take, where neither it nor its workflow sets `timeout_seconds`. Unset: without end.");
    EXPRESSION_TIMEOUT = row("WORKFLOW_EXPRESSION_TIMEOUT_MS", Some("1000"), Kind::Integer { min: 10, max: 60_000, unit: "ms" },
        "The longest evaluation of one expression.");
    EXPRESSION_MEMORY = row("WORKFLOW_EXPRESSION_MEMORY_MB", Some("64"), Kind::Integer { min: 4, max: 1_024, unit: "MiB" },
        "The most memory that one evaluation may hold.");
    ACTIVITY_URL = row("WORKFLOW_ACTIVITY_URL", None, Kind::Text("http://host:port, https://host or unix:/path, without a password"),
        "The activity host: runs the node types that the worker does not run itself.");
    ACTIVITY_COMMAND = row("WORKFLOW_ACTIVITY_COMMAND", None, Kind::Text("a program and its arguments; no shell"),
        "Instead of a URL: starts the activity host, watches it, and stops it with the worker.");
    ACTIVITY_TOKEN = secret("WORKFLOW_ACTIVITY_TOKEN", Kind::Text("printable ASCII without spaces"),
        "Sent to the activity host as `Authorization: Bearer`.");
    ACTIVITY_TYPES = row("WORKFLOW_ACTIVITY_TYPES", None, Kind::Text("node types, separated by commas"),
        "Node types that go to the activity host although the worker could run them itself.");
    OPENAI_API_KEY = secret("OPENAI_API_KEY", Kind::Text("an API key"),
        "For `ai_prompt` nodes whose model is no other provider's.");
    OPENAI_BASE_URL = row("OPENAI_BASE_URL", Some("https://api.openai.com/v1"), Kind::Text(HTTP_URL),
        "Where the OpenAI API is, or one that is compatible with it.");
    ANTHROPIC_API_KEY = secret("ANTHROPIC_API_KEY", Kind::Text("an API key"),
        "For `ai_prompt` nodes with a model `claude-…`.");
    ANTHROPIC_BASE_URL = row("ANTHROPIC_BASE_URL", Some("https://api.anthropic.com"), Kind::Text(HTTP_URL),
        "Where the Anthropic API is.");
    GOOGLE_API_KEY = secret("GOOGLE_API_KEY", Kind::Text("an API key"),
        "For `ai_prompt` nodes with a model `gemini-…`.");
    COHERE_API_KEY = secret("COHERE_API_KEY", Kind::Text("an API key"),
        "For `ai_prompt` nodes with a model `command-…`.");
    AI_MODEL_ALIASES = row("WORKFLOW_AI_MODEL_ALIASES",
        Some("claude-3-opus=claude-opus-4-8,claude-3-sonnet=claude-sonnet-4-6,claude-3-haiku=claude-haiku-4-5"),
        Kind::Text("name=id, separated by commas"),
        "Model names of `ai_prompt` nodes that are sent as another id: those that the builder offers and the provider has retired.");
    SMTP_HOST = row("SMTP_HOST", None, Kind::Text("a host name or address"),
        "The mail server. Without it, and without Resend, no mail is sent.");
    SMTP_PORT = row("SMTP_PORT", Some("587"), count(1, 65_535),
        "The port of `SMTP_HOST`.");
    SMTP_USER = row("SMTP_USER", None, Kind::Text("a user name"),
        "The user at `SMTP_HOST`; no login if unset.");
    SMTP_PASSWORD = secret("SMTP_PASSWORD", Kind::Text("the user's password"),
        "The password of `SMTP_USER`.");
    SMTP_TLS = row("SMTP_TLS", Some("true"), Kind::Flag,
        "Whether the connection must become encrypted by STARTTLS.");
    SMTP_SSL = row("SMTP_SSL", Some("false"), Kind::Flag,
        "Whether the connection is encrypted from its beginning (port 465). Goes before `SMTP_TLS`.");
    EMAILS_FROM_EMAIL = row("EMAILS_FROM_EMAIL", None, Kind::Text("an e-mail address"),
        "The sender of mails. Without it no mail is sent.");
    EMAILS_FROM_NAME = row("EMAILS_FROM_NAME", Some("SynthralOS AI"), Kind::Text("any text"),
        "The sender's name.");
    USE_RESEND = row("USE_RESEND", Some("false"), Kind::Flag,
        "Whether mails go through Resend's HTTP API instead of SMTP.");
    RESEND_API_KEY = secret("RESEND_API_KEY", Kind::Text("an API key"),
        "The key for Resend.");
    RESEND_BASE_URL = row("RESEND_BASE_URL", Some("https://api.resend.com"), Kind::Text(HTTP_URL),
        "Where Resend's API is.");
    SLACK_WEBHOOK_URL = secret("SLACK_WEBHOOK_URL", Kind::Text(HTTP_URL),
        "Slack's incoming webhook, for `notification` nodes that name none.");
    DISCORD_WEBHOOK_URL = secret("DISCORD_WEBHOOK_URL", Kind::Text(HTTP_URL),
        "Discord's webhook, for `notification` nodes that name none.");
    COMPLETION_MAILS = row("WORKFLOW_COMPLETION_MAILS", Some("true"), Kind::Flag,
        "Whether a workflow's owner gets a mail when an execution has completed or finally failed, where mail is configured and the platform has a template for it.");
    PROJECT_NAME = row("PROJECT_NAME", None, Kind::Text("any text; `SynthralOS` if unset"),
        "What mails call the platform.");
    FRONTEND_HOST = row("FRONTEND_HOST", None, Kind::Text("https://host; `http://localhost:5173` if unset, as in the platform"),
        "Where links in mails point to.");
    CODE_LANGUAGES = row("WORKFLOW_CODE_LANGUAGES", Some("javascript,typescript,json,python,bash"), Kind::Text("languages, separated by commas"),
        "The languages of `code` nodes that this worker runs. Without `python` and `bash` it starts no programs of users.");
    CODE_TIMEOUT = row("CODE_EXECUTION_TIMEOUT", Some("30"), millis(100, DAY_MS),
        "The longest run of a program that sets no `timeout_seconds`.");
    CODE_MEMORY = row("WORKFLOW_CODE_MEMORY_MB", Some("512"), Kind::Integer { min: 64, max: 65_536, unit: "MiB" },
        "The most memory that one program may hold. JavaScript runs inside the worker and gets at most 128 MiB of it.");
    CODE_OUTPUT = row("WORKFLOW_CODE_OUTPUT_KB", Some("1024"), Kind::Integer { min: 1, max: 65_536, unit: "KiB" },
        "The most that one program may print, and its largest result.");
    CODE_PROCESSES = row("WORKFLOW_CODE_PROCESSES", Some("64"), count(1, 4_096),
        "The most processes that one program may have at a time.");
    CODE_NETWORK = row("WORKFLOW_CODE_NETWORK", Some("true"), Kind::Flag,
        "Whether Python and Bash programs reach the network. `false` needs a system that gives unprivileged processes network namespaces.");
    EVENTS = row("WORKFLOW_WORKER_EVENTS", None, Kind::Choice(&["off", "ends", "all"]),
        "Which changes of executions are told to listeners on the channel `workflow_worker_events`. Set at the start, for the whole database; unset leaves it as it is, which is `off` at first.");
    LOG = row("WORKFLOW_WORKER_LOG", Some("info"), Kind::Text("a filter such as `info,workflow_worker=debug`"),
        "What is logged.");
    LOG_FORMAT = row("WORKFLOW_WORKER_LOG_FORMAT", Some("auto"), Kind::Choice(&["auto", "human", "json"]),
        "The form of log lines. `auto` is `json` in production or without a terminal, else `human`.");
    ENVIRONMENT = row("ENVIRONMENT", Some("local"), Kind::Choice(&["local", "staging", "production"]),
        "Where this runs, as the platform calls it. Decides the form of log lines only.");
}

/// Every setting, in the order in which it is shown.
pub fn table() -> &'static [&'static Setting] {
    TABLE
}

/// The table in Markdown, as the README has it.
pub fn markdown() -> String {
    let mut text =
        String::from("| variable | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
    for setting in TABLE {
        let default = setting
            .default
            .map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
        let allowed = match setting.kind {
            // How a time is written is said once, below the table.
            Kind::Duration { min, max } => {
                format!("{} to {}", show_duration(min), show_duration(max))
            }
            kind => kind.allowed().replace('<', "&lt;"),
        };
        // Writing to a String cannot fail.
        writeln!(
            text,
            "| `{}` | {default} | {allowed} | {} |",
            setting.name, setting.help
        )
        .ok();
    }
    text.push_str("\nTimes are seconds, or a number with `ms`, `s`, `m`, `h` or `d`.\n");
    text
}
