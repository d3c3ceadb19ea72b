//! (f) Whether a node costs more late in a long workflow, late in a long loop, or with much data.
//!
//! Cost per node: the time between the starts of two nodes, divided by the nodes in between, over the nodes before the
//! one that is named. Everything that happens in between counts, also what happens only now and then (a state that is
//! written once a second).

use std::time::Duration;

use uuid::Uuid;
use workflow_worker::dev::loopback::Loopback;

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::options::Sizes;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// Of a chain.
pub(crate) const NODE_COST: Scenario = Scenario {
    key: "node_cost",
    title: "Cost of one node in a long workflow",
    unit: Unit::Ms,
    limit: None,
};
/// Of a chain of nodes that act: each is committed before the next starts, so late and early nodes cost the same commits.
pub(crate) const ACTING_COST: Scenario = Scenario {
    key: "acting_node_cost",
    title: "Cost of one node that calls a server, in a long workflow",
    unit: Unit::Ms,
    limit: None,
};
/// Of a loop.
pub(crate) const ROUND_COST: Scenario = Scenario {
    key: "round_cost",
    title: "Cost of one round in a long loop (one node)",
    unit: Unit::Ms,
    limit: None,
};
/// With data.
pub(crate) const STATE: Scenario = Scenario {
    key: "state_size",
    title: "Five nodes, INSERT → completed (recorded), by size of the input",
    unit: Unit::Ms,
    limit: None,
};

const PATIENCE: Duration = Duration::from_secs(1_800);
/// Places at which a loop and a chain of nodes that act are looked at.
const MARKS: [u32; 4] = [10, 100, 1_000, 10_000];
/// Executions per size of the input, and of the chain of nodes that act.
const RUNS: u32 = 5;

/// The setting of a place in a chain or a loop.
pub(crate) fn setting(place: u32) -> String {
    format!("at {place}")
}

/// One per length, one loop, one for the sizes.
pub(crate) fn cells(sizes: &Sizes) -> Vec<Cell> {
    let mut cells: Vec<Cell> = sizes
        .lengths
        .iter()
        .map(|&(length, runs)| {
            Cell::new('f', format!("a workflow of {length} nodes"), move |stage| {
                long_chain(stage, length, runs)
            })
        })
        .collect();
    cells.push(Cell::new('f', "a long workflow that acts", acting_chain));
    cells.push(Cell::new('f', "a long loop", long_loop));
    cells.push(Cell::new('f', "large states", states));
    cells
}

async fn run_one(stage: &Stage, workflow: Uuid) -> anyhow::Result<()> {
    work::executions(&stage.client().await?, workflow, 1).await?;
    stage
        .until("the execution to end", work::IS_DRAINED, PATIENCE)
        .await?;
    stage.all_completed().await
}

/// Milliseconds per node over the nodes up to `place`, of each execution. `kind` tells the nodes that count.
async fn cost_at(stage: &Stage, place: u32, kind: &str) -> anyhow::Result<Vec<f64>> {
    // Half of the way, and at least eight nodes: one alone is noise, and many that only compute share a commit.
    let span = (place / 2).max(8);
    let rows = stage
        .client()
        .await?
        .query(
            "WITH counted AS (
                 SELECT execution_id, started_at, row_number() OVER (PARTITION BY execution_id ORDER BY seq) AS place
                 FROM workflow_worker.steps WHERE seq > 0 AND node_id LIKE $3::text)
             SELECT extract(epoch FROM last.started_at - first.started_at)::double precision * 1000 / $2::bigint
             FROM counted AS last
             JOIN counted AS first ON first.execution_id = last.execution_id AND first.place = $1::bigint - $2::bigint
             WHERE last.place = $1::bigint",
            &[&i64::from(place), &i64::from(span), &kind],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn long_chain(stage: Stage, length: u32, runs: u32) -> Found {
    let client = stage.client().await?;
    let workflow = work::workflow(&client, &work::cheap_chain(length)).await?;
    let worker = stage.worker(&[]).await?;
    for _ in 0..runs {
        run_one(&stage, workflow).await?;
        stage.progress.tick();
    }
    worker.stop().await?;
    let costs = cost_at(&stage, length, "n%").await?;
    Ok(vec![
        Finding::ours(&NODE_COST, setting(length), costs).at(length),
    ])
}

async fn acting_chain(stage: Stage) -> Found {
    let length = stage.sizes().acting_length;
    let server = Loopback::start().await?;
    let client = stage.client().await?;
    let graph = work::acting_chain(length, &server.url("/echo"));
    let workflow = work::workflow(&client, &graph).await?;
    let worker = stage.worker(&[]).await?;
    for _ in 0..RUNS {
        run_one(&stage, workflow).await?;
        stage.progress.tick();
    }
    worker.stop().await?;
    at_marks(&stage, &ACTING_COST, length, "n%").await
}

/// What a node costs at each of the [`MARKS`] up to `length`.
async fn at_marks(stage: &Stage, scenario: &'static Scenario, length: u32, kind: &str) -> Found {
    let mut found = Vec::new();
    for mark in MARKS.into_iter().filter(|mark| *mark <= length) {
        let costs = cost_at(stage, mark, kind).await?;
        found.push(Finding::ours(scenario, setting(mark), costs).at(mark));
    }
    Ok(found)
}

async fn long_loop(stage: Stage) -> Found {
    let rounds = stage.sizes().rounds_of_loop;
    let client = stage.client().await?;
    let workflow = work::workflow(&client, &work::cheap_loop(rounds)).await?;
    let worker = stage.worker(&[]).await?;
    run_one(&stage, workflow).await?;
    worker.stop().await?;
    at_marks(&stage, &ROUND_COST, rounds, "b").await
}

async fn states(stage: Stage) -> Found {
    let client = stage.client().await?;
    let workflow = work::workflow(&client, &work::cheap_chain(5)).await?;
    let worker = stage.worker(&[]).await?;
    let mut found = Vec::new();
    for &bytes in stage.sizes().states {
        let state =
            serde_json::json!({ "execution_data": { "blob": "x".repeat(bytes) } }).to_string();
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let insert = "INSERT INTO workflowexecution (workflow_id, execution_state)
                          VALUES ($1, $2::text::json) RETURNING id";
            let id: Uuid = client.query_one(insert, &[&workflow, &state]).await?.get(0);
            stage
                .until("the execution to end", work::IS_DRAINED, PATIENCE)
                .await?;
            let took =
                "SELECT extract(epoch FROM completed_at - started_at)::double precision * 1000
                        FROM workflowexecution WHERE id = $1";
            times.push(client.query_one(took, &[&id]).await?.get(0));
        }
        stage.all_completed().await?;
        stage.progress.tick();
        let kib = u32::try_from(bytes >> 10)?;
        found.push(Finding::ours(&STATE, format!("{kib} KiB"), times).at(kib));
    }
    worker.stop().await?;
    Ok(found)
}
