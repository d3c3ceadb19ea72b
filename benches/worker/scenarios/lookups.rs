//! (g) What a claim and an idle poll cost the server when many executions are parked or finished.
//!
//! The worker's own statements (`claim.sql`, `next_due.sql`), run by this process under EXPLAIN ANALYZE, so the time is the
//! server's alone: planning and execution, no network. Each claim takes ten of a hundred executions that are due, and is
//! rolled back. The plans are saved; the pages that they touch are reported as well, since those do not depend on noise.

use std::fs;
use std::future::poll_fn;
use std::path::Path;

use anyhow::Context;
use chrono::NaiveDateTime;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, NoTls};
use uuid::Uuid;
use workflow_worker::store::sql::{self, Statement};

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// A claim's time.
pub(crate) const CLAIM: Scenario = Scenario {
    key: "claim_time",
    title: "Claim of ten due executions beside others, server time",
    unit: Unit::Ms,
    limit: None,
};
/// A claim's pages.
pub(crate) const CLAIM_PAGES: Scenario = Scenario {
    key: "claim_pages",
    title: "Claim of ten due executions beside others, pages touched",
    unit: Unit::Count,
    limit: None,
};
/// See its title.
pub(crate) const POLL: Scenario = Scenario {
    key: "poll_time",
    title: "Idle poll beside others, server time",
    unit: Unit::Ms,
    limit: None,
};
/// See its title.
pub(crate) const POLL_PAGES: Scenario = Scenario {
    key: "poll_pages",
    title: "Idle poll beside others, pages touched",
    unit: Unit::Count,
    limit: None,
};

const DUE: i64 = 100;
const CLAIMED: i64 = 10;
/// As far as a worker with a short poll interval looks back at each poll.
const LOOK_BACK_SECONDS: f64 = 10.0;

/// What the others are.
#[derive(Clone, Copy)]
struct Background {
    name: &'static str,
    /// Inserts `$1` of them, of the workflow `$2`, with triggers off.
    insert: &'static str,
}

const PARKED: Background = Background {
    name: "parked",
    insert: "WITH host AS (
                 INSERT INTO workflowexecution (workflow_id, workflow_version, status, started_at)
                 SELECT $2::uuid, 1, 'paused', (now() AT TIME ZONE 'utc') - interval '1 day'
                 FROM generate_series(1, $1::bigint) RETURNING id)
             INSERT INTO workflow_worker.run_queue (execution_id, run_at, ready)
             SELECT id, 'infinity', false FROM host",
};
const FINISHED: Background = Background {
    name: "finished",
    insert: "WITH host AS (
                 INSERT INTO workflowexecution (workflow_id, workflow_version, status, started_at, completed_at)
                 SELECT $2::uuid, 1, 'completed', (now() AT TIME ZONE 'utc') - interval '1 day', now() AT TIME ZONE 'utc'
                 FROM generate_series(1, $1::bigint) RETURNING id)
             INSERT INTO workflow_worker.finished (execution_id, outcome, fence, revision)
             SELECT id, 'completed', 1, 1 FROM host",
};

/// The setting of a background.
pub(crate) fn setting(name: &str, count: i64) -> String {
    format!("{count} {name}")
}

/// The names of the backgrounds, for the targets.
pub(crate) const BACKGROUNDS: [&str; 2] = [PARKED.name, FINISHED.name];

/// One per background.
pub(crate) fn cells() -> Vec<Cell> {
    [PARKED, FINISHED]
        .into_iter()
        .map(|background| {
            Cell::new(
                'g',
                format!("claim and poll beside {} executions", background.name),
                move |stage| beside(stage, background),
            )
            .once()
        })
        .collect()
}

async fn beside(stage: Stage, background: Background) -> Found {
    let client = stage.client().await?;
    let workflow = work::workflow(&client, &work::cheap_chain(1)).await?;
    let worker = Uuid::new_v4();
    client
        .execute(
            "INSERT INTO workflow_worker.workers (id, name, hostname, pid, version, lease, silence, concurrency)
             VALUES ($1, 'bench', 'bench', 0, '0', interval '1 day', interval '1 day', 1)",
            &[&worker],
        )
        .await?;
    // An hour old: a poll looks at new rows as well, and those would be new to the first polls only.
    client
        .execute(
            "INSERT INTO workflowexecution (workflow_id, started_at)
             SELECT $1::uuid, (now() AT TIME ZONE 'utc') - interval '1 hour' FROM generate_series(1, $2::bigint)",
            &[&workflow, &DUE],
        )
        .await?;
    drop(client);
    let mut there = 0;
    let mut copies = Vec::new();
    for &count in stage.sizes().backgrounds {
        stage
            .progress
            .set_message(format!("{} …", setting(background.name, count)));
        insert(&stage, background, count - there, workflow).await?;
        there = count;
        stage.settle().await?;
        copies.push((count, stage.copy().await?));
    }
    let found = measure(&stage, &copies, background, worker).await?;
    for (_, copy) in &copies {
        stage.lab.discard(&copy.name)?;
    }
    Ok(found)
}

async fn insert(
    stage: &Stage,
    background: Background,
    count: i64,
    workflow: Uuid,
) -> anyhow::Result<()> {
    let mut client = stage.client().await?;
    let more = client.transaction().await?;
    more.batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await?;
    more.execute(background.insert, &[&count, &workflow])
        .await?;
    more.batch_execute("ALTER TABLE workflowexecution ENABLE TRIGGER USER")
        .await?;
    Ok(more.commit().await?)
}

/// In turns on databases with so many others each, so that noise hits all alike.
async fn measure(
    stage: &Stage,
    copies: &[(i64, Stage)],
    background: Background,
    worker: Uuid,
) -> Found {
    let first = None::<NaiveDateTime>;
    let claim: [&(dyn ToSql + Sync); 3] = [&worker, &CLAIMED, &first];
    let poll: [&(dyn ToSql + Sync); 3] = [&worker, &LOOK_BACK_SECONDS, &first];
    let mut found = Vec::new();
    for (statement, parameters, [time, pages]) in [
        (sql::CLAIM, claim, [&CLAIM, &CLAIM_PAGES]),
        (sql::NEXT_DUE, poll, [&POLL, &POLL_PAGES]),
    ] {
        let mut sessions = Vec::new();
        for (count, copy) in copies {
            sessions.push((*count, copy.client().await?));
        }
        for _ in 0..stage.sizes().lookups {
            for (count, client) in &sessions {
                let (took, touched) = explain(client, &statement, &parameters).await?;
                let setting = setting(background.name, *count);
                let x = *count as f64;
                found.push(Finding::ours(time, setting.clone(), vec![took]).at(x));
                found.push(Finding::ours(pages, setting, vec![touched]).at(x));
                stage.progress.tick();
            }
        }
        for (count, copy) in copies {
            let plans = nested_plans(&copy.url, &statement, &parameters).await?;
            let name = format!("{} {}", statement.name, setting(background.name, *count));
            save(&stage.lab.plans, &name, &plans.join("\n\n"))?;
        }
    }
    Ok(found)
}

/// Runs a statement and takes it back. Tells what it cost the server: milliseconds and pages. The statements are functions: of
/// these it is the sum.
async fn explain(
    client: &Client,
    statement: &Statement,
    parameters: &[&(dyn ToSql + Sync)],
) -> anyhow::Result<(f64, f64)> {
    let text = format!(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {}",
        statement.text
    );
    client.batch_execute("BEGIN").await?;
    let row = client
        .query_typed(&text, &typed(statement, parameters))
        .await?;
    client.batch_execute("ROLLBACK").await?;
    let plan: Value = row.first().context("no plan")?.try_get(0)?;
    let top = plan.get(0).context("no plan")?;
    let time = |key: &str| top[key].as_f64().with_context(|| format!("no {key}"));
    let took = time("Planning Time")? + time("Execution Time")?;
    Ok((took, pages_of(&top["Plan"]).context("no buffers")?))
}

/// The plans of the statements inside a function, as `auto_explain` tells them.
async fn nested_plans(
    url: &str,
    statement: &Statement,
    parameters: &[&(dyn ToSql + Sync)],
) -> anyhow::Result<Vec<String>> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let heard = tokio::spawn(async move {
        let mut plans = Vec::new();
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message? {
                plans.push(notice.message().to_owned());
            }
        }
        Ok::<_, tokio_postgres::Error>(plans)
    });
    client
        .batch_execute(
            "LOAD 'auto_explain'; SET auto_explain.log_level = notice; SET auto_explain.log_nested_statements = on;
             SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off; SET auto_explain.log_buffers = on;
             BEGIN; SET LOCAL auto_explain.log_min_duration = 0",
        )
        .await?;
    client
        .query_typed(statement.text, &typed(statement, parameters))
        .await?;
    client.batch_execute("ROLLBACK").await?;
    drop(client);
    Ok(heard.await??)
}

fn typed<'a>(
    statement: &Statement,
    parameters: &[&'a (dyn ToSql + Sync)],
) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    parameters
        .iter()
        .copied()
        .zip(statement.types.iter().cloned())
        .collect()
}

fn pages_of(plan: &Value) -> Option<f64> {
    Some(plan["Shared Hit Blocks"].as_f64()? + plan["Shared Read Blocks"].as_f64()?)
}

fn save(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join(format!("{}.txt", name.replace(' ', "-")));
    fs::write(&path, format!("{text}\n"))
        .with_context(|| format!("{} cannot be written", path.display()))
}
