//! What a failed statement means: decided once, by SQLSTATE.

use std::time::Duration;

use thiserror::Error;
use tokio_postgres::error::DbError;

/// A statement that did not succeed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or the connection was lost. Whether a write took effect is not known.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// The database was in the way of the statement for a moment (deadlock, serialisation, out of connections, a
    /// cancelled statement). It took no effect.
    #[error("the database is busy ({code}): {message}")]
    Busy {
        /// The SQLSTATE.
        code: String,
        /// The database's words.
        message: String,
    },
    /// No answer within the deadline. Whether a write took effect is not known.
    #[error("{statement} got no answer within {limit:?}")]
    TimedOut {
        /// The statement's name.
        statement: &'static str,
        /// The deadline.
        limit: Duration,
    },
    /// The database refuses these values; the same values will be refused again.
    #[error("the database refused the values ({code}): {message}")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// The database's words.
        message: String,
    },
    /// User, password or certificate are not accepted.
    #[error("the database does not let this user in ({code}): {message}")]
    Login {
        /// The SQLSTATE.
        code: String,
        /// The database's words.
        message: String,
    },
    /// The schema is not what this binary expects, or the role lacks a right.
    #[error("the database does not have what this worker needs ({code}): {message}")]
    Schema {
        /// The SQLSTATE.
        code: String,
        /// The database's words.
        message: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Busy { .. } | Self::TimedOut { .. }
        )
    }

    /// Whether the statement took too long, by the client's clock or by the server's.
    pub fn is_too_slow(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Busy { code, .. } => code == "57014",
            _ => false,
        }
    }

    /// Whether a write may have taken effect all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut { .. })
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(database) => from_database(database),
            // Everything without an answer of the server: I/O, TLS, a closed connection. A value that does not fit
            // its declared type is a bug that the tests of `sql.rs` exclude.
            None => Self::Unavailable(with_causes(&error)),
        }
    }
}

fn from_database(error: &DbError) -> StoreError {
    let code = error.code().code().to_owned();
    if code.starts_with(OWN_CLASS) {
        // Said for people, with what helps.
        let message = match error.hint() {
            Some(hint) => format!("{} ({hint})", error.message()),
            None => error.message().to_owned(),
        };
        return classify(code, message);
    }
    let message = match (error.detail(), error.where_()) {
        (Some(detail), _) => format!("{} ({detail})", error.message()),
        (None, Some(place)) => format!(
            "{} ({})",
            error.message(),
            place.lines().next().unwrap_or_default()
        ),
        (None, None) => error.message().to_owned(),
    };
    classify(code, message)
}

/// The class of the refusals of our own functions (`sql/migrations/0008_api.sql`).
pub const OWN_CLASS: &str = "WW";

/// Decided by SQLSTATE. Only classes 22, 23, 54, P0 and our own say something about the values. A pooler's own errors (XX000: no
/// client connections left, the circuit breaker is open, the connection was closed in the middle) say nothing, not even
/// whether the statement took effect.
fn classify(code: String, message: String) -> StoreError {
    match code.as_str() {
        // A pooler that swaps connections under named statements, a plan that DDL has made invalid, a lock, a replica.
        "26000" | "42P05" | "0A000" | "55P03" | "25006" => StoreError::Busy { code, message },
        // The server goes down, or is not up yet.
        "57P01" | "57P02" | "57P03" => StoreError::Unavailable(format!("{message} ({code})")),
        _ => match code.get(..2).unwrap_or_default() {
            "22" | "23" | "54" | "P0" | OWN_CLASS => StoreError::Refused { code, message },
            "08" | "XX" => StoreError::Unavailable(format!("{message} ({code})")),
            "28" => StoreError::Login { code, message },
            "3F" | "42" => StoreError::Schema { code, message },
            _ => StoreError::Busy { code, message },
        },
    }
}

/// An error and its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Many libraries repeat the cause in their own text.
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str) -> StoreError {
        classify(code.to_owned(), "x".to_owned())
    }

    #[test]
    fn only_the_values_own_errors_are_refusals() {
        for code in [
            "22P05", "22021", "23505", "23514", "54000", "P0001", "WW404",
        ] {
            assert!(matches!(of(code), StoreError::Refused { .. }), "{code}");
        }
        for code in [
            "XX000", "08006", "57P01", "57P03", "40001", "40P01", "53300", "57014", "26000",
            "3D000", "25P03",
        ] {
            assert!(of(code).is_retryable(), "{code}");
        }
        for code in ["28P01", "42P01", "42501"] {
            assert!(
                !of(code).is_retryable() && !matches!(of(code), StoreError::Refused { .. }),
                "{code}"
            );
        }
    }

    #[test]
    fn what_may_have_taken_effect_is_looked_up() {
        for code in ["XX000", "08006", "57P01"] {
            assert!(of(code).is_ambiguous(), "{code}");
        }
        assert!(!of("40001").is_ambiguous());
    }
}
