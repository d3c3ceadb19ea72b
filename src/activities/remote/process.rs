//! The activity host as a child process: started, watched, started again, stopped.
//!
//! It listens on a Unix socket in a directory that only this user can enter. It lives in a process group of its own,
//! which is ended as a whole: whatever it starts goes with it. It is not to outlive the worker either: its standard
//! input closes when the worker dies, however that happens, and the protocol asks it to exit then.
//!
//! | state | becomes ready | is lost |
//! | --- | --- | --- |
//! | starting | at the first good answer to a look at its health | if it ends, or has not answered within [`Timing::start`] |
//! | ready | – | if it ends, or misses [`Timing::misses`] looks in a row |
//! | lost | started again after a wait that grows while it does not stay up | – |
//!
//! One task owns it ([`HostProcess::run`]); the calls learn through a `watch` channel whether it is ready, and wait a
//! while if it is not.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::io::{AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::http::{Endpoint, EndpointError, Readiness};
use super::output::forward;
use crate::config::ActivityUrl;
use crate::telemetry::{Event, Telemetry};

/// Where the host is to listen, for the host.
const SOCKET_VARIABLE: &str = "WORKFLOW_ACTIVITY_SOCKET";
/// What it is to ask its callers for, for the host.
const TOKEN_VARIABLE: &str = "WORKFLOW_ACTIVITY_TOKEN";
/// How long [`HostProcess::run`] may take after it was told to stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(4);
/// How long a host may take to end after SIGTERM. Nothing runs on it any more when it gets one.
const GRACE: Duration = Duration::from_secs(2);
/// How long a killed process may take to be gone, and its last lines to be read.
const DEATH_LIMIT: Duration = Duration::from_secs(1);

/// When it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// How long a start may take: the platform's Python imports much.
    pub(super) start: Duration,
    /// Between two looks while it starts.
    pub(super) start_interval: Duration,
    /// Between two looks at a host that is ready.
    pub(super) interval: Duration,
    /// So many missed looks in a row end it.
    pub(super) misses: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(120),
            start_interval: Duration::from_millis(50),
            interval: Duration::from_secs(5),
            misses: 3,
        }
    }
}

/// The supervisor of an activity host. Nothing runs until [`HostProcess::run`].
#[derive(Debug)]
pub struct HostProcess {
    command: Vec<String>,
    token: Option<SecretString>,
    /// Removed with its socket when this is dropped.
    directory: TempDir,
    endpoint: Endpoint,
    /// Read by the calls.
    readiness: watch::Sender<Readiness>,
    telemetry: Telemetry,
    timing: Timing,
}

impl HostProcess {
    /// A supervisor of `command`: a program and its arguments.
    ///
    /// # Errors
    /// There is no place for its socket.
    pub fn new(
        command: Vec<String>,
        token: Option<&SecretString>,
        telemetry: Telemetry,
    ) -> Result<Self, EndpointError> {
        let directory = tempfile::Builder::new()
            .prefix("workflow-activity-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(EndpointError::Directory)?;
        let url = ActivityUrl::Unix(socket_in(&directory));
        let (readiness, _) = watch::channel(Readiness::NotReady("it starts".to_owned()));
        Ok(Self {
            command,
            token: token.cloned(),
            endpoint: Endpoint::new(&url, token)?,
            directory,
            readiness,
            telemetry,
            timing: Timing::default(),
        })
    }

    /// The same, looked at at other times.
    #[cfg(test)]
    pub(super) fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Where its calls go: they wait while it is not ready.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
            .clone()
            .with_readiness(self.readiness.subscribe())
    }

    /// Keeps the host running until told to stop, and then ends it. Dropping the future kills it.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = restart_backoff();
        while let Err(error) = self.one_life(&stop, &mut backoff).await {
            let restart_in = backoff.next_backoff().unwrap_or_default();
            self.telemetry
                .emit(Event::ActivityHostLost { error, restart_in });
            tokio::select! {
                () = tokio::time::sleep(restart_in) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// From one start to its end: by order, or an error that says why it was lost.
    async fn one_life(
        &self,
        stop: &CancellationToken,
        backoff: &mut ExponentialBackoff,
    ) -> Result<(), String> {
        let mut host = self.start().inspect_err(|error| {
            self.readiness
                .send_replace(Readiness::NotReady(error.clone()));
        })?;
        let lost = tokio::select! {
            ended = host.child.wait() => match ended {
                Ok(status) => format!("it ended with {status}"),
                Err(error) => format!("it cannot be waited for: {error}"),
            },
            why = self.watch(backoff) => why,
            () = stop.cancelled() => {
                host.stop().await;
                return Ok(());
            }
        };
        // At once, so that no call is made that cannot be answered.
        self.readiness
            .send_replace(Readiness::NotReady(lost.clone()));
        host.kill().await;
        Err(lost)
    }

    /// Looks at its health until it is lost, and says why. Cancel-safe: it keeps nothing.
    async fn watch(&self, backoff: &mut ExponentialBackoff) -> String {
        let mut seen = "it was not asked".to_owned();
        let first_answer = async {
            loop {
                match self.endpoint.health().await {
                    Ok(health) => return health,
                    Err(error) => seen = error,
                }
                tokio::time::sleep(self.timing.start_interval).await;
            }
        };
        let Ok(health) = tokio::time::timeout(self.timing.start, first_answer).await else {
            return format!(
                "it was not ready within {} s: {seen}",
                self.timing.start.as_secs_f64()
            );
        };
        self.readiness.send_replace(Readiness::Ready);
        self.telemetry.emit(Event::ActivityHostReady {
            types: health.types,
        });
        let mut misses = 0;
        loop {
            tokio::time::sleep(self.timing.interval).await;
            match self.endpoint.health().await {
                Ok(_) => {
                    misses = 0;
                    backoff.reset();
                }
                Err(error) => {
                    misses += 1;
                    if misses >= self.timing.misses {
                        return format!("it missed {misses} health checks in a row: {error}");
                    }
                }
            }
        }
    }

    fn start(&self) -> Result<Running, String> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            return Err("the command is empty".to_owned());
        };
        let socket = socket_in(&self.directory);
        // Of a host that was killed; without one there is nothing to remove.
        std::fs::remove_file(&socket).ok();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env(SOCKET_VARIABLE, &socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal to the worker's group (Ctrl-C, a service manager) is for the worker, which lets nodes end.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(token) = &self.token {
            command.env(TOKEN_VARIABLE, token.expose_secret());
        }
        let cannot =
            |error: &dyn std::fmt::Display| format!("{program} cannot be started: {error}");
        let mut child = command.spawn().map_err(|error| cannot(&error))?;
        let pid = child.id().ok_or_else(|| cannot(&"it has no process id"))?;
        let group = Group::of(pid).ok_or_else(|| cannot(&"its process id is out of range"))?;
        let mut output = JoinSet::new();
        if let Some(pipe) = child.stdout.take() {
            output.spawn(hand_on(pipe, false, self.telemetry.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            output.spawn(hand_on(pipe, true, self.telemetry.clone()));
        }
        self.telemetry.emit(Event::ActivityHostStarted { pid });
        Ok(Running {
            stdin: child.stdin.take(),
            child,
            group,
            output,
        })
    }
}

fn socket_in(directory: &TempDir) -> PathBuf {
    directory.path().join("activity.sock")
}

/// Short at first, because a host that was killed is best replaced at once; at most half a minute.
fn restart_backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(250))
        .with_max_interval(Duration::from_secs(30))
        .with_max_elapsed_time(None)
        .build()
}

async fn hand_on(pipe: impl AsyncRead + Unpin, is_stderr: bool, telemetry: Telemetry) {
    forward(BufReader::new(pipe), |line| {
        telemetry.emit(Event::ActivityHostLine { line, is_stderr });
    })
    .await;
}

/// A host that runs. Dropping it kills its process group.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Never written to: its end tells the host that the worker is gone.
    stdin: Option<ChildStdin>,
    group: Group,
    output: JoinSet<()>,
}

impl Running {
    /// Ends it in good order, if it takes the chance.
    async fn stop(mut self) {
        self.group.terminate();
        drop(tokio::time::timeout(GRACE, self.child.wait()).await);
        self.kill().await;
    }

    /// Ends what is left of it, and reads what it said last.
    async fn kill(mut self) {
        self.group.kill();
        drop(self.stdin.take());
        let ended = async {
            // Both only fail if there is nothing to wait for.
            drop(self.child.wait().await);
            while self.output.join_next().await.is_some() {}
        };
        drop(tokio::time::timeout(DEATH_LIMIT, ended).await);
    }
}

/// A process group that is killed when this is dropped. Killed once: after that its number may be somebody else's.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    /// The group that a process leads.
    fn of(leader: u32) -> Option<Self> {
        let leader = i32::try_from(leader).ok()?;
        Some(Self(Some(Pid::from_raw(leader))))
    }

    fn terminate(&self) {
        if let Some(group) = self.0 {
            // The only expected error is that nobody is left in the group.
            killpg(group, Signal::SIGTERM).ok();
        }
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            killpg(group, Signal::SIGKILL).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
