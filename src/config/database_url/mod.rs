//! A PostgreSQL URL, in parts.
//!
//! Parsed here and not by the driver, because the platform accepts what no URL parser does: passwords that are typed
//! as they are (`u:a@b@host`, `u:a:b/c?d#e@host`, `[p%w]`) and schemes with a Python driver (`postgresql+psycopg://`).
//! How such text is cut is told in `text.rs`; what the query parameters mean in `parameters.rs`.
//!
//! The password is a secret: neither `Display` nor `Debug` nor an error shows it.

mod parameters;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{ChannelBinding, SslMode as DriverSslMode, TargetSessionAttrs};

use parameters::Parameters;

/// The port that Supabase's transaction pooler listens on.
const TRANSACTION_POOLER_PORT: u16 = 6543;

/// A PostgreSQL URL, in parts.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// The role.
    pub user: String,
    /// Its password, decoded.
    pub password: Option<SecretString>,
    /// The servers, tried in this order; never empty.
    pub hosts: Vec<Host>,
    /// The database; that of the role's name where the URL has none, as in libpq.
    pub dbname: String,
    /// Whether and how the connection is encrypted.
    pub ssl_mode: SslMode,
    /// A file of certificates to trust instead of the system's.
    pub ssl_root_cert: Option<PathBuf>,
    /// The name that the session shall carry instead of ours.
    pub application_name: Option<String>,
    /// `options` for the server. A transaction pooler refuses them; there are none unless the URL has them.
    pub options: Option<String>,
    /// Whether the authentication must be bound to the encrypted channel.
    pub channel_binding: ChannelBinding,
    /// Whether the URL says itself that it leads to a transaction pooler (`pgbouncer=true`).
    pub says_pgbouncer: bool,
    /// Parameters that were not understood and change nothing, for a warning.
    pub warnings: Vec<String>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address (an IPv6 one without brackets), and a port.
    Tcp(String, u16),
    /// The directory of a Unix socket, and the port in its name.
    Unix(PathBuf, u16),
}

impl Host {
    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(_, port) | Self::Unix(_, port) => *port,
        }
    }
}

/// Whether and how the connection is encrypted; libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server offers it, without checking who it is. libpq's default and ours; `allow` is read as this.
    #[default]
    Prefer,
    /// Always, without checking who the server is.
    Require,
    /// Always, and its certificate is signed by one that is trusted. Also `require` with `sslrootcert`, as in libpq.
    VerifyCa,
    /// Always, and its certificate also has the name of the host.
    VerifyFull,
}

impl SslMode {
    /// libpq's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Why a text is no PostgreSQL URL. Never repeats the text, which has a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// There is no `://`, or something else before it.
    #[error("it does not begin with postgresql:// or postgres:// (with or without +driver)")]
    Scheme,
    /// Neither the URL nor `?host=` names a server.
    #[error("it names no host")]
    NoHost,
    /// What stands where the server is named cannot be one.
    #[error("its host part is not a list of host:port")]
    BadHost,
    /// A port is no number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    BadPort,
    /// Neither the URL nor `?user=` names a role.
    #[error("it names no user")]
    NoUser,
    /// A parameter has a value that it cannot have.
    #[error("its parameter {name} is {value:?}; allowed is {allowed}")]
    BadParameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        allowed: &'static str,
    },
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let parts = text::cut(text)?;
        let parameters = Parameters::read(&parts.query)?;
        let hosts = hosts(parts.hosts, &parameters)?;
        let user = parameters
            .user
            .or(parts.user)
            .ok_or(DatabaseUrlError::NoUser)?;
        let dbname = parameters
            .dbname
            .or(parts.dbname)
            .unwrap_or_else(|| user.clone());
        Ok(Self {
            password: parameters
                .password
                .or(parts.password.map(SecretString::from)),
            hosts,
            dbname,
            user,
            ssl_mode: parameters.ssl_mode,
            ssl_root_cert: parameters.ssl_root_cert,
            application_name: parameters.application_name,
            options: parameters.options,
            channel_binding: parameters.channel_binding,
            says_pgbouncer: parameters.says_pgbouncer,
            warnings: parameters.warnings,
        })
    }
}

/// `?host=` and `?port=` stand for what the URL itself says, as in libpq.
fn hosts(
    named: Vec<(String, Option<u16>)>,
    parameters: &Parameters,
) -> Result<Vec<Host>, DatabaseUrlError> {
    let named = match &parameters.hosts {
        Some(hosts) => hosts.iter().map(|host| (host.clone(), None)).collect(),
        None => named,
    };
    if named.is_empty() {
        return Err(DatabaseUrlError::NoHost);
    }
    let default = parameters.port.unwrap_or(5432);
    Ok(named
        .into_iter()
        .map(|(host, port)| {
            let port = port.unwrap_or(default);
            if host.starts_with('/') {
                Host::Unix(host.into(), port)
            } else {
                Host::Tcp(host, port)
            }
        })
        .collect())
}

impl DatabaseUrl {
    /// A URL of one server, from parts that are not encoded. The host may also be the directory of a Unix socket, or
    /// an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// `BadHost` where `host` is none of these.
    pub fn from_parts(
        host: &str,
        port: u16,
        user: &str,
        password: Option<SecretString>,
        dbname: &str,
    ) -> Result<Self, DatabaseUrlError> {
        let host = if host.starts_with('/') {
            Host::Unix(host.into(), port)
        } else {
            Host::Tcp(
                text::host_name(host).ok_or(DatabaseUrlError::BadHost)?,
                port,
            )
        };
        Ok(Self {
            user: user.to_owned(),
            password,
            hosts: vec![host],
            dbname: dbname.to_owned(),
            ssl_mode: SslMode::default(),
            ssl_root_cert: None,
            application_name: None,
            options: None,
            channel_binding: ChannelBinding::Prefer,
            says_pgbouncer: false,
            warnings: Vec::new(),
        })
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_dbname(&self, dbname: &str) -> Self {
        Self {
            dbname: dbname.to_owned(),
            ..self.clone()
        }
    }

    /// Whether a server is at the port of Supabase's transaction pooler, where LISTEN and named statements do not
    /// work.
    pub fn is_transaction_pooler_port(&self) -> bool {
        self.hosts
            .iter()
            .any(|host| host.port() == TRANSACTION_POOLER_PORT)
    }

    /// For the driver. A session carries the URL's `application_name` if it has one, else the one given here.
    ///
    /// The limits make a silent death of the network known within about a minute, whatever the kernel's defaults.
    /// `verify-ca` and `verify-full` become `require` here: it is the TLS connector that verifies.
    pub fn to_tokio_postgres(&self, application_name: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .dbname(&self.dbname)
            .application_name(self.application_name.as_deref().unwrap_or(application_name))
            .ssl_mode(match self.ssl_mode {
                SslMode::Disable => DriverSslMode::Disable,
                SslMode::Prefer => DriverSslMode::Prefer,
                SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                    DriverSslMode::Require
                }
            })
            .channel_binding(self.channel_binding)
            .connect_timeout(Duration::from_secs(10))
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(30))
            // After a failover the old primary may still answer, but nothing can be recorded there.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        for host in &self.hosts {
            match host {
                Host::Tcp(name, port) => config.host(name).port(*port),
                Host::Unix(directory, port) => config.host_path(directory).port(*port),
            };
        }
        config
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.password.is_some() { ":***" } else { "" };
        write!(f, "postgresql://{}{password}@", self.user)?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(name, port) if name.contains(':') => write!(f, "{comma}[{name}]:{port}")?,
                Host::Tcp(name, port) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(directory, port) => write!(f, "{comma}{}:{port}", directory.display())?,
            }
        }
        write!(f, "/{}?sslmode={}", self.dbname, self.ssl_mode.as_str())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}
