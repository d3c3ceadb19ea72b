//! `workflow-worker demo`: a throw-away PostgreSQL, a worker, example workflows, live.

mod workflows;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use postgres_types::Type;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::{dev, output};
use crate::clock;
use crate::config::Config;
use crate::dev::loopback::Loopback;
use crate::store::Store;
use workflows::Example;

/// How many executions the burst inserts.
const BURST: usize = 200;
/// How often the demo looks. It only watches: the worker is woken by NOTIFY.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// No example takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Options {
    /// Leave database and worker running at the end, and say how to connect
    #[arg(long)]
    keep: bool,
}

/// One finished execution, in milliseconds by the database's clock.
struct Timing {
    picked_up_ms: f64,
    total_ms: f64,
}

pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    output::line("Starting a throw-away PostgreSQL (fsync on) …");
    let (cluster, url) = dev::start(None).await?;
    let server = Loopback::start()
        .await
        .context("the loopback server cannot start")?;
    let config = Config::from_env(|name| (name == "DATABASE_URL").then(|| url.clone()))?;
    let store = Store::new(&config.database)?;
    output::line(
        "Starting a worker (poll interval one hour, so that only NOTIFY can explain what follows) …",
    );
    let mut worker = start_worker(&url)?;
    wait_until_listening(&store, &mut worker).await?;
    output::line("");
    output::line(&format!(
        "{:<10} {:<10} {:>12} {:>12}   what it shows",
        "workflow", "status", "picked up", "finished"
    ));
    let mut timings = Vec::new();
    for example in workflows::all(&server) {
        timings.push(show(&store, &example).await?);
    }
    output::line("");
    burst(&store, &workflows::chain(&server)).await?;
    summary(&timings);
    if options.keep {
        output::line("");
        output::line("Database and worker are running until Ctrl-C:");
        output::line("");
        dev::print_how_to_connect(&url);
        dev::wait_for_signal().await?;
    }
    stop_worker(&mut worker).await?;
    drop(cluster);
    Ok(())
}

fn start_worker(url: &str) -> anyhow::Result<Child> {
    let binary = std::env::current_exe().context("this binary's own path is not known")?;
    Command::new(binary)
        .arg("run")
        .env("DATABASE_URL", url)
        .env_remove("SUPABASE_DB_URL")
        .env_remove("SUPABASE_URL")
        .env_remove("POSTGRES_SERVER")
        .env("WORKFLOW_WORKER_POLL_INTERVAL", "1h")
        .env("WORKFLOW_WORKER_NAME", "demo")
        .env("WORKFLOW_WORKER_LOG", "error")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("the worker cannot be started")
}

async fn stop_worker(worker: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = worker.id() {
        // SIGTERM, as the platform sends it: the worker hands back what it holds.
        Command::new("kill")
            .arg(pid.to_string())
            .status()
            .await
            .context("kill cannot be run")?;
    }
    let status = tokio::time::timeout(Duration::from_secs(30), worker.wait())
        .await
        .context("the worker does not stop")??;
    if !status.success() {
        bail!("the worker ended with {status}");
    }
    Ok(())
}

async fn wait_until_listening(store: &Store, worker: &mut Child) -> anyhow::Result<()> {
    let give_up = clock::monotonic() + PATIENCE;
    while clock::monotonic() < give_up {
        if let Some(status) = worker.try_wait()? {
            bail!("the worker ended with {status} before it was ready");
        }
        let rows = store
            .query_text("SELECT FROM workflow_worker.workers WHERE listening", &[])
            .await?;
        if !rows.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY * 10).await;
    }
    bail!("the worker does not listen after {PATIENCE:?}")
}

async fn insert_workflow(store: &Store, example: &Example) -> anyhow::Result<Uuid> {
    let rows = store
        .query_text(
            "INSERT INTO workflow (name, graph_config) VALUES ($1, $2::json) RETURNING id",
            &[(&example.name, Type::TEXT), (&example.graph, Type::JSON)],
        )
        .await?;
    Ok(rows
        .first()
        .context("no workflow was inserted")?
        .try_get(0)?)
}

/// Runs one example, and shows it live.
async fn show(store: &Store, example: &Example) -> anyhow::Result<Timing> {
    let workflow = insert_workflow(store, example).await?;
    let state = serde_json::json!({ "execution_data": example.input });
    let rows = store
        .query_text(
            "INSERT INTO workflow_executions (workflow_id, execution_state) VALUES ($1, $2::json) RETURNING id",
            &[(&workflow, Type::UUID), (&state, Type::JSON)],
        )
        .await?;
    let id: Uuid = rows
        .first()
        .context("no execution was inserted")?
        .try_get(0)?;
    let give_up = clock::monotonic() + PATIENCE;
    loop {
        let (status, is_over, picked_up_ms, total_ms, error) = look(store, id).await?;
        let picked_up = picked_up_ms.map_or_else(|| "…".to_owned(), |ms| format!("{ms:.1} ms"));
        let finished = total_ms
            .filter(|_| is_over)
            .map_or_else(|| "…".to_owned(), |ms| format!("{ms:.1} ms"));
        output::part(&format!(
            "\r{:<10} {:<10} {picked_up:>12} {finished:>12}   ",
            example.name, status
        ));
        if let (true, Some(picked_up_ms), Some(total_ms)) = (is_over, picked_up_ms, total_ms) {
            output::line(example.shows);
            if let Some(error) = error {
                output::line(&format!("{:<10} └ {error}", ""));
            }
            return Ok(Timing {
                picked_up_ms,
                total_ms,
            });
        }
        if clock::monotonic() > give_up {
            bail!("{} has not finished after {PATIENCE:?}", example.name);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

type Glance = (String, bool, Option<f64>, Option<f64>, Option<String>);

async fn look(store: &Store, id: Uuid) -> anyhow::Result<Glance> {
    let rows = store
        .query_text(
            "SELECT status, completed_at IS NOT NULL AS is_over, error_message,
                    (extract(epoch FROM completed_at - started_at) * 1000)::double precision AS total_ms,
                    (SELECT (extract(epoch FROM min(step.started_at) - (host.started_at AT TIME ZONE 'utc')) * 1000)
                            ::double precision
                     FROM workflow_worker.steps AS step
                     WHERE step.execution_id = host.id AND step.seq > 0) AS picked_up_ms
             FROM workflow_executions AS host
             WHERE id = $1",
            &[(&id, Type::UUID)],
        )
        .await?;
    let row = rows.first().context("the execution is gone")?;
    Ok((
        row.try_get("status")?,
        row.try_get("is_over")?,
        row.try_get("picked_up_ms")?,
        row.try_get("total_ms")?,
        row.try_get("error_message")?,
    ))
}

/// Inserts many executions with one statement and waits for all.
async fn burst(store: &Store, example: &Example) -> anyhow::Result<()> {
    output::part(&format!(
        "A burst: {BURST} executions of the chain inserted by one statement … "
    ));
    let workflow = insert_workflow(store, example).await?;
    let started = clock::monotonic();
    let count = i32::try_from(BURST).unwrap_or(i32::MAX);
    store
        .query_text(
            "INSERT INTO workflow_executions (workflow_id) SELECT $1 FROM generate_series(1, $2)",
            &[(&workflow, Type::UUID), (&count, Type::INT4)],
        )
        .await?;
    loop {
        let rows = store
            .query_text(
                "SELECT count(*) FROM workflow_executions WHERE workflow_id = $1 AND status <> 'completed'",
                &[(&workflow, Type::UUID)],
            )
            .await?;
        let left: i64 = rows.first().context("no count")?.try_get(0)?;
        if left == 0 {
            break;
        }
        if started.elapsed() > PATIENCE {
            bail!("{left} executions of the burst have not completed after {PATIENCE:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let nodes = f64::from(count) * 5.0;
    output::line(&format!(
        "done in {seconds:.2} s: {:.0} nodes per second, each recorded durably",
        nodes / seconds
    ));
    Ok(())
}

fn summary(timings: &[Timing]) {
    let mut picked_up: Vec<f64> = timings.iter().map(|timing| timing.picked_up_ms).collect();
    picked_up.sort_by(f64::total_cmp);
    let median = picked_up
        .get(picked_up.len() / 2)
        .copied()
        .unwrap_or_default();
    let fastest = timings
        .iter()
        .map(|timing| timing.total_ms)
        .fold(f64::INFINITY, f64::min);
    output::line(&format!(
        "Median from INSERT to the first node's start: {median:.1} ms. Fastest workflow from INSERT to its end: {fastest:.1} ms."
    ));
}
