//! (e) How many rows per second clients insert, one per commit: beside a worker that has nothing else to do, beside one
//! that is busy, and without triggers.
//!
//! Busy: each slot is taken by a node that waits for an HTTP answer, and more is due; the database has the whole machine.
//! Beside that worker three kinds of NOTIFY take turns, window by window, so that noise hits all alike: the wake gate as it is,
//! a trigger that never notifies, and one that always does. Free: the worker runs what is inserted as it comes, and
//! takes its share of the machine; so do the clients of the benchmark. Without triggers: no worker either.
//!
//! Clients are as warm as those of an application that keeps its connections: what a session parses and plans once is not
//! measured.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;
use workflow_worker::clock;
use workflow_worker::dev::loopback::Loopback;

use crate::cell::{Cell, Found};
use crate::lab::{Stage, connect};
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// Rows inserted.
pub(crate) const INSERTS: Scenario = Scenario {
    key: "producers",
    title: "Single-row INSERTs, each its own commit",
    unit: Unit::PerSecond,
    limit: None,
};

/// The worker is busy, everything as it is.
pub(crate) const BUSY: &str = "busy worker";
/// The worker is busy, no NOTIFY.
pub(crate) const BUSY_WITHOUT: &str = "busy worker without NOTIFY";
const BUSY_ALWAYS: &str = "busy worker with a NOTIFY each";
const FREE: &str = "free worker";
const BARE: &str = "no triggers and no worker";
/// All of them.
pub(crate) const KINDS: &[&str] = &[BUSY, BUSY_WITHOUT, BUSY_ALWAYS, FREE, BARE];

/// The setting of a number of clients.
pub(crate) fn setting(kind: &str, clients: u32) -> String {
    format!("{kind}, {clients} client(s)")
}

/// Longer than all windows, and what the node waits at most.
const SLOW: &str = "/slow?ms=3600000";
const PATIENCE_SECONDS: u32 = 3_600;
/// More than is due at any time by itself.
const BACKLOG: i64 = 100;
const SLOTS: &str = "10";
/// How many windows each kind of NOTIFY gets, and how much shorter than others they are.
const TURNS: u32 = 12;
const TURN_SHARE: u64 = 4;
/// How many rows each client inserts before the clock starts; PostgreSQL keeps a plan from the sixth time on.
const WARM_UP: u32 = 10;

/// How `workflow_worker.wake()` is changed; the first is put back from its own source.
const NEVER: &str =
    "CREATE OR REPLACE FUNCTION workflow_worker.wake() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN RETURN; END $$";
const ALWAYS: &str =
    "CREATE OR REPLACE FUNCTION workflow_worker.wake() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.pg_notify('workflow_worker', ''); END $$";

/// One per state of the worker.
pub(crate) fn cells() -> Vec<Cell> {
    vec![
        Cell::new('e', "producers beside a busy worker", busy),
        Cell::new('e', "producers beside a free worker", free),
        Cell::new('e', "producers without triggers", bare),
    ]
}

async fn busy(stage: Stage) -> Found {
    let server = Loopback::start().await?;
    let client = stage.client().await?;
    let slow = work::node(
        "slow",
        "http_request",
        &serde_json::json!({
            "url": server.url(SLOW),
            "timeout": PATIENCE_SECONDS,
            "timeout_seconds": PATIENCE_SECONDS,
        }),
    );
    let slow = work::workflow(&client, &work::chain(&[slow])).await?;
    let cheap = work::workflow(&client, &work::cheap_chain(1)).await?;
    let as_it_is: String = client
        .query_one(
            "SELECT pg_get_functiondef('workflow_worker.wake'::regproc)",
            &[],
        )
        .await?
        .get(0);
    work::executions(&client, slow, SLOTS.parse()?).await?;
    let worker = stage
        .worker(&[("WORKFLOW_WORKER_CONCURRENCY", SLOTS)])
        .await?;
    work::executions(&client, cheap, BACKLOG).await?;
    wait_until_full(&stage).await?;
    let mut found = Vec::new();
    let mut kinds = [
        (BUSY, as_it_is.as_str()),
        (BUSY_WITHOUT, NEVER),
        (BUSY_ALWAYS, ALWAYS),
    ];
    let window_ms = stage.sizes().window_ms / TURN_SHARE;
    for &clients in stage.sizes().producers {
        let producers = Producers::connect(&stage, clients, cheap).await?;
        for _ in 0..TURNS {
            for (kind, definition) in kinds {
                client.batch_execute(definition).await?;
                found.push(producers.window(kind, window_ms).await?);
            }
            // What comes later finds larger tables.
            kinds.reverse();
        }
    }
    // It has not got a slot free meanwhile, else it would have run what was inserted.
    wait_until_full(&stage).await?;
    // It would wait for its slow nodes.
    worker.kill().await?;
    Ok(found)
}

/// The worker has claimed what it can, and nothing has ended; it has said that it does not sleep.
async fn wait_until_full(stage: &Stage) -> anyhow::Result<()> {
    let query = format!(
        "SELECT (SELECT count(*) = {SLOTS} FROM workflow_worker.run_queue WHERE worker_id IS NOT NULL)
            AND NOT EXISTS (SELECT FROM workflow_worker.finished)
            AND NOT EXISTS (
                SELECT FROM workflow_worker.run_queue WHERE worker_id IS NULL AND fence IS NOT NULL)
            AND NOT EXISTS (
                SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND classid = 2002873189 AND objid = 1 AND objsubid = 2
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    );
    stage
        .until("the worker to be full", &query, Duration::from_secs(30))
        .await
}

async fn free(stage: Stage) -> Found {
    let client = stage.client().await?;
    let cheap = work::workflow(&client, &work::cheap_chain(1)).await?;
    let worker = stage.worker(&[]).await?;
    let found = all_clients(&stage, FREE, cheap).await?;
    worker.kill().await?;
    Ok(found)
}

async fn bare(stage: Stage) -> Found {
    let client = stage.client().await?;
    let cheap = work::workflow(&client, &work::cheap_chain(1)).await?;
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await?;
    all_clients(&stage, BARE, cheap).await
}

async fn all_clients(stage: &Stage, kind: &str, workflow: Uuid) -> Found {
    let mut found = Vec::new();
    for &clients in stage.sizes().producers {
        let producers = Producers::connect(stage, clients, workflow).await?;
        found.push(producers.window(kind, stage.sizes().window_ms).await?);
    }
    Ok(found)
}

/// Clients that insert at the same time.
struct Producers<'a> {
    stage: &'a Stage,
    workflow: Uuid,
    clients: Vec<(Client, Statement)>,
}

impl<'a> Producers<'a> {
    async fn connect(stage: &'a Stage, count: u32, workflow: Uuid) -> anyhow::Result<Self> {
        let clients = try_join_all((0..count).map(|_| async {
            let client = connect(&stage.url).await?;
            let insert = client.prepare(work::FULL_INSERT).await?;
            anyhow::Ok((client, insert))
        }));
        Ok(Self {
            stage,
            workflow,
            clients: clients.await?,
        })
    }

    /// How many rows they insert in that time, once they are warm.
    async fn window(&self, kind: &str, window_ms: u64) -> anyhow::Result<Finding> {
        try_join_all(self.clients.iter().map(|producer| async {
            for _ in 0..WARM_UP {
                self.insert(producer).await?;
            }
            anyhow::Ok(())
        }))
        .await?;
        let time = Duration::from_millis(window_ms);
        let begin = clock::monotonic();
        let inserted = try_join_all(self.clients.iter().map(|producer| async {
            let mut done = 0_u32;
            while begin.elapsed() < time {
                self.insert(producer).await?;
                done += 1;
            }
            anyhow::Ok(done)
        }))
        .await?;
        let rate = f64::from(inserted.iter().sum::<u32>()) / begin.elapsed().as_secs_f64();
        self.stage.progress.tick();
        let clients = u32::try_from(self.clients.len())?;
        Ok(Finding::ours(&INSERTS, setting(kind, clients), vec![rate]).at(clients))
    }

    async fn insert(&self, (client, insert): &(Client, Statement)) -> anyhow::Result<()> {
        client.execute(insert, &[&self.workflow]).await?;
        Ok(())
    }
}
