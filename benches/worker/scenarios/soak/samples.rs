//! What is looked at while the soak runs, and the findings that it makes: one course per figure and table.
//!
//! Counters (statements, processor time, executions) count between two samples; sizes and rows are those of the moment.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio_postgres::Client;
use workflow_worker::clock;

use super::load::Load;
use super::{CLAIM, CPU, DEAD, INDEXES, LATENCY, LIVE, MEMORY, RATE, RECORD, TABLES};
use crate::lab::Stage;
use crate::results::{Finding, Scenario};
use crate::scenarios::costs;
use crate::worker::Worker;

/// Those that each execution, or each heartbeat, writes.
const WRITTEN: [&str; 9] = [
    "run_queue",
    "steps",
    "finished",
    "workers",
    "limit_uses",
    "limit_starts",
    "limit_openings",
    "workflowexecution",
    "executionlog",
];
const ROWS_AND_SIZES: &str = "
    SELECT relname::text, n_dead_tup::double precision, n_live_tup::double precision,
           pg_table_size(relid)::double precision / 1048576, pg_indexes_size(relid)::double precision / 1048576
    FROM pg_stat_user_tables
    WHERE schemaname IN ('public', 'workflow_worker') AND relname = ANY ($1)";
/// Of those that were inserted since the last sample and have ended.
const MEDIAN_LATENCY: &str = "
    SELECT percentile_cont(0.5) WITHIN GROUP (
               ORDER BY extract(epoch FROM completed_at - started_at)::double precision * 1000)
    FROM workflowexecution
    WHERE workflow_id = $1 AND status = 'completed'
      AND started_at > (now() AT TIME ZONE 'utc') - make_interval(secs => $2)";
const STATEMENTS: &str = "
    SELECT query, calls::double precision, total_exec_time
    FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// How often a statement was run, and its milliseconds.
type Runs = (f64, f64);

/// Of which scenario, and the values by minute.
type Course = (&'static Scenario, Vec<(f64, f64)>);

/// The counters at one moment.
struct Counters {
    at: Instant,
    inserted: f64,
    cpu_seconds: f64,
    claim: Runs,
    record: Runs,
}

/// What was found so far.
pub(super) struct Samples<'a> {
    stage: &'a Stage,
    worker: &'a Worker,
    load: &'a Load,
    client: Client,
    begin: Instant,
    last: Counters,
    /// By the key of the scenario and the setting.
    courses: BTreeMap<(&'static str, String), Course>,
}

impl<'a> Samples<'a> {
    /// Reads the counters; the first sample is what has come since.
    pub(super) async fn begin(
        stage: &'a Stage,
        worker: &'a Worker,
        load: &'a Load,
    ) -> anyhow::Result<Self> {
        let client = stage.client().await?;
        let last = counters(stage, &client, worker, load).await?;
        Ok(Self {
            stage,
            worker,
            load,
            client,
            begin: last.at,
            last,
            courses: BTreeMap::new(),
        })
    }

    /// One sample.
    pub(super) async fn take(&mut self) -> anyhow::Result<()> {
        let now = counters(self.stage, &self.client, self.worker, self.load).await?;
        let seconds = now.at.saturating_duration_since(self.last.at).as_secs_f64();
        let (inserted, cpu) = (
            now.inserted - self.last.inserted,
            now.cpu_seconds - self.last.cpu_seconds,
        );
        self.add(&RATE, "", now.at, inserted / seconds);
        self.add(&CPU, "", now.at, cpu / seconds * 100.0);
        for (scenario, before, after) in [
            (&CLAIM, self.last.claim, now.claim),
            (&RECORD, self.last.record, now.record),
        ] {
            let runs = after.0 - before.0;
            if runs > 0.0 {
                self.add(scenario, "", now.at, (after.1 - before.1) / runs);
            }
        }
        self.add(&MEMORY, "", now.at, self.worker.resident_mib()?);
        let median = self
            .client
            .query_one(MEDIAN_LATENCY, &[&self.load.plain, &seconds])
            .await?;
        if let Some(median) = median.get(0) {
            self.add(&LATENCY, "", now.at, median);
        }
        let tables = self
            .client
            .query(ROWS_AND_SIZES, &[&WRITTEN.as_slice()])
            .await?;
        for row in tables {
            let name: String = row.get(0);
            for (scenario, column) in [(&DEAD, 1), (&LIVE, 2), (&TABLES, 3), (&INDEXES, 4)] {
                self.add(scenario, &name, now.at, row.get(column));
            }
        }
        self.last = now;
        Ok(())
    }

    fn add(&mut self, scenario: &'static Scenario, setting: &str, at: Instant, value: f64) {
        let minutes = at.saturating_duration_since(self.begin).as_secs_f64() / 60.0;
        let (_, course) = self
            .courses
            .entry((scenario.key, setting.to_owned()))
            .or_insert_with(|| (scenario, Vec::new()));
        course.push((minutes, value));
    }

    /// One per course.
    pub(super) fn findings(self) -> Vec<Finding> {
        self.courses
            .into_iter()
            .map(|((_, setting), (scenario, course))| Finding::course(scenario, setting, course))
            .collect()
    }
}

async fn counters(
    stage: &Stage,
    client: &Client,
    worker: &Worker,
    load: &Load,
) -> anyhow::Result<Counters> {
    let (mut claim, mut record) = ((0.0, 0.0), (0.0, 0.0));
    if stage.lab.counts_statements {
        for row in client.query(STATEMENTS, &[]).await? {
            let (calls, milliseconds): (f64, f64) = (row.get(1), row.get(2));
            let sum = match costs::name_of(row.get(0)) {
                Some("claim") => &mut claim,
                Some("record") => &mut record,
                _ => continue,
            };
            sum.0 += calls;
            sum.1 += milliseconds;
        }
    }
    Ok(Counters {
        at: clock::monotonic(),
        inserted: load.inserted() as f64,
        cpu_seconds: worker.cpu_seconds()?,
        claim,
        record,
    })
}
