//! The host's side: reads requests, evaluates, answers, until standard input closes.
//!
//! One thread reads, another evaluates, so that the end of the worker ends the host in the middle of an evaluation
//! too. What the process may use is bounded before it reads anything.

use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

use super::protocol::{Answer, LENGTH_BYTES, Received, frame};
use crate::expr::{self, ErrorKind, ExprError, Language};

/// The stack of the thread that evaluates: for the deepest syntax tree that the longest source text can make.
const STACK_BYTES: usize = 128 << 20;
/// What the process may use beyond the memory limit of an expression: for request, answer and exceptions.
const ROOM_BYTES: u64 = 32 << 20;
/// Standard input, output and error: no further file can be opened.
const DESCRIPTORS: u64 = 3;
/// The last descriptor that a host needs.
const STANDARD_ERROR: RawFd = 2;

/// Serves until standard input is closed. `memory_bytes` is what an expression may use.
///
/// # Errors
/// If the process cannot be bounded, or a pipe breaks.
pub fn serve(memory_bytes: u64) -> io::Result<()> {
    close_inherited()?;
    let (sender, requests) = sync_channel(1);
    thread::Builder::new()
        .name("expression".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || answer_all(&requests))?;
    bound(memory_bytes)?;
    // What panics is answered; the message would fill a pipe that nobody reads.
    panic::set_hook(Box::new(|_| {}));
    let mut stdin = io::stdin().lock();
    while let Some(request) = read_frame(&mut stdin)? {
        sender
            .send(request)
            .map_err(|_closed| io::Error::other("standard output is closed"))?;
    }
    Ok(())
}

/// Closes what whoever started the worker has left open in all its descendants.
pub(crate) fn close_inherited() -> io::Result<()> {
    let directory = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let open: Vec<RawFd> = std::fs::read_dir(directory)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > STANDARD_ERROR)
        .collect();
    for descriptor in open {
        match nix::unistd::close(descriptor) {
            // The one that the list was read from.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Bounds what this process may use from now on.
fn bound(memory_bytes: u64) -> io::Result<()> {
    let at_most = |resource, value| setrlimit(resource, value, value);
    if cfg!(target_os = "linux") {
        let most = address_space()?
            .saturating_add(memory_bytes)
            .saturating_add(ROOM_BYTES);
        at_most(Resource::RLIMIT_AS, most)?;
    }
    at_most(Resource::RLIMIT_CORE, 0)?;
    at_most(Resource::RLIMIT_NOFILE, DESCRIPTORS)?;
    Ok(())
}

/// The address space that this process has now, in bytes.
fn address_space() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse::<u64>().ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no VmSize in kB"))?;
    Ok(kib.saturating_mul(1024))
}

/// The next frame; `None` at the end of the input.
fn read_frame(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH_BYTES];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut content = vec![0; length];
    input.read_exact(&mut content)?;
    Ok(Some(content))
}

fn answer_all(requests: &Receiver<Vec<u8>>) {
    let mut stdout = io::stdout().lock();
    while let Ok(request) = requests.recv() {
        let answer = panic::catch_unwind(AssertUnwindSafe(|| answer(request)))
            .unwrap_or_else(|_panic| broken("it panicked"));
        let Ok(frame) = frame(&answer) else { return };
        if stdout
            .write_all(&frame)
            .and_then(|()| stdout.flush())
            .is_err()
        {
            // Nobody listens; the reader will see its end too.
            return;
        }
    }
}

fn answer(request: Vec<u8>) -> Answer {
    let received = serde_json::from_slice::<Received>(&request).and_then(|received| {
        Ok((
            received.scope()?,
            received.over()?,
            received.source,
            received.limits,
        ))
    });
    drop(request);
    let (scope, over, source, limits) = match received {
        Ok(received) => received,
        Err(error) => return broken(&format!("it cannot read its request: {error}")),
    };
    let result = match over {
        None => expr::evaluate(Language::Python, &source, &scope, &limits),
        Some(over) => expr::over::evaluate(Language::Python, &source, &scope, &over, &limits),
    };
    match result {
        Ok(value) => Answer::Value(value),
        Err(error) => Answer::Error(error),
    }
}

fn broken(how: &str) -> Answer {
    let message = format!("the interpreter failed ({how}); please report this expression");
    Answer::Error(ExprError::new(ErrorKind::Crashed, message, ""))
}
