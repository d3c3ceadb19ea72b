//! What the same PostgreSQL can do at all, as a client on this machine meets it. Measured once per round.
//!
//! `benches/peers/probe` measures the same, under the same keys.

use std::future::poll_fn;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};
use workflow_worker::clock;

use crate::lab::connect;
use crate::options::Sizes;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// The raw round trip: what a wake-up is compared with.
pub(crate) const NOTIFY: Scenario = Scenario {
    key: "limit_notify",
    title: "NOTIFY sent → received by an idle listener",
    unit: Unit::Ms,
    limit: None,
};
/// A row and a NOTIFY in one commit.
pub(crate) const INSERT_AND_NOTIFY: Scenario = Scenario {
    key: "limit_insert_and_notify",
    title: "INSERT with NOTIFY sent → received by an idle listener",
    unit: Unit::Ms,
    limit: None,
};
/// See its title.
pub(crate) const COMMITS_1: Scenario = Scenario {
    key: "limit_commits_1",
    title: "single-row UPDATE commits, 1 client",
    unit: Unit::PerSecond,
    limit: None,
};
/// See its title.
pub(crate) const COMMITS_8: Scenario = Scenario {
    key: "limit_commits_8",
    title: "single-row UPDATE commits, 8 clients",
    unit: Unit::PerSecond,
    limit: None,
};
/// See its title.
pub(crate) const COMMITS_16: Scenario = Scenario {
    key: "limit_commits_16",
    title: "single-row UPDATE commits, 16 clients",
    unit: Unit::PerSecond,
    limit: None,
};
/// See its title.
pub(crate) const BATCHED: Scenario = Scenario {
    key: "limit_batched_rows",
    title: "rows updated, 256 per commit, 1 client",
    unit: Unit::PerSecond,
    limit: None,
};

/// As many rows as the largest batch; as many as the writer commits at once.
const ROWS: i32 = 256;
/// Not measured.
const WARM_UP: u32 = 3;

/// One round, in a database of its own.
pub(crate) async fn measure(url: &str, sizes: &Sizes) -> anyhow::Result<Vec<Finding>> {
    connect(url)
        .await?
        .batch_execute(&format!(
            "CREATE TABLE limits (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 10);
             INSERT INTO limits SELECT id, 0 FROM generate_series(1, {ROWS}) AS id;
             CREATE TABLE inserted (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
             CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_notify('limits', ''); RETURN NULL; END $$;
             CREATE TRIGGER tell AFTER INSERT ON inserted FOR EACH STATEMENT EXECUTE FUNCTION tell()"
        ))
        .await?;
    let window = Duration::from_millis(sizes.window_ms);
    let mut found = Vec::new();
    for (scenario, statement) in [
        (&NOTIFY, "SELECT pg_notify('limits', '')"),
        (&INSERT_AND_NOTIFY, "INSERT INTO inserted DEFAULT VALUES"),
    ] {
        let samples = notifications(url, statement, sizes.latencies).await?;
        found.push(Finding::limit(scenario, samples));
    }
    for (scenario, clients) in [(&COMMITS_1, 1), (&COMMITS_8, 8), (&COMMITS_16, 16)] {
        let rate = commits(url, clients, window).await?;
        found.push(Finding::limit(scenario, vec![rate]).at(clients));
    }
    found.push(Finding::limit(
        &BATCHED,
        vec![batched_rows(url, window).await?],
    ));
    Ok(found)
}

/// Milliseconds from the sending of a statement to the arrival of its notification, one at a time.
async fn notifications(url: &str, statement: &str, count: u32) -> anyhow::Result<Vec<f64>> {
    let (listening, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_))
                && arrived.send(clock::monotonic()).is_err()
            {
                break;
            }
        }
    });
    listening.batch_execute("LISTEN limits").await?;
    let sender = connect(url).await?;
    let statement = sender.prepare(statement).await?;
    let mut samples = Vec::new();
    for number in 0..count + WARM_UP {
        tokio::time::sleep(work::pause()).await;
        let sent = clock::monotonic();
        sender.execute(&statement, &[]).await?;
        let arrival = tokio::time::timeout(Duration::from_secs(10), arrivals.recv()).await;
        let at = arrival
            .context("no notification within 10 s")?
            .context("the listener's connection ended")?;
        if number >= WARM_UP {
            samples.push(at.saturating_duration_since(sent).as_secs_f64() * 1e3);
        }
    }
    Ok(samples)
}

/// Commits per second: each client updates a row of its own.
async fn commits(url: &str, clients: i32, time: Duration) -> anyhow::Result<f64> {
    let connections = try_join_all((0..clients).map(|_| connect(url))).await?;
    let begin = clock::monotonic();
    let busy = connections
        .into_iter()
        .zip(1_i32..)
        .map(|(client, row)| async move {
            let update = client
                .prepare("UPDATE limits SET n = n + 1 WHERE id = $1")
                .await?;
            let mut done = 0_u32;
            while begin.elapsed() < time {
                client.execute(&update, &[&row]).await?;
                done += 1;
            }
            Ok::<_, tokio_postgres::Error>(done)
        });
    let mut done = 0_u32;
    for task in try_join_all(busy.map(tokio::spawn)).await? {
        done += task?;
    }
    Ok(f64::from(done) / begin.elapsed().as_secs_f64())
}

async fn batched_rows(url: &str, time: Duration) -> anyhow::Result<f64> {
    let client = connect(url).await?;
    let update = client
        .prepare("UPDATE limits SET n = n + 1 WHERE id <= $1")
        .await?;
    let (begin, mut rows) = (clock::monotonic(), 0_i32);
    while begin.elapsed() < time {
        client.execute(&update, &[&ROWS]).await?;
        rows += ROWS;
    }
    Ok(f64::from(rows) / begin.elapsed().as_secs_f64())
}
