//! The worker as a user has it: the binary, in a process of its own, with the settings that are given and no others.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use workflow_worker::clock;
use workflow_worker::config::process_variable;

use crate::lab::Stage;

/// Where what the workers print is kept: warnings and errors.
pub(crate) const LOG: &str = "target/bench/worker.log";
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running worker. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    pid: u32,
}

impl Worker {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(stage: &Stage, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let binary = &stage.lab.binary;
        let mut child = command(stage, &["run"])?
            .envs(settings.iter().copied())
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let pid = child.id().context("it has ended already")?;
        let client = stage.client().await?;
        let query =
            "SELECT EXISTS (SELECT FROM workflow_worker.workers WHERE listening AND pid = $1)";
        let begin = clock::monotonic();
        while !client
            .query_one(query, &[&i32::try_from(pid)?])
            .await?
            .get::<_, bool>(0)
        {
            if let Some(status) = child.try_wait()? {
                bail!("the worker ended with {status} before it listened; {LOG} says why");
            }
            if begin.elapsed() > START_LIMIT {
                bail!(
                    "the worker does not listen within {} s",
                    START_LIMIT.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { child, pid })
    }

    /// Its process id, which `workflow_worker.workers` has as well.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").arg(self.pid.to_string()).status();
        if !told.await.context("kill cannot be run")?.success() {
            bail!("the worker has ended before its time; {LOG} says why");
        }
        let status = tokio::time::timeout(STOP_LIMIT, self.child.wait())
            .await
            .with_context(|| format!("the worker does not stop within {STOP_LIMIT:?}"))??;
        if !status.success() {
            bail!("the worker ended with {status}; {LOG} says why");
        }
        Ok(())
    }

    /// Time on a processor so far, of all its threads, in seconds. (Threads that have ended do not count; the worker keeps
    /// its threads.)
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().unwrap_or_default();
            nanoseconds += first.parse::<f64>()?;
        }
        Ok(nanoseconds / 1e9)
    }

    /// Memory that is in RAM, of it and of the processes that it has started, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let mut kib = 0.0;
        for process in family(self.pid)? {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            kib += number.context("no VmRSS")?.parse::<f64>()?;
        }
        Ok(kib / 1024.0)
    }
}

/// A command of the binary on a stage's database. It is killed when its process is dropped.
pub(crate) fn command(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(&stage.lab.binary);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", process_variable("PATH").unwrap_or_default())
        .env("DATABASE_URL", &stage.url)
        .env("WORKFLOW_WORKER_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(log_file()?)
        .stderr(log_file()?)
        .kill_on_drop(true);
    Ok(command)
}

/// A process and its descendants.
fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
    }
    Ok(found)
}

fn log_file() -> anyhow::Result<File> {
    let path = PathBuf::from(LOG);
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("{LOG} cannot be written"))
}
