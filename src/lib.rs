//! The workflow worker of SynthralOS: it sees an inserted execution within milliseconds, runs its graph node by
//! node, and leaves the result where the platform's screens read it.
//!
//! ```text
//!  INSERT / UPDATE by API, cron, SQL, another worker
//!         │  trigger (sql/migrations): keep the run queue true, NOTIFY
//!         ▼
//!  wake ── listener (LISTEN) │ timer (next due) │ poll (1 s)
//!         ▼
//!  dispatcher ── one statement claims as many due rows as there are free slots, with their state
//!         ▼
//!  runner ── one task per execution: engine (pure) → activity (I/O) → engine (pure) → record, again
//!         ▼
//!  writer ── gathers the steps of all running executions into one statement and one commit
//!         ▼
//!  rows that the API and the UI read: workflowexecution, executionlog
//! ```
//!
//! The modules stand in the order of that picture, which is the order to read them in. Who may import whom is a
//! test: `tests/it/layers.rs`.

pub mod wake;

pub mod dispatcher;

pub mod runner;

pub mod engine;
pub mod expr;
pub mod retry;

pub mod cron;

pub mod host;

pub mod activities;

pub mod lint;

pub mod writer;

pub mod lease;

pub mod scheduler;

pub mod retention;

pub mod completion_mail;

pub mod store;

pub mod telemetry;

pub mod config;

pub mod clock;
pub mod ids;

pub mod worker;

pub mod dev;

pub mod cli;
