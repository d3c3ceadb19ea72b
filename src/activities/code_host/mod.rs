//! Programs of users, each in processes that are ended whole.
//!
//! A program runs under a **host**: a process of our own binary (`workflow-worker code-host supervise`) without the
//! worker's environment. It makes the temporary directory, starts the interpreter under bounds, gathers what it
//! prints, and watches time, output, memory and the number of processes. Whatever the end, it kills every descendant,
//! also one that left the process group, and removes the directory before it answers.
//! The host's standard input is the worker's hold on it: when it closes, because the future was dropped or because the
//! worker died in any way, the host ends the program. If the host itself dies, the kernel kills the interpreter.
//!
//! Where the system allows it without privileges, a program has user, process and IPC namespaces of its own. Then its
//! end is the end of all its processes, and the worker's `/proc` entries are closed to it. Where it is not allowed
//! (many container runtimes), the rest still holds.
//! This separates and limits honest and careless programs. It is not a boundary against attackers: files that the
//! worker's user can read, a program can read.
//!
//! `supervise` is the side of the host, `confine` bounds the interpreter, `descendants` finds and ends processes,
//! `protocol` is what both sides say, and [`run`] here is the worker's side.

mod confine;
mod descendants;
mod protocol;
mod supervise;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use uuid::Uuid;

pub use confine::{conceal, exec};
use protocol::{Answer, LENGTH_BYTES, Request};
pub use protocol::{Bounds, Excess, Job, Refusal, Report};
pub use supervise::supervise;

/// The command of our binary that makes it a host.
pub const COMMAND: &str = "code-host";
/// How long an answer is waited for beyond the time limit of the program: for starting, sending and cleaning up.
const MARGIN: Duration = Duration::from_secs(20);
/// What an answer may have beyond output and result: JSON may need six bytes for one.
const ESCAPES: u64 = 6;
/// The rest of an answer.
const ENVELOPE_BYTES: u64 = 64 << 10;

/// Runs a program to its end. Dropping the future ends it. `binary` is our own; temporary directories are made in
/// `temporary`.
///
/// # Errors
/// What kept it from starting, or how the host was lost.
pub async fn run(binary: &Path, temporary: &Path, job: Job) -> Result<Report, Refusal> {
    let directory = temporary.join(format!("workflow-code-{}", Uuid::new_v4().simple()));
    let limit = Duration::from_millis(job.bounds.time_ms).saturating_add(MARGIN);
    let request = Request {
        directory: directory.clone(),
        job,
    };
    let lost = match tokio::time::timeout(limit, ask(binary, &request)).await {
        Ok(Ok(answer)) => return answer,
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => "it does not answer".to_owned(),
    };
    remove(directory).await;
    Err(Refusal::Machine(format!(
        "the process that runs programs, {} {COMMAND}, failed: {lost}",
        binary.display()
    )))
}

async fn ask(binary: &Path, request: &Request) -> io::Result<Answer> {
    let bounds = request.job.bounds;
    let mut host = Command::new(binary)
        .args([COMMAND, "supervise"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A signal to the worker's group (Ctrl-C, a service manager) is for the worker, which lets nodes end.
        .process_group(0)
        // Not killed when dropped: it has to end the program first, and does so when its standard input closes.
        .kill_on_drop(false)
        .spawn()?;
    let no_pipe = || io::Error::other("it has no pipes");
    // Held until the answer is there.
    let mut stdin = host.stdin.take().ok_or_else(no_pipe)?;
    let mut stdout = host.stdout.take().ok_or_else(no_pipe)?;
    stdin.write_all(&protocol::frame(request)?).await?;
    let mut length = [0; LENGTH_BYTES];
    stdout.read_exact(&mut length).await?;
    let length = u64::from_be_bytes(length);
    let text = u64::try_from(bounds.output_bytes.saturating_add(bounds.result_bytes))
        .map_err(io::Error::other)?;
    if length > text.saturating_mul(ESCAPES).saturating_add(ENVELOPE_BYTES) {
        return Err(io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    stdout.read_exact(&mut answer).await?;
    drop(stdin);
    host.wait().await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Removes what a lost host has left behind. The kernel has killed its program, but perhaps not yet.
async fn remove(directory: PathBuf) {
    if let Err(error) = tokio::fs::remove_dir_all(&directory).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!("{} was not removed: {error}", directory.display());
    }
}
