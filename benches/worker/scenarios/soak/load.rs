//! What the soak runs: executions of five nodes at a fixed rate, each inserted by a statement of its own.
//!
//! Of a hundred three have a delay of some seconds, three call a server that fails the first time, and three wait for a
//! signal that comes some seconds later; ten have a key with a limit. A schedule adds one each minute. If the database
//! cannot keep up, the inserts are late, and the rate that is reported says so.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflow_worker::clock;
use workflow_worker::dev::loopback::Loopback;

use crate::work;

/// Often enough that the load is even.
const TICK: Duration = Duration::from_millis(20);
/// Longer than it takes to wait for the signal.
const SIGNAL_AFTER: Duration = Duration::from_secs(3);
const DELAY_SECONDS: u32 = 5;
/// Of so many executions in a row …
const CYCLE: u64 = 100;
const KEYED: &str = r#"{"execution_data": {}, "concurrency_key": "soak"}"#;
const PLAIN: &str = r#"{"execution_data": {}}"#;

/// The workflows, the session that inserts, and what it has inserted.
pub(super) struct Load {
    client: Client,
    insert: Statement,
    signal: Statement,
    /// Five nodes that cost nothing.
    pub(super) plain: Uuid,
    delayed: Uuid,
    retried: Uuid,
    signalled: Uuid,
    /// So far.
    inserted: Cell<u64>,
    /// Those that wait for a signal, with the time at which it is sent.
    signals: RefCell<VecDeque<(Instant, Uuid)>>,
}

impl Load {
    pub(super) async fn prepare(client: Client, server: &Loopback) -> anyhow::Result<Self> {
        let with = |node: Value| {
            let ids = ["n1", "n2", "n3", "n4"];
            let mut nodes: Vec<Value> = ids.map(work::cheap).into();
            nodes.insert(1, node);
            work::chain(&nodes)
        };
        let delay = work::node("delay", "delay", &json!({ "delay_seconds": DELAY_SECONDS }));
        let flaky = json!({ "url": server.url("/flaky"), "retries": 1, "retry_delay": 1 });
        let flaky = work::node("flaky", "http_request", &flaky);
        let wait = work::node("wait", "wait_for_signal", &json!({ "signal_type": "go" }));
        let plain = work::workflow(&client, &work::cheap_chain(5)).await?;
        client
            .execute(
                "SELECT workflow_worker.schedule($1, '* * * * *')",
                &[&plain],
            )
            .await?;
        // Neither bound is reached: what counts is that they are counted.
        client
            .batch_execute(
                "SELECT workflow_worker.set_limit('key', 'soak', 1000, max_starts => 100000, per => '1 minute')",
            )
            .await?;
        Ok(Self {
            plain,
            delayed: work::workflow(&client, &with(delay)).await?,
            retried: work::workflow(&client, &with(flaky)).await?,
            signalled: work::workflow(&client, &with(wait)).await?,
            insert: client
                .prepare(
                    "INSERT INTO workflowexecution (workflow_id, execution_state)
                     VALUES ($1, $2::text::json) RETURNING id",
                )
                .await?,
            signal: client
                .prepare(
                    "INSERT INTO workflowsignal (execution_id, signal_type, signal_data) VALUES ($1, 'go', '{}')",
                )
                .await?,
            client,
            inserted: Cell::new(0),
            signals: RefCell::default(),
        })
    }

    /// Executions that were inserted so far.
    pub(super) fn inserted(&self) -> u64 {
        self.inserted.get()
    }

    /// Inserts until it is told to stop, and sends the last signals then.
    pub(super) async fn run(
        &self,
        per_second: u32,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let begin = clock::monotonic();
        while !stop.is_cancelled() {
            while self.inserted() as f64 <= begin.elapsed().as_secs_f64() * f64::from(per_second)
                && !stop.is_cancelled()
            {
                self.insert_one().await?;
            }
            self.send_signals(clock::monotonic()).await?;
            tokio::time::sleep(TICK).await;
        }
        tokio::time::sleep(SIGNAL_AFTER).await;
        self.send_signals(clock::monotonic() + SIGNAL_AFTER).await
    }

    async fn insert_one(&self) -> anyhow::Result<()> {
        let number = self.inserted();
        let (workflow, state) = match number % CYCLE {
            0 | 33 | 66 => (self.delayed, PLAIN),
            1 | 34 | 67 => (self.retried, PLAIN),
            2 | 35 | 68 => (self.signalled, PLAIN),
            place if place % 10 == 9 => (self.plain, KEYED),
            _ => (self.plain, PLAIN),
        };
        let row = self
            .client
            .query_one(&self.insert, &[&workflow, &state])
            .await?;
        if workflow == self.signalled {
            let at = clock::monotonic() + SIGNAL_AFTER;
            self.signals.borrow_mut().push_back((at, row.get(0)));
        }
        self.inserted.set(number + 1);
        Ok(())
    }

    /// Those whose time has come.
    async fn send_signals(&self, now: Instant) -> anyhow::Result<()> {
        loop {
            let due = self.signals.borrow_mut().pop_front_if(|(at, _)| *at <= now);
            let Some((_, execution)) = due else {
                return Ok(());
            };
            self.client.execute(&self.signal, &[&execution]).await?;
        }
    }
}
