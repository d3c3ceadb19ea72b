//! (k) How long executions stand still when one of two workers is killed with SIGKILL, and whether anything is lost.
//!
//! Each execution calls a slow server five times, so both workers hold many at any time. Recovery of one: from the kill to
//! its claim by the other worker. After that all must complete, each node recorded once.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::clock;
use workflow_worker::dev::loopback::Loopback;
use workflow_worker::ids::Timestamp;

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// From the kill.
pub(crate) const RECOVERY: Scenario = Scenario {
    key: "recovery",
    title: "kill -9 of one of two workers → its executions run at the other",
    unit: Unit::Ms,
    limit: None,
};
/// What must be 0.
pub(crate) const LOST: Scenario = Scenario {
    key: "lost_or_repeated",
    title: "Executions lost and steps recorded twice, after kill -9",
    unit: Unit::Count,
    limit: None,
};

const NODES: i64 = 5;
const PATIENCE: Duration = Duration::from_secs(120);

/// One.
pub(crate) fn cells() -> Vec<Cell> {
    vec![Cell::new('k', "kill -9 of one of two workers", killed)]
}

async fn killed(stage: Stage) -> Found {
    let count = stage.sizes().killed;
    let server = Loopback::start().await?;
    let client = stage.client().await?;
    let calls: Vec<_> = (1..=NODES)
        .map(|number| {
            work::node(
                &format!("n{number}"),
                "http_request",
                &json!({ "url": server.url("/slow?ms=300") }),
            )
        })
        .collect();
    let workflow = work::workflow(&client, &work::chain(&calls)).await?;
    // Together they have more slots than there are executions: those of the dead need not wait for one.
    let slots = count.to_string();
    let settings = [("WORKFLOW_WORKER_CONCURRENCY", slots.as_str())];
    let survivor = stage.worker(&settings).await?;
    let victim = stage.worker(&settings).await?;
    for _ in 0..count {
        work::executions(&client, workflow, 1).await?;
    }
    let worker_of = "SELECT id FROM workflow_worker.workers WHERE pid = $1";
    let victim_id: Uuid = client
        .query_one(worker_of, &[&i32::try_from(victim.pid())?])
        .await?
        .get(0);
    let held = "SELECT execution_id FROM workflow_worker.run_queue WHERE worker_id = $1";
    let begin = clock::monotonic();
    while client.query(held, &[&victim_id]).await?.is_empty() {
        if begin.elapsed() > PATIENCE {
            bail!("the second worker has taken nothing");
        }
    }
    let at = clock::now();
    victim.kill().await?;
    let orphans: Vec<Uuid> = client
        .query(held, &[&victim_id])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    ensure!(
        !orphans.is_empty(),
        "the worker held nothing when it was killed"
    );
    let waits = take_over(&client, &orphans, victim_id, at).await?;
    stage
        .until("all to end", work::IS_DRAINED, PATIENCE)
        .await?;
    survivor.stop().await?;
    let wrong = stage
        .number(&format!(
            "SELECT count(*)::double precision FROM workflowexecution AS host
             WHERE host.status <> 'completed'
                OR (SELECT count(*) FROM workflow_worker.steps
                    WHERE execution_id = host.id AND status = 'success') <> {NODES}"
        ))
        .await?;
    Ok(vec![
        Finding::ours(&RECOVERY, "default", waits.into_values().collect()),
        Finding::ours(&LOST, "default", vec![wrong]),
    ])
}

/// Milliseconds from the kill to the first claim of each execution by the other worker.
async fn take_over(
    client: &Client,
    orphans: &[Uuid],
    victim: Uuid,
    killed_at: Timestamp,
) -> anyhow::Result<HashMap<Uuid, f64>> {
    let claimed = "SELECT execution_id, claimed_at FROM workflow_worker.run_queue
                   WHERE execution_id = ANY ($1) AND worker_id IS DISTINCT FROM $2 AND worker_id IS NOT NULL";
    let begin = clock::monotonic();
    let mut waits = HashMap::new();
    while waits.len() < orphans.len() {
        if begin.elapsed() > PATIENCE {
            bail!(
                "{} of {} executions are taken over",
                waits.len(),
                orphans.len()
            );
        }
        // Each stays with the other worker for one slow node at least: longer than a look.
        tokio::time::sleep(Duration::from_millis(10)).await;
        for row in client.query(claimed, &[&orphans, &victim]).await? {
            let at: Timestamp = row.get(1);
            waits
                .entry(row.get(0))
                .or_insert((at - killed_at).as_seconds_f64() * 1e3);
        }
    }
    Ok(waits)
}
