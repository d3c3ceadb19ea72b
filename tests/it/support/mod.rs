//! What the tests stand on. Each helper has its own tests in `tests.rs`.

pub(crate) mod claims;
pub(crate) mod cluster;
pub(crate) mod database;
pub(crate) mod flow;
pub(crate) mod hits;
pub(crate) mod in_process;
pub(crate) mod migrated;
pub(crate) mod notifications;
pub(crate) mod pgbouncer;
pub(crate) mod plans;
pub(crate) mod platform;
pub(crate) mod process;
pub(crate) mod smtp;
pub(crate) mod state;
pub(crate) mod wait;
pub(crate) mod worker;

mod tests;
