//! `workflow-worker doctor`: what is in force, and what is wrong.

use tokio_util::sync::CancellationToken;

use super::output;
use crate::activities::remote::{self, Health, HostProcess};
use crate::config::{ActivityHost, Config, show_duration};
use crate::retention::round::host_pruning_refusal;
use crate::store::{Store, connect, migrate, with_causes};
use crate::telemetry::{Event, Telemetry};

/// A check's result.
struct Findings {
    rows: Vec<Vec<String>>,
    is_well: bool,
}

impl Findings {
    fn good(&mut self, what: &str, text: &str) {
        self.rows
            .push(vec!["ok".to_owned(), what.to_owned(), text.to_owned()]);
    }

    fn note(&mut self, what: &str, text: &str) {
        self.rows
            .push(vec!["note".to_owned(), what.to_owned(), text.to_owned()]);
    }

    fn bad(&mut self, what: &str, text: &str) {
        self.is_well = false;
        self.rows
            .push(vec!["WRONG".to_owned(), what.to_owned(), text.to_owned()]);
    }
}

/// Returns whether everything is well.
pub(super) async fn run(config: &Config) -> anyhow::Result<bool> {
    super::config::run(config)?;
    output::line("");
    let mut findings = Findings {
        rows: Vec::new(),
        is_well: true,
    };
    for warning in &config.database.url.warnings {
        findings.note("config", warning);
    }
    check(config, &mut findings).await;
    check_activity_host(config, &mut findings).await;
    output::table(&findings.rows);
    Ok(findings.is_well)
}

async fn check(config: &Config, findings: &mut Findings) {
    let client =
        match connect::connect_and_drive(&config.database.url, "workflow-worker doctor").await {
            Ok(client) => client,
            Err(error) => return findings.bad("database", &error.to_string()),
        };
    findings.good("database", &config.database.url.to_string());
    let known = migrate::known_version();
    match migrate::installed_version(&client).await {
        Ok(0) => return findings.bad("schema", "not installed: run `workflow-worker migrate`"),
        Ok(found) if found < known => {
            return findings.bad(
                "schema",
                &format!("version {found}, needed {known}: run `workflow-worker migrate`"),
            );
        }
        Ok(found) if found > known => {
            return findings.bad(
                "schema",
                &format!("version {found} is newer than this binary, which knows {known}"),
            );
        }
        Ok(found) => findings.good("schema", &format!("version {found}")),
        Err(error) => return findings.bad("schema", &error.to_string()),
    }
    let store = match Store::new(&config.database) {
        Ok(store) => store,
        Err(error) => return findings.bad("database", &error.to_string()),
    };
    if let Err(error) = check_rows(config, &store, findings).await {
        findings.bad("database", &error.to_string());
    }
}

async fn check_rows(config: &Config, store: &Store, findings: &mut Findings) -> anyhow::Result<()> {
    let facts = store.host_facts().await?;
    match facts.visibility_problem() {
        Some(problem) => findings.bad("role", &problem),
        None => findings.good(
            "role",
            &format!("{} on PostgreSQL {}", facts.role, facts.server_version),
        ),
    }
    let off = store
        .query_text(
            "SELECT wanted.object_name
             FROM workflow_worker.host_changes AS wanted
             LEFT JOIN pg_trigger AS found
                    ON found.tgrelid = to_regclass('public.' || wanted.table_name) AND found.tgname = wanted.object_name
             WHERE wanted.kind = 'trigger' AND (found.oid IS NULL OR found.tgenabled = 'D')",
            &[],
        )
        .await?;
    if off.is_empty() {
        findings.good("triggers", "all on");
    } else {
        let names: Vec<String> = off.iter().map(|row| row.get(0)).collect();
        findings.bad(
            "triggers",
            &format!(
                "missing or disabled: {} (the poll does their work, later)",
                names.join(", ")
            ),
        );
    }
    let left_alone = store.count_left_alone(config.worker.adopt_max_age).await?;
    if left_alone > 0 {
        let text = format!(
            "{left_alone} running execution(s) started more than {:?} ago and are left alone: see `workflow-worker adopt --help`",
            config.worker.adopt_max_age
        );
        findings.note("adoption", &text);
    }
    check_schedules(store, findings).await?;
    check_retention(config, store, findings).await?;
    check_workers(store, findings).await
}

async fn check_schedules(store: &Store, findings: &mut Findings) -> anyhow::Result<()> {
    const WHAT: &str = "schedules";
    let failing = store
        .query_text(
            "SELECT schedule_id::text, workflow_name, error
             FROM workflow_worker.schedules
             WHERE error IS NOT NULL
             ORDER BY workflow_name, schedule_id",
            &[],
        )
        .await?;
    for row in &failing {
        let (id, workflow, error): (&str, &str, &str) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        findings.bad(WHAT, &format!("{id} of workflow {workflow:?}: {error}"));
    }
    let counted = store
        .query_text(
            "SELECT count(*) FILTER (WHERE is_active AND error IS NULL) AS active, count(*) AS known,
                    count(*) FILTER (WHERE is_active AND workflow_is_active AND error IS NULL
                                       AND (next_run_at IS NULL OR next_run_at < now() - interval '1 minute')) AS late,
                    to_char(min(next_run_at) FILTER (WHERE is_active) AT TIME ZONE 'utc', 'YYYY-MM-DD HH24:MI:SS')
                        AS next
             FROM workflow_worker.schedules",
            &[],
        )
        .await?;
    if let Some(row) = counted.first() {
        let (active, known): (i64, i64) = (row.try_get("active")?, row.try_get("known")?);
        let next: Option<&str> = row.try_get("next")?;
        let next = next.map_or(String::new(), |next| format!(", the next at {next} UTC"));
        let late: i64 = row.try_get("late")?;
        if late > 0 {
            let text = format!(
                "{late} should have fired, or have no next time yet: no worker looks after them"
            );
            findings.bad(WHAT, &text);
        }
        findings.good(WHAT, &format!("{active} of {known} fire{next}"));
    }
    Ok(())
}

/// For how long history is kept, and what the last round has done.
async fn check_retention(
    config: &Config,
    store: &Store,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    const WHAT: &str = "retention";
    let Some(keep) = config.retention.keep else {
        findings.note(WHAT, "history is kept for ever");
        return Ok(());
    };
    let rows = store
        .query_text(
            "SELECT extract(epoch FROM now() - started_at)::double precision AS age, started_by, rows, problem,
                    ended_at IS NULL AS is_at_work
             FROM workflow_worker.retention",
            &[],
        )
        .await?;
    let mut text = format!("history is kept for {}", show_duration(keep));
    let mut problem: Option<String> = None;
    if let Some(row) = rows.first()
        && let Some(age) = row.try_get::<_, Option<f64>>("age")?
    {
        let by: Option<String> = row.try_get("started_by")?;
        let removed: i64 = row.try_get("rows")?;
        problem = row.try_get("problem")?;
        let done = if row.try_get("is_at_work")? {
            "not ended yet".to_owned()
        } else {
            format!("{removed} row(s) removed")
        };
        let last = format!(
            "; last round {:.0} min ago by {}, {done}",
            age / 60.0,
            by.unwrap_or_default()
        );
        text.push_str(&last);
    }
    findings.good(WHAT, &text);
    if config.retention.prune_host_tables {
        problem = host_pruning_refusal(store).await?.or(problem);
    }
    if let Some(problem) = problem {
        findings.bad(WHAT, &problem);
    }
    Ok(())
}

async fn check_workers(store: &Store, findings: &mut Findings) -> anyhow::Result<()> {
    let workers = store
        .query_text(
            "SELECT name, state, running, concurrency, listening, heartbeat_at > now() - lease AS is_alive,
                    extract(epoch FROM now() - heartbeat_at)::double precision AS age
             FROM workflow_worker.workers
             ORDER BY name",
            &[],
        )
        .await?;
    if workers.is_empty() {
        findings.note("workers", "none is running");
    }
    for row in &workers {
        let (name, state): (String, String) = (row.try_get("name")?, row.try_get("state")?);
        let (running, concurrency): (i32, i32) =
            (row.try_get("running")?, row.try_get("concurrency")?);
        let age: f64 = row.try_get("age")?;
        let text =
            format!("{name}: {state}, {running}/{concurrency} slots, heartbeat {age:.1} s ago");
        if !row.try_get::<_, bool>("is_alive")? {
            findings.bad(
                "worker",
                &format!("{text}: dead, its executions are taken over by the others"),
            );
        } else if row.try_get::<_, bool>("listening")? {
            findings.good("worker", &format!("{text}, listening"));
        } else {
            findings.note(
                "worker",
                &format!("{text}, polling only: notifications do not reach it"),
            );
        }
    }
    let queue = store
        .query_text(
            "SELECT count(*) FILTER (WHERE worker_id IS NOT NULL) AS leased,
                    count(*) FILTER (WHERE worker_id IS NULL AND (ready OR run_at <= now()) AND held_by IS NULL) AS due,
                    count(*) FILTER (WHERE worker_id IS NULL AND ready AND held_by IS NOT NULL) AS held,
                    count(*) FILTER (WHERE worker_id IS NULL AND NOT ready AND run_at > now()) AS waiting,
                    coalesce(extract(epoch FROM now() - min(run_at) FILTER (WHERE worker_id IS NULL AND ready AND held_by IS NULL)), 0)
                        ::double precision AS oldest
             FROM workflow_worker.run_queue",
            &[],
        )
        .await?;
    if let Some(row) = queue.first() {
        let (leased, due, held, waiting): (i64, i64, i64, i64) = (
            row.try_get("leased")?,
            row.try_get("due")?,
            row.try_get("held")?,
            row.try_get("waiting")?,
        );
        let oldest: f64 = row.try_get("oldest")?;
        let text = format!(
            "{leased} running, {due} due (the oldest for {oldest:.1} s), {held} held by a limit, {waiting} waiting"
        );
        let is_anybody_alive = workers
            .iter()
            .any(|row| row.try_get::<_, bool>("is_alive").unwrap_or(false));
        if due > 0 && !is_anybody_alive {
            findings.bad("run queue", &format!("{text}: no worker takes what is due"));
        } else {
            findings.good("run queue", &text);
        }
    }
    Ok(())
}

/// Whether the activity host answers, and what it serves. One that the worker would start is started for that.
async fn check_activity_host(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "activity host";
    let place = match &config.activities.host {
        None => {
            return findings.note(WHAT, "none: only the worker's own node types run");
        }
        Some(ActivityHost::At(url)) => url.to_string(),
        Some(ActivityHost::Command(_)) => "started for this check".to_owned(),
    };
    let telemetry = Telemetry::default();
    let health = match remote::connect(&config.activities, config.node.timeout, &telemetry) {
        Err(error) => Err(with_causes(&error)),
        Ok((_, Some(process))) => start_and_ask(process, &telemetry).await,
        Ok((Some(remote), None)) => remote.health().await,
        Ok((None, None)) => return,
    };
    match health {
        Ok(Health {
            types: Some(types), ..
        }) => findings.good(WHAT, &format!("{place}: serves {}", types.join(", "))),
        Ok(Health { types: None, .. }) => {
            findings.good(WHAT, &format!("{place}: does not say what it serves"));
        }
        Err(error) => findings.bad(WHAT, &format!("{place}: {error}")),
    }
}

/// Starts an activity host, asks it how it is, and stops it. The error ends with the host's last words.
async fn start_and_ask(process: HostProcess, telemetry: &Telemetry) -> Result<Health, String> {
    let mut events = telemetry.subscribe();
    let stop = CancellationToken::new();
    let endpoint = process.endpoint();
    let ask = async {
        let health = endpoint.health().await;
        stop.cancel();
        health
    };
    let (health, ()) = tokio::join!(ask, process.run(stop.clone()));
    let mut last_words = String::new();
    while let Ok(event) = events.try_recv() {
        if let Event::ActivityHostLine { line, .. } = &*event {
            last_words.clone_from(line);
        }
    }
    health.map_err(|error| match last_words.as_str() {
        "" => error,
        words => format!("{error}; its last words: {words}"),
    })
}
