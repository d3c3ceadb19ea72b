//! (h) What a worker costs that has nothing to do: processor, memory, statements.
//!
//! Processor time and memory are read in /proc, of the worker's process. Statements and commits are those of its
//! database, looked at from another one, after the worker has calmed down.

use std::time::Duration;

use workflow_worker::clock;

use crate::cell::{Cell, Found};
use crate::lab::{Stage, connect};
use crate::results::{Finding, Scenario, Unit};

/// Processor.
pub(crate) const CPU: Scenario = Scenario {
    key: "idle_cpu",
    title: "Idle worker: processor",
    unit: Unit::PercentOfCore,
    limit: None,
};
/// Memory.
pub(crate) const MEMORY: Scenario = Scenario {
    key: "idle_memory",
    title: "Idle worker: resident memory",
    unit: Unit::Mib,
    limit: None,
};
/// See its title.
pub(crate) const STATEMENTS: Scenario = Scenario {
    key: "idle_statements",
    title: "Idle worker: statements",
    unit: Unit::PerMinute,
    limit: None,
};

/// Connections are opened, statements prepared, the first polls made.
const CALM_DOWN: Duration = Duration::from_secs(3);

/// One.
pub(crate) fn cells() -> Vec<Cell> {
    vec![Cell::new('h', "an idle worker", idle)]
}

async fn idle(stage: Stage) -> Found {
    let worker = stage.worker(&[]).await?;
    tokio::time::sleep(CALM_DOWN).await;
    let before = (statements(&stage).await?, worker.cpu_seconds()?);
    let begin = clock::monotonic();
    tokio::time::sleep(Duration::from_millis(stage.sizes().idle_ms)).await;
    let after = (statements(&stage).await?, worker.cpu_seconds()?);
    let seconds = begin.elapsed().as_secs_f64();
    let mut found = vec![
        Finding::ours(
            &CPU,
            "default",
            vec![(after.1 - before.1) / seconds * 100.0],
        ),
        Finding::ours(&MEMORY, "default", vec![worker.resident_mib()?]),
    ];
    if let (Some(before), Some(after)) = (before.0, after.0) {
        let per_minute = (after - before) / seconds * 60.0;
        found.push(Finding::ours(&STATEMENTS, "default", vec![per_minute]));
    }
    worker.stop().await?;
    Ok(found)
}

/// Statements in this database so far, if the server counts them.
async fn statements(stage: &Stage) -> anyhow::Result<Option<f64>> {
    if !stage.lab.counts_statements {
        return Ok(None);
    }
    // The template has the extension; the counts are those of the whole server.
    let watcher = connect(&stage.lab.admin_url()).await?;
    watcher
        .batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        .await?;
    let calls = "SELECT coalesce(sum(calls), 0)::double precision FROM pg_stat_statements
                 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1)";
    Ok(Some(watcher.query_one(calls, &[&stage.name]).await?.get(0)))
}
