//! (g) What a claim and an idle poll cost the server when many executions are parked or finished.
//!
//! The worker's own statements (`claim.sql`, `next_due.sql`), run by this process under EXPLAIN ANALYZE, so the time is the
//! server's alone: planning and execution, no network. Each claim takes ten of a hundred executions that are due, and is
//! rolled back. The plans are saved; the pages that they touch are reported as well, since those do not depend on noise.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
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
    let mut client = stage.client().await?;
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
    let mut there = 0;
    let mut found = Vec::new();
    for &count in stage.sizes().backgrounds {
        stage
            .progress
            .set_message(format!("{} …", setting(background.name, count)));
        let more = client.transaction().await?;
        more.batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
            .await?;
        more.execute(background.insert, &[&(count - there), &workflow])
            .await?;
        more.batch_execute("ALTER TABLE workflowexecution ENABLE TRIGGER USER")
            .await?;
        more.commit().await?;
        there = count;
        stage.settle().await?;
        found.extend(measure(&stage, background, count, worker).await?);
    }
    Ok(found)
}

async fn measure(stage: &Stage, background: Background, count: i64, worker: Uuid) -> Found {
    let setting = setting(background.name, count);
    // A session of its own, so that each background meets the same caches in it.
    let client = stage.client().await?;
    let mut found = Vec::new();
    let claim: [&(dyn ToSql + Sync); 2] = [&worker, &CLAIMED];
    let poll: [&(dyn ToSql + Sync); 2] = [&worker, &LOOK_BACK_SECONDS];
    for (statement, parameters, [time, pages]) in [
        (sql::CLAIM, claim, [&CLAIM, &CLAIM_PAGES]),
        (sql::NEXT_DUE, poll, [&POLL, &POLL_PAGES]),
    ] {
        let (mut times, mut touched) = (Vec::new(), Vec::new());
        for _ in 0..stage.sizes().lookups {
            let plan = explain(&client, &statement, &parameters, "FORMAT JSON").await?;
            let plan: Value = serde_json::from_str(&plan)?;
            let top = plan.get(0).context("no plan")?;
            let planning = top["Planning Time"].as_f64().context("no planning time")?;
            times.push(
                planning
                    + top["Execution Time"]
                        .as_f64()
                        .context("no execution time")?,
            );
            touched.push(pages_of(&top["Plan"]).context("no buffers")?);
            stage.progress.tick();
        }
        let text = explain(&client, &statement, &parameters, "FORMAT TEXT").await?;
        save(
            &stage.lab.plans,
            &format!("{} {setting}", statement.name),
            &text,
        )?;
        let x = count as f64;
        found.push(Finding::ours(time, setting.clone(), times).at(x));
        found.push(Finding::ours(pages, setting.clone(), touched).at(x));
    }
    Ok(found)
}

/// Runs a statement, tells how the server did it, and takes it back.
async fn explain(
    client: &Client,
    statement: &Statement,
    parameters: &[&(dyn ToSql + Sync)],
    format: &str,
) -> anyhow::Result<String> {
    let text = format!(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, {format}) {}",
        statement.text
    );
    let typed: Vec<(&(dyn ToSql + Sync), Type)> = parameters
        .iter()
        .copied()
        .zip(statement.types.iter().cloned())
        .collect();
    client.batch_execute("BEGIN").await?;
    let rows = client.query_typed(&text, &typed).await?;
    client.batch_execute("ROLLBACK").await?;
    let lines = rows.iter().map(|row| match row.try_get::<_, String>(0) {
        Ok(line) => Ok(line),
        Err(_) => row.try_get::<_, Value>(0).map(|value| value.to_string()),
    });
    Ok(lines.collect::<Result<Vec<_>, _>>()?.join("\n"))
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
