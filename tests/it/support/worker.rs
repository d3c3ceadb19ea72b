//! The worker as a child process, to be killed.

use std::ops::{Deref, DerefMut};
use std::process::Command;

use workflow_worker::config::process_variable;

use super::process::Process;

/// `workflow-worker run`. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct WorkerProcess(Process);

impl WorkerProcess {
    /// Starts it with these environment variables and no others, so that the machine's own settings change nothing.
    pub(crate) fn spawn(database_url: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workflow-worker"));
        command
            .arg("run")
            .env_clear()
            .env("PATH", process_variable("PATH").unwrap_or_default())
            .env("SUPABASE_DB_URL", database_url)
            .envs(variables.iter().copied());
        Self(Process::spawn(&mut command))
    }
}

impl Deref for WorkerProcess {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for WorkerProcess {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}
