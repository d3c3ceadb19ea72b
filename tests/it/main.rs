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
/// What fixed workloads cost the database, in counts.
mod budget;
/// Programs in processes of their own.
mod code;
/// The binary as an operator meets it.
mod command_line;
/// Mails at the end of executions.
mod completion_mail;
/// Loops, branches, what is tried, what waits, what other workflows are started.
mod control;
/// Cron expressions, explained on the command line.
mod cron_command;
/// Harnesses for what must hold under kills, cuts and restarts.
mod faults;
/// What an idle worker costs.
mod idle;
/// Who may import whom.
mod layers;
/// Workflows that are checked before they run, and the list of node types.
mod lint;
/// The worker's own schema, and what was there before it.
mod migrations;
/// Mails of a node, through an encrypted connection.
mod notification;
/// The README and the files for deployment against the table of settings.
mod packaging;
/// Pause, resume, terminate.
mod pause;
/// What the row shows of an execution that runs.
mod published;
/// The processes that evaluate Python.
mod python_host;
/// The order of the run queue, and limits.
mod queue;
/// Rows recorded from the Python worker.
mod recorded;
/// Nodes that an activity host runs.
mod remote;
/// Old history.
mod retention;
/// Retries and delays.
mod retry_and_delay;
/// What a run leaves behind.
mod run;
/// Cron schedules.
mod schedules;
/// The schema, for reading.
mod schema_file;
/// Who runs nodes, who is held, and who waits for a commit only.
mod slots;
/// Functions and views for others.
mod sql_api;
/// The statements in sql/queries.
mod sql_files;
/// Time-outs, replays, debug steps, test mode, guards: what others do to an execution.
mod steering;
/// Templates in configurations, and nodes that compute with the data.
mod templates;
/// Waits for signals and for children, in the database.
mod waits;
/// Notifications, and none.
mod wake;
/// Inserts that notify nobody, and are seen at once all the same.
mod wake_gate;

/// What the tests stand on: databases, child processes, a server that counts, the platform's side.
mod support;
