//! The integration tests: one binary, one PostgreSQL that they start themselves, a database per test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set itself up has failed"
)]

/// Broken rows.
mod broken_rows;
/// Programs in processes of their own.
mod code;
/// The binary as an operator meets it.
mod command_line;
/// Harnesses for what must hold under kills, cuts and restarts.
mod faults;
/// Who may import whom.
mod layers;
/// The worker's own schema, and what was there before it.
mod migrations;
/// The README and the files for deployment against the table of settings.
mod packaging;
/// Pause, resume, terminate.
mod pause;
/// The processes that evaluate Python.
mod python_host;
/// Rows recorded from the Python worker.
mod recorded;
/// Retries and delays.
mod retry_and_delay;
/// What a run leaves behind.
mod run;
/// The statements in sql/queries.
mod sql_files;
/// Notifications, and none.
mod wake;

/// What the tests stand on: databases, child processes, a server that counts, the platform's side.
mod support;
