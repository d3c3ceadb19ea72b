//! Python expressions, each in a process that may be lost.
//!
//! The interpreter cannot bound its memory inside a shared process, and what it cannot bound ends the process. So it
//! runs in processes of our own binary, the **hosts** (`workflow-worker python-host`): without the worker's
//! environment, with a bounded address space, connected by nothing but pipes. A host evaluates one expression at a time and is used
//! again. One that does not answer in time is killed; one that dies costs the evaluation that it was busy with.
//! Hosts end when the worker does, however it ends, because that closes their standard input.
//!
//! `serve` is the side of the host, `process` one host as seen from the worker, `protocol` what they say, and
//! [`Hosts`] here keeps those that are idle.

mod process;
mod protocol;
pub mod serve;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock;
use crate::expr::{self, ErrorKind, ExprError, Limits, Over, Scope};
use process::{Death, Host, Lost};
use protocol::{Answer, Request};

/// The command of our binary that makes it a host.
pub const COMMAND: &str = "python-host";
/// The name of our binary.
const BINARY: &str = "workflow-worker";
/// How often idle hosts are looked at. A look is one system call for each.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer is waited for beyond the time limit of the expression: for the start of the host, for what is
/// sent and for reading the expression, none of which the interpreter's clock covers.
const MARGIN: Duration = Duration::from_secs(5);
/// A host without work ends after this long.
const IDLE: Duration = Duration::from_secs(120);
/// A host that has evaluated so many expressions is replaced.
const EVALUATIONS: u32 = 10_000;

/// Why there is no value.
#[derive(Debug)]
pub enum Unanswered {
    /// The expression is to blame; the same would happen again.
    Expression(ExprError),
    /// The machine is to blame.
    Machine(String),
}

impl From<ExprError> for Unanswered {
    fn from(error: ExprError) -> Self {
        Self::Expression(error)
    }
}

/// The hosts of a worker. Cheap to clone; clones share them. There are as many as there are evaluations at a time,
/// which the caller bounds.
#[derive(Clone, Debug)]
pub struct Hosts {
    binary: Option<PathBuf>,
    idle_time: Duration,
    pool: Arc<Mutex<Pool>>,
}

#[derive(Debug, Default)]
struct Pool {
    /// The one used last is used next, so that those that are not needed end.
    idle: Vec<Idle>,
    /// Whether somebody will look for hosts that have been idle for too long, or were killed.
    watched: bool,
}

#[derive(Debug)]
struct Idle {
    host: Host,
    since: Instant,
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            binary: None,
            idle_time: IDLE,
            pool: Arc::default(),
        }
    }
}

impl Hosts {
    /// Hosts that run `binary` instead of this program.
    pub fn with_binary(mut self, binary: PathBuf) -> Self {
        self.binary = Some(binary);
        self
    }

    /// Hosts that end after `idle_time` without work (at the next look), instead of some minutes.
    pub fn with_idle_time(mut self, idle_time: Duration) -> Self {
        self.idle_time = idle_time;
        self
    }

    /// The process ids of the hosts that have nothing to do.
    pub fn idle(&self) -> Vec<u32> {
        self.with_pool(|pool| pool.idle.iter().filter_map(|idle| idle.host.id()).collect())
    }

    /// The value of a Python expression. Dropping the future ends the evaluation.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn evaluate(
        &self,
        source: &str,
        scope: &Scope,
        limits: &Limits,
    ) -> Result<Value, Unanswered> {
        self.answer(source, scope, None, limits).await
    }

    /// The result of a Python expression for each item of a list. Dropping the future ends the evaluation.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn evaluate_over(
        &self,
        source: &str,
        scope: &Scope,
        over: &Over,
        limits: &Limits,
    ) -> Result<Value, Unanswered> {
        self.answer(source, scope, Some(over), limits).await
    }

    async fn answer(
        &self,
        source: &str,
        scope: &Scope,
        over: Option<&Over>,
        limits: &Limits,
    ) -> Result<Value, Unanswered> {
        expr::check_source(source, limits)?;
        let request = Request::new(source, scope, over, limits)
            .frame()
            .map_err(|error| Unanswered::Machine(error.to_string()))?;
        let answer = self.ask(&request, source, limits).await?;
        match answer {
            Answer::Value(value) => Ok(value),
            Answer::Error(error) => Err(error.with_source(source).into()),
        }
    }

    async fn ask(
        &self,
        request: &[u8],
        source: &str,
        limits: &Limits,
    ) -> Result<Answer, Unanswered> {
        loop {
            let mut host = match self.take_idle(limits) {
                Some(host) => host,
                None => self.start(limits)?,
            };
            let asked = tokio::time::timeout(limits.time + MARGIN, host.ask(request, limits)).await;
            match asked {
                Ok(Ok(answer)) => {
                    if !answer.is_breakdown() {
                        self.give_back(host);
                    }
                    return Ok(answer);
                }
                Ok(Err(Lost::Unanswered)) => {
                    let was_idle = host.evaluations() > 1;
                    match host.death().await {
                        // Perhaps before it was asked. An expression changes nothing, so it can be asked again.
                        Death::Killed(_) if was_idle => {}
                        death => return Err(self.mourn(death, source, limits)),
                    }
                }
                Ok(Err(Lost::Nonsense(what))) => {
                    return Err(broke_down(source, &what).into());
                }
                Err(_elapsed) => {
                    let message = format!("it ran longer than {} ms", limits.time.as_millis());
                    return Err(ExprError::new(ErrorKind::Timeout, message, source).into());
                }
            }
        }
    }

    fn take_idle(&self, limits: &Limits) -> Option<Host> {
        self.with_pool(|pool| {
            loop {
                let mut host = pool.idle.pop()?.host;
                if host.is_alive() && host.memory_bytes() == limits.memory_bytes {
                    return Some(host);
                }
            }
        })
    }

    fn start(&self, limits: &Limits) -> Result<Host, Unanswered> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => our_binary().map_err(Unanswered::Machine)?,
        };
        Host::start(&binary, limits.memory_bytes)
            .map_err(|error| cannot_start(&binary, &error.to_string()))
    }

    /// What to say of a host that has died over an expression.
    fn mourn(&self, death: Death, source: &str, limits: &Limits) -> Unanswered {
        match death {
            Death::OutOfMemory => {
                let mib = limits.memory_bytes >> 20;
                let message = format!("it used more than {mib} MiB of memory");
                ExprError::new(ErrorKind::Memory, message, source).into()
            }
            Death::OutOfStack => {
                ExprError::new(ErrorKind::Depth, "it nests too deeply", source).into()
            }
            Death::Killed(signal) => Unanswered::Machine(format!(
                "the process that evaluates Python was killed from outside (signal {signal})"
            )),
            Death::Refused(why) => {
                let binary = self.binary.clone().or_else(|| our_binary().ok());
                cannot_start(binary.as_deref().unwrap_or(Path::new(BINARY)), &why)
            }
            Death::Crashed(how) => broke_down(source, &how).into(),
        }
    }

    fn give_back(&self, host: Host) {
        if host.evaluations() >= EVALUATIONS {
            return;
        }
        let watch = self.with_pool(|pool| {
            let since = clock::monotonic();
            pool.idle.push(Idle { host, since });
            !std::mem::replace(&mut pool.watched, true)
        });
        if watch {
            let pool = Arc::downgrade(&self.pool);
            let idle_time = self.idle_time;
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(idle_time.min(LOOK_INTERVAL)).await;
                    let Some(pool) = pool.upgrade() else { return };
                    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
                    if pool.tidy(idle_time) {
                        return;
                    }
                }
            });
        }
    }

    fn with_pool<T>(&self, work: impl FnOnce(&mut Pool) -> T) -> T {
        work(&mut self.pool.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pool {
    /// Ends the hosts that have been idle for too long, and buries those that were killed: one that nobody asks for its
    /// status stays a zombie. Says whether none is left to watch.
    fn tidy(&mut self, idle_time: Duration) -> bool {
        self.idle
            .retain_mut(|idle| idle.since.elapsed() < idle_time && idle.host.is_alive());
        self.watched = !self.idle.is_empty();
        !self.watched
    }
}

/// This program, or the one that was built with it if this is a test.
pub(super) fn our_binary() -> Result<PathBuf, String> {
    let this = std::env::current_exe()
        .map_err(|error| format!("the path of this program cannot be found: {error}"))?;
    let name = format!("{BINARY}{}", std::env::consts::EXE_SUFFIX);
    if this.file_name().is_some_and(|file| *file == *name) {
        return Ok(this);
    }
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(&name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!(
                "the program {name} is needed, which is not next to {}",
                this.display()
            )
        })
}

fn cannot_start(binary: &Path, why: &str) -> Unanswered {
    Unanswered::Machine(format!(
        "the process that evaluates Python, {} {COMMAND}, cannot start: {why}",
        binary.display()
    ))
}

fn broke_down(source: &str, how: &str) -> ExprError {
    let message = format!("the interpreter failed ({how}); please report this expression");
    ExprError::new(ErrorKind::Crashed, message, source)
}
