//! (a) INSERT → the first node starts; (b) INSERT → a workflow of five nodes is completed. One at a time, idle worker.
//!
//! The producer's times are read in this process before the INSERT is sent and after its answer has come. The start of a
//! node is `steps.started_at`: the worker's reading of the database's clock, which on one machine is the clock that
//! this process reads. That reading is wrong by at most half of the worker's shortest round trip of the last minute
//! (some 30 µs). An HTTP call seen by this process would not be better: it would count the worker's HTTP client.
//! `completed` is when somebody who looks every millisecond sees it, so after the commit and up to a millisecond late.

use std::time::Duration;

use anyhow::bail;
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::clock;
use workflow_worker::ids::Timestamp;

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::limits;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// From the answer to the INSERT.
pub(crate) const WAKE_FROM_COMMIT: Scenario = Scenario {
    key: "wake_from_commit",
    title: "Wake-up, idle: INSERT committed → first node starts",
    unit: Unit::Ms,
    limit: Some(limits::NOTIFY.key),
};
/// From the sending of the INSERT.
pub(crate) const WAKE_FROM_CALL: Scenario = Scenario {
    key: "wake_from_call",
    title: "Wake-up, idle: INSERT sent → first node starts",
    unit: Unit::Ms,
    limit: Some(limits::INSERT_AND_NOTIFY.key),
};
/// Five nodes.
pub(crate) const FIVE_COMPLETED: Scenario = Scenario {
    key: "five_completed",
    title: "Five nodes, idle: INSERT sent → seen completed",
    unit: Unit::Ms,
    limit: Some(limits::INSERT_AND_NOTIFY.key),
};
/// See its title.
pub(crate) const FIVE_FROM_CALL: Scenario = Scenario {
    key: "five_from_call",
    title: "Five nodes, idle: INSERT sent → fifth node starts",
    unit: Unit::Ms,
    limit: Some(limits::INSERT_AND_NOTIFY.key),
};

const WARM_UP: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// Both.
pub(crate) fn cells() -> Vec<Cell> {
    vec![
        Cell::new('a', "wake-up, idle", wake_up),
        Cell::new('b', "five nodes, idle", five_nodes),
    ]
}

/// One execution, from the producer's side.
struct Seen {
    sent: Timestamp,
    answered: Timestamp,
    completed: Timestamp,
    /// When its last node started.
    last_started: Timestamp,
}

async fn wake_up(stage: Stage) -> Found {
    let seen = one_at_a_time(&stage, 1).await?;
    let since = |from: fn(&Seen) -> Timestamp| {
        seen.iter()
            .map(|one| milliseconds(from(one), one.last_started))
            .collect()
    };
    Ok(vec![
        Finding::ours(&WAKE_FROM_COMMIT, "default", since(|one| one.answered)),
        Finding::ours(&WAKE_FROM_CALL, "default", since(|one| one.sent)),
    ])
}

async fn five_nodes(stage: Stage) -> Found {
    let seen = one_at_a_time(&stage, 5).await?;
    let until = |to: fn(&Seen) -> Timestamp| {
        seen.iter()
            .map(|one| milliseconds(one.sent, to(one)))
            .collect()
    };
    Ok(vec![
        Finding::ours(&FIVE_COMPLETED, "default", until(|one| one.completed)),
        Finding::ours(&FIVE_FROM_CALL, "default", until(|one| one.last_started)),
    ])
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    (to - from).as_seconds_f64() * 1e3
}

async fn one_at_a_time(stage: &Stage, nodes: u32) -> anyhow::Result<Vec<Seen>> {
    let count = stage.sizes().latencies;
    stage.progress.set_length(u64::from(count));
    let client = stage.client().await?;
    let workflow = work::workflow(&client, &work::cheap_chain(nodes)).await?;
    let worker = stage.worker(&[]).await?;
    let mut seen = Vec::new();
    for number in 0..count + WARM_UP {
        tokio::time::sleep(work::pause()).await;
        let one = one_execution(&client, workflow).await?;
        if number >= WARM_UP {
            seen.push(one);
            stage.progress.inc(1);
        }
    }
    worker.stop().await?;
    Ok(seen)
}

async fn one_execution(client: &Client, workflow: Uuid) -> anyhow::Result<Seen> {
    let insert = client.prepare(work::INSERT).await?;
    let look = client
        .prepare("SELECT status, error_message FROM workflowexecution WHERE id = $1")
        .await?;
    let sent = clock::now();
    let id: Uuid = client.query_one(&insert, &[&workflow]).await?.get(0);
    let answered = clock::now();
    let begin = clock::monotonic();
    let completed = loop {
        let row = client.query_one(&look, &[&id]).await?;
        match row.get::<_, &str>(0) {
            "completed" => break clock::now(),
            "running" if begin.elapsed() < PATIENCE => tokio::time::sleep(LOOK_EVERY).await,
            status => bail!(
                "the execution is {status}: {:?}",
                row.get::<_, Option<&str>>(1)
            ),
        }
    };
    let last =
        "SELECT max(started_at) FROM workflow_worker.steps WHERE execution_id = $1 AND seq > 0";
    Ok(Seen {
        sent,
        answered,
        completed,
        last_started: client.query_one(last, &[&id]).await?.get(0),
    })
}
