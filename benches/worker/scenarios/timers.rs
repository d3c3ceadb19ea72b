//! (i) How late delays end that are due at random times.
//!
//! Lateness: from the end that a delay asked for (the start of its node and its seconds) to the start of the node behind
//! it, both by the worker's reading of the database's clock. Not counted: delays that ended before all were parked.

use std::time::Duration;

use serde_json::json;

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// See its title.
pub(crate) const LATENESS: Scenario = Scenario {
    key: "timer_lateness",
    title: "Delays due at random times: due → next node starts",
    unit: Unit::Ms,
    limit: None,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// One.
pub(crate) fn cells() -> Vec<Cell> {
    vec![Cell::new('i', "delays due at random times", delays)]
}

async fn delays(stage: Stage) -> Found {
    let (count, spread) = stage.sizes().delays;
    let client = stage.client().await?;
    let delay = work::node(
        "wait",
        "delay",
        &json!({ "delay_seconds": "{{ input.seconds }}" }),
    );
    let graph = work::chain(&[delay, work::cheap("behind")]);
    let workflow = work::workflow(&client, &graph).await?;
    let worker = stage.worker(&[]).await?;
    // The first ones end when all have long been parked.
    let insert = "INSERT INTO workflowexecution (workflow_id, execution_state)
                  SELECT $1, json_build_object('execution_data', json_build_object('seconds', 2 + random() * $3))
                  FROM generate_series(1, $2::bigint)";
    client
        .execute(insert, &[&workflow, &count, &spread])
        .await?;
    stage
        .until("the delays to end", work::IS_DRAINED, PATIENCE)
        .await?;
    worker.stop().await?;
    stage.all_completed().await?;
    let rows = client
        .query(
            "SELECT extract(epoch FROM behind.started_at - wait.started_at)::double precision * 1000
                    - 1000 * (host.execution_state #>> '{execution_data,seconds}')::double precision
             FROM workflow_worker.steps AS wait
             JOIN workflow_worker.steps AS behind
               ON behind.execution_id = wait.execution_id AND behind.node_id = 'behind'
             JOIN workflowexecution AS host ON host.id = wait.execution_id
             WHERE wait.node_id = 'wait'
               AND wait.started_at + make_interval(secs => (host.execution_state #>> '{execution_data,seconds}')::double precision)
                   > (SELECT max(started_at) FROM workflow_worker.steps WHERE node_id = 'wait')",
            &[],
        )
        .await?;
    let lateness = rows.iter().map(|row| row.get(0)).collect();
    Ok(vec![Finding::ours(
        &LATENESS,
        format!("{count} delays"),
        lateness,
    )])
}
