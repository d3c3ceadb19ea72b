//! (l) Whether anything grows under a load that stays the same: dead rows, sizes, the claim's time, memory.
//!
//! One worker with its default settings runs what `load` inserts, PostgreSQL cleans up by its own defaults, and the
//! retention removes what ended a few minutes ago, so that after a warm-up as much goes as comes. From then on `samples`
//! looks, and the report compares the last third of the time with the first. On request somebody holds an old snapshot open
//! during the second third: until it ends VACUUM removes no row that died after it was taken.

mod load;
mod samples;

use std::time::Duration;

use anyhow::ensure;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use workflow_worker::clock;
use workflow_worker::dev::loopback::Loopback;
use workflow_worker::store::sql;

use crate::cell::{Cell, Found};
use crate::lab::Stage;
use crate::results::{Finding, Scenario, Unit};
use crate::work;
use crate::worker::{self, LOG, Worker};
use load::Load;
use samples::Samples;

const fn scenario(key: &'static str, title: &'static str, unit: Unit) -> Scenario {
    Scenario {
        key,
        title,
        unit,
        limit: None,
    }
}

/// See its title.
pub(crate) const RATE: Scenario = scenario("soak_rate", "Executions inserted", Unit::PerSecond);
/// See its title.
pub(crate) const LATENCY: Scenario = scenario(
    "soak_latency",
    "Five nodes, INSERT → completed (recorded), median",
    Unit::Ms,
);
/// See its title.
pub(crate) const CLAIM: Scenario = scenario("soak_claim", "Claim, server time", Unit::Ms);
/// See its title.
pub(crate) const RECORD: Scenario = scenario("soak_record", "Record, server time", Unit::Ms);
/// See its title.
pub(crate) const DEAD: Scenario = scenario("soak_dead", "Dead rows", Unit::Count);
/// See its title.
pub(crate) const LIVE: Scenario = scenario("soak_live", "Live rows", Unit::Count);
/// With what is stored beside it (TOAST), without indexes.
pub(crate) const TABLES: Scenario = scenario("soak_tables", "Size of the table", Unit::Mib);
/// All of a table's.
pub(crate) const INDEXES: Scenario = scenario("soak_indexes", "Size of its indexes", Unit::Mib);
/// See its title.
pub(crate) const MEMORY: Scenario = scenario("soak_memory", "Worker: resident memory", Unit::Mib);
/// See its title.
pub(crate) const CPU: Scenario = scenario("soak_cpu", "Worker: processor", Unit::PercentOfCore);
/// All of them.
pub(crate) const ALL: &[&Scenario] = &[
    &RATE, &LATENCY, &CLAIM, &RECORD, &DEAD, &LIVE, &TABLES, &INDEXES, &MEMORY, &CPU,
];

/// At most this long between two samples; a short soak has `LEAST_SAMPLES`, four in each third.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const LEAST_SAMPLES: u32 = 12;
/// How long ago an execution has ended that the retention removes: a tenth of the time, within these bounds.
const KEEP: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Delays, retries and what waits for a signal take some seconds to their end.
const PATIENCE: Duration = Duration::from_secs(300);

/// One.
pub(crate) fn cells() -> Vec<Cell> {
    vec![Cell::new('l', "a soak", soak).once()]
}

async fn soak(stage: Stage) -> Found {
    let plan = stage.sizes().soak;
    let time = Duration::from_secs_f64(plan.minutes * 60.0);
    let keep = (time / 10).clamp(KEEP.0, KEEP.1);
    let server = Loopback::start().await?;
    let client = stage.client().await?;
    // Without these indexes the retention refuses to remove the platform's own rows.
    for row in client.query(sql::PRUNE_FACTS.text, &[]).await? {
        client.batch_execute(row.get(0)).await?;
    }
    let load = Load::prepare(client, &server).await?;
    let worker = stage.worker(&[]).await?;
    let stop = CancellationToken::new();
    let watched = async {
        let found = watch(&stage, &worker, &load, time, keep * 2).await?;
        stop.cancel();
        Ok(found)
    };
    let (found, (), ()) = tokio::try_join!(
        watched,
        load.run(plan.per_second, &stop),
        prune(&stage, keep, &stop)
    )?;
    stage
        .until("the load to end", work::IS_DRAINED, PATIENCE)
        .await?;
    worker.stop().await?;
    stage.all_completed().await?;
    Ok(found)
}

/// Looks every ten seconds, after the warm-up: then what the retention keeps is there, and it has removed something.
async fn watch(
    stage: &Stage,
    worker: &Worker,
    load: &Load,
    time: Duration,
    warm_up: Duration,
) -> anyhow::Result<Vec<Finding>> {
    stage.progress.set_message("warm-up");
    tokio::time::sleep(warm_up).await;
    let mut samples = Samples::begin(stage, worker, load).await?;
    let pause = SAMPLE_EVERY.min(time / LEAST_SAMPLES);
    let begin = clock::monotonic();
    let mut snapshot = None;
    while begin.elapsed() < time {
        let share = begin.elapsed().as_secs_f64() / time.as_secs_f64();
        stage
            .progress
            .set_message(format!("{:.0} % of the soak", share * 100.0));
        let is_second_third = (1.0 / 3.0..2.0 / 3.0).contains(&share);
        if !is_second_third {
            // The session ends, and with it the snapshot.
            snapshot = None;
        } else if stage.sizes().soak.with_snapshot && snapshot.is_none() {
            snapshot = Some(old_snapshot(stage).await?);
        }
        tokio::time::sleep(pause).await;
        samples.take().await?;
    }
    drop(snapshot);
    Ok(samples.findings())
}

/// A session that sees the database as it is now, for as long as it lives.
async fn old_snapshot(stage: &Stage) -> anyhow::Result<Client> {
    let client = stage.client().await?;
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM workflow_worker.workers")
        .await?;
    Ok(client)
}

/// The retention, as often as half of what it keeps: its setting counts in days, its command in any unit.
async fn prune(stage: &Stage, keep: Duration, stop: &CancellationToken) -> anyhow::Result<()> {
    let age = format!("{}s", keep.as_secs());
    let arguments = ["prune", "--older-than", &age, "--host-tables"];
    loop {
        tokio::select! {
            // Nothing is lost by dropping a wait.
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(keep / 2) => {}
        }
        let status = worker::command(stage, &arguments)?.status().await?;
        ensure!(
            status.success(),
            "prune ended with {status}; {LOG} says why"
        );
    }
}
