//! (j) What a step costs the database: statements (each is a round trip and a commit of its own), commits that wait for
//! the disk, and bytes of WAL. `tests/it/budget.rs` bounds the same figures in CI.

use std::time::Duration;

use tokio_postgres::Client;

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// See its title.
pub(crate) const STATEMENTS: Scenario = Scenario {
    key: "statements_per_step",
    title: "Statements of the worker per step",
    unit: Unit::Count,
    limit: None,
};
/// See its title.
pub(crate) const RECORDS: Scenario = Scenario {
    key: "commits_per_step",
    title: "Commits that wait for the disk, per step",
    unit: Unit::Count,
    limit: None,
};
/// See its title.
pub(crate) const WAL: Scenario = Scenario {
    key: "wal_per_step",
    title: "WAL per step, with full pages",
    unit: Unit::Kib,
    limit: None,
};

const PATIENCE: Duration = Duration::from_secs(300);

/// One at a time, and many.
pub(crate) fn cells() -> Vec<Cell> {
    vec![
        Cell::new('j', "cost per step, one execution at a time", |stage| {
            cost(stage, false)
        }),
        Cell::new('j', "cost per step, many executions", |stage| {
            cost(stage, true)
        }),
    ]
}

async fn cost(stage: Stage, many: bool) -> Found {
    let client = stage.client().await?;
    let workflow = work::workflow(&client, &work::cheap_chain(5)).await?;
    let worker = stage.worker(&[]).await?;
    // The first execution of a workflow fills caches.
    one_after_the_other(&stage, &client, workflow, 3).await?;
    let before = Counts::read(&stage, &client).await?;
    let (setting, count) = if many {
        work::executions(&client, workflow, stage.sizes().counted).await?;
        ("many at a time", stage.sizes().counted)
    } else {
        one_after_the_other(&stage, &client, workflow, stage.sizes().latencies).await?;
        ("one at a time", i64::from(stage.sizes().latencies))
    };
    stage
        .until("the executions to end", work::IS_DRAINED, PATIENCE)
        .await?;
    let after = Counts::read(&stage, &client).await?;
    worker.stop().await?;
    stage.all_completed().await?;
    let steps = count as f64 * 5.0;
    let mut found = vec![Finding::ours(
        &WAL,
        setting,
        vec![(after.wal - before.wal) / 1024.0 / steps],
    )];
    if stage.lab.counts_statements {
        found.push(Finding::ours(
            &STATEMENTS,
            setting,
            vec![(after.statements - before.statements) / steps],
        ));
        found.push(Finding::ours(
            &RECORDS,
            setting,
            vec![(after.records - before.records) / steps],
        ));
    }
    Ok(found)
}

async fn one_after_the_other(
    stage: &Stage,
    client: &Client,
    workflow: uuid::Uuid,
    count: u32,
) -> anyhow::Result<()> {
    for _ in 0..count {
        work::executions(client, workflow, 1).await?;
        stage
            .until("the execution to end", work::IS_DRAINED, PATIENCE)
            .await?;
    }
    Ok(())
}

/// What the server has counted so far.
struct Counts {
    /// Bytes.
    wal: f64,
    /// Those in sql/queries.
    statements: f64,
    records: f64,
}

impl Counts {
    async fn read(stage: &Stage, client: &Client) -> anyhow::Result<Self> {
        let wal = client
            .query_one(
                "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::double precision",
                &[],
            )
            .await?
            .get(0);
        let (mut statements, mut records) = (0.0, 0.0);
        if stage.lab.counts_statements {
            let rows = client
                .query(
                    "SELECT query, calls::double precision FROM pg_stat_statements
                     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
                    &[],
                )
                .await?;
            for row in rows {
                let (text, calls): (String, f64) = (row.get(0), row.get(1));
                let Some(name) = name_of(&text) else { continue };
                statements += calls;
                if name == "record" {
                    records += calls;
                }
            }
        }
        Ok(Self {
            wal,
            statements,
            records,
        })
    }
}

/// The file in sql/queries that a counted statement is, by the comment that it opens with.
pub(super) fn name_of(text: &str) -> Option<&'static str> {
    workflow_worker::store::sql::ALL
        .iter()
        .find(|statement| {
            let head = statement.text.lines().next();
            head.is_some_and(|head| text.starts_with(head))
        })
        .map(|statement| statement.name)
}
