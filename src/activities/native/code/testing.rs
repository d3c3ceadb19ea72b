//! What tests need to run programs.

use super::Code;
use crate::config::Config;

/// Programs within the default bounds.
pub(crate) fn code() -> Code {
    let config = Config::from_env(|name| {
        (name == "DATABASE_URL").then(|| "postgresql://u:p@h/db".to_owned())
    });
    Code::new(config.unwrap().code)
}
