//! The parameters of a PostgreSQL URL (pure): which are known, what they mean, and which are let be.
//!
//! One that would weaken security if it were dropped is either understood or refused; one that only tunes another
//! client (a Python pool, Prisma, PgBouncer) is let be in silence; any other is let be with a warning.

use std::path::PathBuf;

use secrecy::SecretString;
use tokio_postgres::config::ChannelBinding;

use super::text::parse_port;
use super::{DatabaseUrlError, SslMode};

/// Read by [`Parameters::read`].
const UNDERSTOOD: &[&str] = &[
    "application_name",
    "channel_binding",
    "dbname",
    "host",
    "options",
    "password",
    "pgbouncer",
    "port",
    "ssl",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Let be: what they tune is set by us, or is another client's.
const HARMLESS: &[&str] = &[
    "client_encoding",
    "command_timeout",
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "max_overflow",
    "pool_mode",
    "pool_size",
    "pool_timeout",
    "prepare_threshold",
    "prepared_statement_cache_size",
    "schema",
    "socket_timeout",
    "sslcompression",
    "sslsni",
    "statement_cache_size",
    "supa",
    "target_session_attrs",
    "tcp_user_timeout",
    "workaround",
];

/// Whether a parameter is one of PostgreSQL's or of a client that is often met.
pub(super) fn is_known(name: &str) -> bool {
    UNDERSTOOD.contains(&name) || HARMLESS.contains(&name)
}

/// What the parameters say.
pub(super) struct Parameters {
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) hosts: Option<Vec<String>>,
    pub(super) port: Option<u16>,
    pub(super) dbname: Option<String>,
    pub(super) ssl_mode: SslMode,
    pub(super) ssl_root_cert: Option<PathBuf>,
    pub(super) application_name: Option<String>,
    pub(super) options: Option<String>,
    pub(super) channel_binding: ChannelBinding,
    pub(super) says_pgbouncer: bool,
    pub(super) warnings: Vec<String>,
}

impl Parameters {
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Self, DatabaseUrlError> {
        // The last of several wins, as in libpq; an empty one counts as not given.
        let value = |wanted: &str| {
            let found = pairs.iter().rev().find(|(name, _)| name == wanted)?;
            Some(found.1.clone()).filter(|value| !value.is_empty())
        };
        let port = value("port")
            .map(|text| parse_port(&text).ok_or(DatabaseUrlError::BadPort))
            .transpose()?;
        let given_mode = match (value("sslmode"), value("ssl")) {
            (Some(mode), _) => Some(ssl_mode(&mode)?),
            (None, Some(ssl)) => Some(ssl_flag(&ssl)?),
            (None, None) => None,
        };
        let root_cert = value("sslrootcert");
        let (ssl_mode, ssl_root_cert) = trust(given_mode, root_cert.as_deref())?;
        let unknown = pairs
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !is_known(name));
        Ok(Self {
            user: value("user"),
            password: value("password").map(SecretString::from),
            hosts: value("host").map(|list| list.split(',').map(str::to_owned).collect()),
            port,
            dbname: value("dbname"),
            ssl_mode,
            ssl_root_cert,
            application_name: value("application_name"),
            options: value("options"),
            channel_binding: channel_binding(value("channel_binding").as_deref())?,
            says_pgbouncer: value("pgbouncer").is_some_and(|text| text == "true" || text == "1"),
            warnings: unknown
                .map(|name| format!("the parameter {name:?} of the database URL has no effect"))
                .collect(),
        })
    }
}

/// libpq's rules on `sslmode` and `sslrootcert` together (its manual, 'SSL Support').
fn trust(
    mode: Option<SslMode>,
    root_cert: Option<&str>,
) -> Result<(SslMode, Option<PathBuf>), DatabaseUrlError> {
    match (root_cert, mode) {
        (None, mode) => Ok((mode.unwrap_or_default(), None)),
        // The system's certificates are signed for anybody: only with the name checked do they prove something.
        (Some("system"), None | Some(SslMode::VerifyFull)) => Ok((SslMode::VerifyFull, None)),
        (Some("system"), Some(mode)) => Err(DatabaseUrlError::BadParameter {
            name: "sslmode",
            value: mode.as_str().to_owned(),
            allowed: "verify-full where sslrootcert is system",
        }),
        (Some(file), Some(SslMode::Require)) => Ok((SslMode::VerifyCa, Some(file.into()))),
        (Some(file), mode) => Ok((mode.unwrap_or_default(), Some(file.into()))),
    }
}

fn ssl_mode(text: &str) -> Result<SslMode, DatabaseUrlError> {
    match text {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(DatabaseUrlError::BadParameter {
            name: "sslmode",
            value: text.to_owned(),
            allowed: "disable, prefer, require, verify-ca or verify-full",
        }),
    }
}

/// `ssl=true`, as other drivers spell it; they also take the words of `sslmode`.
fn ssl_flag(text: &str) -> Result<SslMode, DatabaseUrlError> {
    match text {
        "true" | "1" => Ok(SslMode::Require),
        "false" | "0" => Ok(SslMode::Disable),
        word => ssl_mode(word),
    }
}

fn channel_binding(text: Option<&str>) -> Result<ChannelBinding, DatabaseUrlError> {
    match text {
        None | Some("prefer") => Ok(ChannelBinding::Prefer),
        Some("disable") => Ok(ChannelBinding::Disable),
        Some("require") => Ok(ChannelBinding::Require),
        Some(other) => Err(DatabaseUrlError::BadParameter {
            name: "channel_binding",
            value: other.to_owned(),
            allowed: "disable, prefer or require",
        }),
    }
}
