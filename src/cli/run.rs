//! `workflow-worker run`: the service.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::output;
use crate::activities::code_host;
use crate::config::{Config, LogFormat};
use crate::telemetry::{self, Telemetry};
use crate::worker::Worker;

/// What a shell reports for a process that SIGTERM has ended.
const EXIT_SECOND_SIGNAL: i32 = 143;

pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    let format = match config.log.format {
        LogFormat::Json => telemetry::LogFormat::Json,
        LogFormat::Human => telemetry::LogFormat::Human,
        LogFormat::Auto if std::io::IsTerminal::is_terminal(&std::io::stdout()) => {
            telemetry::LogFormat::Human
        }
        LogFormat::Auto => telemetry::LogFormat::Json,
    };
    telemetry::init(format, &config.log.filter);
    for warning in &config.database.url.warnings {
        tracing::warn!("{warning}");
    }
    // Before any program of a user runs beside this process.
    code_host::conceal().context("the worker's environment cannot be hidden")?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let worker = Worker::build(config, Telemetry::default())?;
    // In a task: the thread that this function runs on is not one of the runtime's own, and to hand the dispatcher its
    // wake-up and each of its answers there would take a futex call and a change of threads every time.
    let mut running = JoinSet::new();
    running.spawn(worker.run(stop.clone()));
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        ended = running.join_next() => match ended {
            Some(Ok(ended)) => Ok(ended?),
            Some(Err(error)) => Err(error).context("the worker broke"),
            // It holds one task until that has ended.
            None => Ok(()),
        },
        () = signals => {
            output::error("a second signal: exiting now; what runs is taken over by other workers");
            exit_now()
        }
    }
}

#[expect(
    clippy::exit,
    reason = "a second signal means now: nothing is unwound or waited for"
)]
fn exit_now() -> ! {
    std::process::exit(EXIT_SECOND_SIGNAL)
}
