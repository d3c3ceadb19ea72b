//! One host, as seen from the worker.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::COMMAND;
use super::protocol::{Answer, LENGTH_BYTES};
use crate::expr::Limits;

/// What an answer may have beyond the largest result.
const ENVELOPE_BYTES: usize = 64 << 10;
/// What is kept of a host's last words.
const LAST_WORDS_BYTES: u64 = 4 << 10;
/// How long a host that has closed its pipes may take to be gone.
const DEATH_LIMIT: Duration = Duration::from_secs(5);
/// `SIGHUP`, `SIGINT`, `SIGKILL` and `SIGTERM`: what others send, among them the kernel when the machine is out of memory.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

/// A process that evaluates. Killed when it is dropped.
#[derive(Debug)]
pub(super) struct Host {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    memory_bytes: usize,
    evaluations: u32,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The host closed its pipes.
    Unanswered,
    /// What came is no answer.
    Nonsense(String),
}

/// How a host ended.
#[derive(Debug)]
pub(super) enum Death {
    /// It was refused more memory.
    OutOfMemory,
    /// Its stack was too small.
    OutOfStack,
    /// Somebody sent it a signal.
    Killed(i32),
    /// It did not want to serve, and said why.
    Refused(String),
    /// Any other way.
    Crashed(String),
}

impl Host {
    /// Starts a host.
    pub(super) fn start(binary: &Path, memory_bytes: usize) -> io::Result<Self> {
        let mut child = Command::new(binary)
            .arg(COMMAND)
            .arg(memory_bytes.to_string())
            .env_clear()
            // One heap for all threads: further ones reserve address space in advance, past the bound.
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal to the worker's group (Ctrl-C, a service manager) is for the worker, which lets nodes end.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let no_pipe = || io::Error::other("it has no pipes");
        Ok(Self {
            stdin: child.stdin.take().ok_or_else(no_pipe)?,
            stdout: child.stdout.take().ok_or_else(no_pipe)?,
            stderr: child.stderr.take().ok_or_else(no_pipe)?,
            child,
            memory_bytes,
            evaluations: 0,
        })
    }

    /// Its process id, unless it is gone.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The memory limit that it was started with.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// How often it was asked.
    pub(super) fn evaluations(&self) -> u32 {
        self.evaluations
    }

    /// Whether it has not ended.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(&mut self, request: &[u8], limits: &Limits) -> Result<Answer, Lost> {
        self.evaluations = self.evaluations.saturating_add(1);
        let ended = |_: io::Error| Lost::Unanswered;
        self.stdin.write_all(request).await.map_err(ended)?;
        let mut length = [0; LENGTH_BYTES];
        self.stdout.read_exact(&mut length).await.map_err(ended)?;
        let length = u32::from_be_bytes(length);
        let most = limits.result_bytes.saturating_add(ENVELOPE_BYTES);
        let mut answer = match usize::try_from(length) {
            Ok(length) if length <= most => vec![0; length],
            _ => return Err(Lost::Nonsense(format!("an answer of {length} bytes"))),
        };
        self.stdout.read_exact(&mut answer).await.map_err(ended)?;
        serde_json::from_slice(&answer).map_err(|error| Lost::Nonsense(error.to_string()))
    }

    /// Waits for the end of a host that has closed its pipes, and says how it came.
    pub(super) async fn death(mut self) -> Death {
        let mut words = Vec::new();
        let last = async {
            let mut limited = (&mut self.stderr).take(LAST_WORDS_BYTES);
            // Without them the status has to do.
            drop(limited.read_to_end(&mut words).await);
            self.child.wait().await
        };
        match tokio::time::timeout(DEATH_LIMIT, last).await {
            Ok(Ok(status)) => classify(status, &String::from_utf8_lossy(&words)),
            Ok(Err(error)) => Death::Crashed(error.to_string()),
            Err(_elapsed) => Death::Crashed("it closed its pipes and does not end".to_owned()),
        }
    }
}

/// The runtime of Rust says on standard error why it aborts.
fn classify(status: ExitStatus, words: &str) -> Death {
    let words = words.trim();
    if words.contains("memory allocation of") {
        return Death::OutOfMemory;
    }
    if words.contains("overflowed its stack") {
        return Death::OutOfStack;
    }
    match (status.signal(), status.code()) {
        (Some(signal), _) if FROM_OUTSIDE.contains(&signal) => Death::Killed(signal),
        (None, Some(code)) if code != 0 => Death::Refused(if words.is_empty() {
            status.to_string()
        } else {
            words.to_owned()
        }),
        _ => Death::Crashed(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_host_is_told_by_its_status_and_last_words() {
        let abort = ExitStatus::from_raw(6);
        let of = |status, words| format!("{:?}", classify(status, words));
        assert_eq!(
            of(abort, "memory allocation of 4096 bytes failed\n"),
            "OutOfMemory"
        );
        assert_eq!(
            of(
                abort,
                "\nthread 'expression' (7) has overflowed its stack\nfatal …"
            ),
            "OutOfStack"
        );
        assert_eq!(of(ExitStatus::from_raw(9), ""), "Killed(9)");
        assert_eq!(
            of(ExitStatus::from_raw(64 << 8), "no such command"),
            "Refused(\"no such command\")"
        );
        assert!(of(ExitStatus::from_raw(11), "").starts_with("Crashed"));
    }
}
