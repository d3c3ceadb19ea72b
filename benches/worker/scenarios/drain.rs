//! (c) How fast one worker empties a full run queue, by concurrency; (d) two and four of them.
//!
//! The queue is filled before a worker starts. Steps are counted from the start of the first node, so that the start of a
//! process does not count, to the record of the last end (`completed_at`, the database's clock).

use std::time::Duration;

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::options::Sizes;
use crate::results::{Finding, Scenario, Unit};
use crate::work;

/// One node each.
pub(crate) const ONE: Scenario = Scenario {
    key: "drain_one",
    title: "Drain, one node each",
    unit: Unit::StepsPerSecond,
    limit: Some("limit_commits_16"),
};
/// Five nodes each.
pub(crate) const FIVE: Scenario = Scenario {
    key: "drain_five",
    title: "Drain, five nodes each",
    unit: Unit::StepsPerSecond,
    limit: Some("limit_commits_16"),
};

const PATIENCE: Duration = Duration::from_secs(600);
/// What the settings' default is; `config` has it.
const DEFAULT_CONCURRENCY: u32 = 10;
/// Connections of a worker that runs more than the default.
const POOL: &str = "8";
/// Of several workers, each.
const EACH: u32 = 50;

/// A drain each for one and for five nodes.
pub(crate) fn cells(sizes: &Sizes) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (scenario, nodes, count) in [(&ONE, 1, sizes.drain_one), (&FIVE, 5, sizes.drain_five)] {
        for &concurrency in sizes.concurrencies {
            let drain = Drain {
                scenario,
                nodes,
                count,
                workers: 1,
                concurrency,
            };
            cells.push(drain.cell('c'));
        }
        for (workers, concurrency) in [
            (2, DEFAULT_CONCURRENCY),
            (4, DEFAULT_CONCURRENCY),
            (2, EACH),
            (4, EACH),
        ] {
            let drain = Drain {
                scenario,
                nodes,
                count,
                workers,
                concurrency,
            };
            cells.push(drain.cell('d'));
        }
    }
    cells
}

#[derive(Clone, Copy)]
struct Drain {
    scenario: &'static Scenario,
    nodes: u32,
    count: i64,
    workers: u32,
    concurrency: u32,
}

impl Drain {
    fn cell(self, group: char) -> Cell {
        let title = format!(
            "drain of {} executions of {} node(s), {}",
            self.count,
            self.nodes,
            self.setting()
        );
        Cell::new(group, title, move |stage| self.take(stage))
    }

    fn setting(self) -> String {
        let plural = if self.workers == 1 { "" } else { "s" };
        let default = if self.concurrency == DEFAULT_CONCURRENCY {
            " (default)"
        } else {
            ""
        };
        format!(
            "{} worker{plural}, concurrency {}{default}",
            self.workers, self.concurrency
        )
    }

    async fn take(self, stage: Stage) -> Found {
        let client = stage.client().await?;
        let workflow = work::workflow(&client, &work::cheap_chain(self.nodes)).await?;
        work::executions(&client, workflow, self.count).await?;
        stage.settle().await?;
        let concurrency = self.concurrency.to_string();
        let mut settings = vec![("WORKFLOW_WORKER_CONCURRENCY", concurrency.as_str())];
        if self.concurrency > DEFAULT_CONCURRENCY {
            settings.push(("WORKFLOW_WORKER_POOL_SIZE", POOL));
        }
        let starting = (0..self.workers).map(|_| stage.worker(&settings));
        let workers = futures_util::future::try_join_all(starting).await?;
        stage
            .until("the run queue to be empty", work::IS_DRAINED, PATIENCE)
            .await?;
        for worker in workers {
            worker.stop().await?;
        }
        stage.all_completed().await?;
        let rate = stage
            .number(
                "SELECT count(*)
                        / extract(epoch FROM (SELECT max(completed_at) AT TIME ZONE 'utc' FROM workflowexecution)
                                             - min(started_at))::double precision
                 FROM workflow_worker.steps WHERE seq > 0",
            )
            .await?;
        let found = Finding::ours(self.scenario, self.setting(), vec![rate]);
        Ok(vec![found.at(self.concurrency)])
    }
}
