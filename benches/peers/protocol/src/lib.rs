//! What the programs in Rust share: the harness's line protocol (README.md, 'The protocol'; the same as `protocol.py`).

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whatever ends a program.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is told where the command line is none of the protocol.
pub const USAGE: &str = "usage: describe | setup URL SETTING | enqueue URL SETTING STEPS | work URL SETTING STEPS CONCURRENCY EXPECT";

/// Nanoseconds of the machine's clock.
pub fn now() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Prints a line. If nobody reads it, the harness is gone, and so is this process in a moment.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// What has run. With `expect` 0 each last step is told at once; else only that `expect` steps have run.
pub struct Tally {
    /// How many steps an execution has.
    pub steps: usize,
    expect: usize,
    count: AtomicUsize,
    first: AtomicU64,
}

impl Tally {
    /// One that has counted nothing.
    pub fn new(steps: usize, expect: usize) -> Arc<Self> {
        let (count, first) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self {
            steps,
            expect,
            count,
            first,
        })
    }

    /// To be called first thing in a handler.
    pub fn started(&self, job: &str, step: usize) {
        let at = now();
        if self.expect == 0 {
            if step == self.steps {
                say(&format!("started {job} {at}"));
            }
            return;
        }
        self.first
            .compare_exchange(0, at, Ordering::SeqCst, Ordering::SeqCst)
            .ok();
        if self.count.fetch_add(1, Ordering::SeqCst) + 1 == self.expect {
            say("handled");
        }
    }

    /// Answers `report`.
    pub fn report(&self) {
        let (first, count) = (
            self.first.load(Ordering::SeqCst),
            self.count.load(Ordering::SeqCst),
        );
        say(&format!("report {first} {count}"));
    }
}

/// The lines of standard input, as verb and argument. Read on a thread of its own; the end ends the process.
pub fn commands() -> tokio::sync::mpsc::UnboundedReceiver<(String, String)> {
    let (send, lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            if send.send((verb.to_owned(), argument.to_owned())).is_err() {
                break;
            }
        }
        std::process::exit(0)
    });
    lines
}

/// Enqueues one job and tells when: `committed JOB BEFORE AFTER`.
pub async fn timed<T>(
    job: &str,
    enqueuing: impl Future<Output = Result<T, Failure>>,
) -> Result<(), Failure> {
    let before = now();
    enqueuing.await?;
    say(&format!("committed {job} {before} {}", now()));
    Ok(())
}

/// The words of the command line, without the program's name.
pub fn arguments() -> Vec<String> {
    std::env::args().skip(1).collect()
}
