//! The host's side: starts one program, watches it, ends it whole, answers.
//!
//! One thread, since a process with several can enter neither a user namespace nor start a process in a new process
//! namespace. It waits in `poll` for output and for the end of the worker, and looks every few milliseconds whether
//! the program has ended, less often the longer it runs.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid;

use super::protocol::{self, Answer, Bounds, Excess, Job, Refusal, Report, Request};
use super::{COMMAND, confine, descendants};
use crate::activities::python::serve::close_inherited;
use crate::clock;

/// The name that stands for the directory of the files.
const DIRECTORY: &str = "{dir}";
/// The working directory, in it.
const WORK: &str = "work";
/// How often processes and memory are looked at.
const CENSUS: Duration = Duration::from_millis(50);
/// How much is read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Reads a request from standard input, runs the program, and answers on standard output.
///
/// # Errors
/// If a pipe breaks.
pub fn supervise() -> io::Result<()> {
    close_inherited()?;
    let mut stdin = io::stdin().lock();
    let Request { directory, job } = protocol::read(&mut stdin)?;
    let answer = run(&directory, &job);
    protocol::write(&mut io::stdout().lock(), &answer)
}

fn run(directory: &Path, job: &Job) -> Answer {
    let isolated = confine::isolate(job.bounds.network).map_err(Refusal::Impossible)?;
    attempt(directory, job, isolated).map_err(Refusal::Machine)
}

fn attempt(directory: &Path, job: &Job, isolated: bool) -> Result<Report, String> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| error.to_string())?;
    let report = prepare(directory, job)
        .and_then(|()| start(directory, job, isolated))
        .and_then(|child| watch(child, &job.bounds))
        .map_err(|error| error.to_string());
    let ended = descendants::end_all();
    let report = report.map(|mut report| {
        read_result(
            &directory.join(&job.result),
            job.bounds.result_bytes,
            &mut report,
        );
        report.memory_kib = memory_kib();
        report
    });
    let removed = remove(directory)
        .map_err(|error| format!("{} cannot be removed: {error}", directory.display()));
    ended.and(removed).and(report)
}

/// Removes the directory, also where the program has locked itself, and us, out of parts of it.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => unlock(directory)?,
    }
    fs::remove_dir_all(directory)
}

fn unlock(directory: &Path) -> io::Result<()> {
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            // A link to a directory is none.
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

fn prepare(directory: &Path, job: &Job) -> io::Result<()> {
    let mut private = DirBuilder::new();
    private.mode(0o700).create(directory)?;
    private.create(directory.join(WORK))?;
    for (name, content) in &job.files {
        fs::write(directory.join(name), content)?;
    }
    Ok(())
}

fn start(directory: &Path, job: &Job, isolated: bool) -> io::Result<Child> {
    let place = directory.to_string_lossy();
    let work = directory.join(WORK);
    let stdin = match &job.stdin {
        Some(name) => File::open(directory.join(name))?.into(),
        None => Stdio::null(),
    };
    Command::new(std::env::current_exe()?)
        .args([COMMAND, "exec"])
        .args(isolated.then_some("--isolated"))
        .arg(serde_json::to_string(&job.bounds)?)
        .arg("--")
        .args(job.argv.iter().map(|part| part.replace(DIRECTORY, &place)))
        .env_clear()
        .env("HOME", &work)
        .env("TMPDIR", &work)
        .env("LANG", "C.UTF-8")
        .envs(
            job.environment
                .iter()
                .map(|(name, value)| (name, value.replace(DIRECTORY, &place))),
        )
        .current_dir(&work)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// A program that runs.
struct Watched {
    child: Child,
    stdout: Pipe<ChildStdout>,
    stderr: Pipe<ChildStderr>,
    started: Instant,
    bounds: Bounds,
}

/// Watches a program until it has ended or is to be ended, and kills it.
fn watch(mut child: Child, bounds: &Bounds) -> io::Result<Report> {
    let no_pipe = || io::Error::other("it has no pipes");
    let mut watched = Watched {
        stdout: Pipe::new(child.stdout.take().ok_or_else(no_pipe)?)?,
        stderr: Pipe::new(child.stderr.take().ok_or_else(no_pipe)?)?,
        child,
        started: clock::monotonic(),
        bounds: *bounds,
    };
    let end = watched.until_end();
    descendants::kill_group(watched.group());
    let status = watched.child.wait()?;
    let duration = watched.started.elapsed();
    // Those that have left the group may still hold the pipes.
    descendants::end_all().map_err(io::Error::other)?;
    watched.read_all()?;
    let excess = end?.or_else(|| watched.excess_of_output());
    Ok(watched.report(status, excess, duration))
}

impl Watched {
    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    /// Which bound was exceeded, if any.
    fn until_end(&mut self) -> io::Result<Option<Excess>> {
        let limit = Duration::from_millis(self.bounds.time_ms);
        let mut counted = Duration::ZERO;
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(None);
            }
            let elapsed = self.started.elapsed();
            if elapsed >= limit {
                return Ok(Some(Excess::Time));
            }
            let pause = (elapsed / 8).clamp(Duration::from_millis(1), CENSUS);
            self.wait(pause.min(limit.saturating_sub(elapsed)))?;
            self.read_all()?;
            if let Some(excess) = self.excess_of_output() {
                return Ok(Some(excess));
            }
            if elapsed.saturating_sub(counted) >= CENSUS {
                counted = elapsed;
                if let Some(excess) = self.census() {
                    return Ok(Some(excess));
                }
            }
        }
    }

    fn excess_of_output(&self) -> Option<Excess> {
        let printed = self.stdout.text.len() + self.stderr.text.len();
        (printed > self.bounds.output_bytes).then_some(Excess::Output)
    }

    /// Looks at the processes. One alone is bounded by its address space.
    fn census(&self) -> Option<Excess> {
        let processes = descendants::living();
        let most = usize::try_from(self.bounds.processes).unwrap_or(usize::MAX);
        if processes.len() > most {
            return Some(Excess::Processes);
        }
        let is_too_much =
            processes.len() > 1 && descendants::memory_bytes(&processes) > self.bounds.memory_bytes;
        is_too_much.then_some(Excess::Memory)
    }

    /// Waits for output, at most so long.
    ///
    /// # Errors
    /// If nobody waits for the program any more.
    fn wait(&self, time: Duration) -> io::Result<()> {
        let stdin = io::stdin();
        let mut open = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        open.extend(self.stdout.poll());
        open.extend(self.stderr.poll());
        let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        match poll(&mut open, millis.max(1)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // The request was all that the worker had to say.
        match open.first().and_then(PollFd::any) {
            Some(true) => Err(io::Error::other("the worker does not wait any more")),
            _ => Ok(()),
        }
    }

    /// Reads what there is, a little beyond the bound.
    fn read_all(&mut self) -> io::Result<()> {
        let most = self.bounds.output_bytes.saturating_add(1);
        self.stdout
            .read(most.saturating_sub(self.stderr.text.len()))?;
        self.stderr
            .read(most.saturating_sub(self.stdout.text.len()))
    }

    fn report(self, status: ExitStatus, excess: Option<Excess>, duration: Duration) -> Report {
        let bound = self.bounds.output_bytes;
        let stdout = self.stdout.into_text(bound);
        let stderr = self.stderr.into_text(bound.saturating_sub(stdout.len()));
        Report {
            exit_code: status.code(),
            signal: status.signal(),
            excess,
            stdout,
            stderr,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            ..Report::default()
        }
    }
}

/// The end of a pipe that is read without waiting.
struct Pipe<P> {
    pipe: Option<P>,
    text: Vec<u8>,
}

impl<P: Read + AsFd> Pipe<P> {
    fn new(pipe: P) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self {
            pipe: Some(pipe),
            text: Vec::new(),
        })
    }

    fn poll(&self) -> Option<PollFd<'_>> {
        let pipe = self.pipe.as_ref()?;
        Some(PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
    }

    /// Reads what there is, up to `most` bytes in all.
    fn read(&mut self, most: usize) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.text.len() < most {
            match pipe.read(&mut chunk) {
                Ok(0) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(count) => self.text.extend(chunk.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn into_text(self, most: usize) -> String {
        let kept = self.text.get(..most).unwrap_or(&self.text);
        String::from_utf8_lossy(kept).into_owned()
    }
}

/// Reads the result, if there is one. A program may have put anything in its place, such as a link or a pipe.
fn read_result(path: &Path, most: usize, report: &mut Report) {
    let opened = File::options()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    let Ok(file) = opened else { return };
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return;
    }
    let mut content = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    if file.take(limit).read_to_end(&mut content).is_err() {
        return;
    }
    if content.len() > most {
        report.is_result_too_large = true;
    } else if !content.is_empty() {
        report.result = Some(String::from_utf8_lossy(&content).into_owned());
    }
}

/// The most that one process of the program held.
fn memory_kib() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    // In other units elsewhere.
    if !cfg!(target_os = "linux") {
        return None;
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
    u64::try_from(usage.max_rss()).ok()
}
