//! What fixed workloads cost the database, in counts: statements, commits, bytes of WAL, notifications. No times, so a busy
//! machine changes nothing.
//!
//! Each statement of the worker is a round trip and a commit of its own, so calls of `record.sql` are the commits that wait
//! for the disk. The server counts (pg_stat_statements); statements are told apart by their text, and those that
//! come with time (heartbeats, polls) are left out. WAL is that of the statements alone, without full pages.
//!
//! [`BUDGETS`] is the one place for the figures. One that is worse than its budget allows fails; one that is much better
//! asks for a lower budget, so that what has been won is kept.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::store::sql;

use crate::support::cluster::TestCluster;
use crate::support::database::{Database, Recipe, Variant};
use crate::support::flow::{
    PATIENCE, branch, chain, count, get, graph, insert, insert_workflow, node, set,
    wait_for_completion,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::migrated::MIGRATED;
use crate::support::notifications::listen;
use crate::support::wait::{SOON, wait_until};

/// How near a figure must be.
#[derive(Clone, Copy, Debug)]
enum Slack {
    /// It depends on nothing but the program.
    None,
    /// It varies by this share: pages fill up differently.
    Share(f64),
    /// It depends on timing (how much gathers in one commit, how often a worker that is awake looks): only a bound from
    /// above, which a program that does one thing at a time would break.
    AtMost,
}

/// Workload, figure, budget, slack. A budget is what was measured (PostgreSQL 15); where it is a bound only, the comment has
/// what was measured on a busy machine with two cores.
const BUDGETS: &[(&str, &str, f64, Slack)] = &[
    // A workflow of five nodes, one at a time, on an idle worker that has run it before: per execution.
    ("five", "records", 1.0, Slack::None),
    ("five", "commits of records", 1.0, Slack::None),
    ("five", "claimed", 1.0, Slack::None),
    ("five", "claims and polls", 8.0, Slack::AtMost), // 2.4
    ("five", "other statements", 0.0, Slack::None),
    ("five", "notifications", 1.0, Slack::None),
    ("five", "WAL bytes", 7_093.0, Slack::Share(0.1)),
    // The same, of 200 that are inserted together, with 50 slots: per execution.
    ("batch", "records", 2.5, Slack::AtMost),
    ("batch", "commits of records", 1.0, Slack::AtMost), // 0.24, so 22 records in a commit
    ("batch", "claimed", 1.0, Slack::None),
    ("batch", "claims and polls", 2.0, Slack::AtMost), // 0.3
    ("batch", "other statements", 0.0, Slack::None),
    ("batch", "notifications", 0.005, Slack::None), // one per statement
    ("batch", "WAL bytes", 8_700.0, Slack::Share(0.1)),
    // A workflow of 100 nodes that each call a server, so that each is committed before the next starts: per node.
    // Some more where a machine is so slow that the view gets records of its own.
    ("acting", "records", 1.2, Slack::AtMost), // 1.01
    ("acting", "commits of records", 1.2, Slack::AtMost),
    ("acting", "claimed", 0.01, Slack::None),
    ("acting", "claims and polls", 0.5, Slack::AtMost),
    ("acting", "other statements", 0.0, Slack::None),
    ("acting", "notifications", 0.01, Slack::None),
    // With the whole view in each record it would grow with the workflow.
    ("acting", "WAL bytes", 3_000.0, Slack::AtMost), // 1,950
    // A loop of 100 rounds with one node in its body: per round. (The loop's end is in the last round's record.)
    ("loop", "records", 0.05, Slack::AtMost),
    ("loop", "commits of records", 0.05, Slack::AtMost),
    ("loop", "claimed", 0.01, Slack::None),
    ("loop", "claims and polls", 0.2, Slack::AtMost), // 0.06
    ("loop", "other statements", 0.0, Slack::None),
    ("loop", "notifications", 0.01, Slack::None),
    ("loop", "WAL bytes", 793.0, Slack::Share(0.1)),
    // A delay, parked and woken, with a node behind it: per execution. The other statement reads the steps back.
    ("delay", "records", 2.0, Slack::None),
    ("delay", "commits of records", 2.0, Slack::None),
    ("delay", "claimed", 2.0, Slack::None),
    ("delay", "claims and polls", 12.0, Slack::AtMost), // 4.2
    ("delay", "other statements", 1.0, Slack::None),
    ("delay", "notifications", 1.0, Slack::None),
    ("delay", "WAL bytes", 5_470.0, Slack::Share(0.1)),
];

/// How often a workload runs that runs one at a time: figures are means.
const REPEATS: u32 = 10;
/// One that got better by more than this share beyond its slack asks for a lower budget.
const BETTER: f64 = 0.2;

/// Statements that come with time, not with work.
const PERIODIC: [&str; 4] = ["heartbeat", "repair", "repair_parked", "repair_waiting"];

type Figures = BTreeMap<&'static str, f64>;

/// What is wrong with the figures of a workload, in words; empty if nothing is.
fn verdict(budgets: &[(&str, &str, f64, Slack)], workload: &str, found: &Figures) -> String {
    let mut text = String::new();
    for figure in found.keys() {
        let is_budgeted = |line: &(&str, &str, f64, Slack)| line.0 == workload && line.1 == *figure;
        if !budgets.iter().any(is_budgeted) {
            writeln!(text, "{workload}: {figure}: has no budget").unwrap();
        }
    }
    for (_, figure, budget, slack) in budgets.iter().filter(|(of, ..)| *of == workload) {
        let value = found[figure];
        let (least, most) = match slack {
            Slack::None => (budget - 1e-9, budget + 1e-9),
            Slack::Share(share) => (
                budget * (1.0 - share - BETTER),
                budget * (1.0 + share) + 1e-9,
            ),
            Slack::AtMost => (f64::NEG_INFINITY, budget + 1e-9),
        };
        if value > most {
            writeln!(
                text,
                "{workload}: {figure}: {value:.3}, over the budget of {budget:.3} ({slack:?})"
            )
            .unwrap();
        } else if value < least {
            writeln!(text, "{workload}: {figure}: {value:.3}, better than the budget of {budget:.3}: lower it in {}", file!()).unwrap();
        }
    }
    text
}

fn check(workload: &'static str, measured: &Measured, per: f64) {
    let found = measured.figures(per);
    let problems = verdict(BUDGETS, workload, &found);
    assert!(
        problems.is_empty(),
        "\n{problems}all figures: {found:?}\ncalls of each statement: {:?}",
        measured.calls
    );
}

/// A server of this file's own, which counts.
fn cluster() -> Arc<TestCluster> {
    static COUNTING: OnceLock<Arc<TestCluster>> = OnceLock::new();
    let settings = [("shared_preload_libraries", "pg_stat_statements")];
    COUNTING
        .get_or_init(|| TestCluster::private_with(&settings))
        .clone()
}

/// What the server has counted in a database since the last look.
struct Measured {
    /// By file name: calls, rows, bytes of WAL.
    calls: BTreeMap<&'static str, (f64, f64, f64)>,
    notifications: f64,
}

impl Measured {
    fn figures(&self, per: f64) -> Figures {
        let of = |name: &str| self.calls.get(name).copied().unwrap_or_default();
        let (record, claim, poll) = (of("record"), of("claim"), of("next_due"));
        let named = ["record", "claim", "next_due"];
        let others = self
            .calls
            .iter()
            .filter(|(name, _)| !named.contains(name) && !PERIODIC.contains(name));
        let other: f64 = others.map(|(_, (calls, ..))| calls).sum();
        [
            ("records", record.1),
            ("commits of records", record.0),
            ("claimed", claim.1),
            ("claims and polls", claim.0 + poll.0),
            ("other statements", other),
            ("notifications", self.notifications),
            ("WAL bytes", record.2 + claim.2),
        ]
        .map(|(name, value)| (name, value / per))
        .into()
    }
}

/// The file in sql/queries, by the comment that it opens with.
fn name_of(text: &str) -> Option<&'static str> {
    sql::ALL
        .iter()
        .find(|statement| text.starts_with(statement.text.lines().next().unwrap()))
        .map(|statement| statement.name)
}

/// A database, a worker on it, and an ear.
struct Bench {
    database: Database,
    client: Client,
    worker: InProcess,
    heard: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Bench {
    async fn start(slots: &str) -> Self {
        let recipe =
            tokio::task::spawn_blocking(|| Recipe::on(cluster(), Variant::CreateAll)).await;
        let database = Database::make(recipe.unwrap().prepared(MIGRATED)).await;
        let client = database.client().await;
        client
            .batch_execute("CREATE EXTENSION pg_stat_statements")
            .await
            .unwrap();
        let heard = listen(&database.url()).await;
        let settings = [NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", slots)];
        let worker = InProcess::start(&database.url(), &settings).await;
        Self {
            database,
            client,
            worker,
            heard,
        }
    }

    /// The worker has nothing to do and says that it sleeps, so that an insert notifies.
    async fn wait_for_sleep(&self) {
        let sleepers = "SELECT count(*) FROM pg_locks
                        WHERE locktype = 'advisory' AND objsubid = 2 AND classid = 2002873189 AND objid = 1 AND granted
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        wait_until("the worker to sleep", SOON, async || {
            match count(&self.client, sleepers).await {
                1 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    async fn run_one(&self, workflow: Uuid) {
        self.wait_for_sleep().await;
        let execution = insert(&self.client, workflow).await;
        wait_for_completion(&self.client, execution).await;
    }

    async fn begin(&mut self) {
        self.wait_for_sleep().await;
        self.heard_so_far().await;
        let reset = "SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = current_database()";
        self.client.query(reset, &[]).await.unwrap();
    }

    /// Notifications that wake, by the time that one of our own has come.
    async fn heard_so_far(&mut self) -> usize {
        let mark = Uuid::new_v4().to_string();
        let notify = "SELECT pg_notify('workflow_worker', $1)";
        self.client.execute(notify, &[&mark]).await.unwrap();
        let mut wakes = 0;
        loop {
            match self.heard.recv().await {
                Some(payload) if payload.is_empty() => wakes += 1,
                Some(payload) if payload == mark => return wakes,
                Some(_) => {}
                None => panic!("the ear is gone"),
            }
        }
    }

    async fn end(mut self) -> Measured {
        self.wait_for_sleep().await;
        let notifications = self.heard_so_far().await;
        let rows = self
            .client
            .query(
                "SELECT query, sum(calls)::double precision, sum(rows)::double precision,
                        sum(wal_bytes - 8192 * wal_fpi)::double precision
                 FROM pg_stat_statements
                 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                 GROUP BY query",
                &[],
            )
            .await
            .unwrap();
        let calls = rows
            .iter()
            .filter_map(|row| Some((name_of(row.get(0))?, (row.get(1), row.get(2), row.get(3)))))
            .collect();
        self.worker.stop().await;
        drop(self.database);
        Measured {
            calls,
            notifications: f64::from(u32::try_from(notifications).unwrap()),
        }
    }
}

fn five_nodes() -> serde_json::Value {
    chain(
        (1..=5)
            .map(|number| set(&format!("n{number}"), "x", json!(1)))
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_on_an_idle_worker_cost_no_more_than_their_budget() {
    let mut bench = Bench::start("10").await;
    let workflow = insert_workflow(&bench.client, &five_nodes()).await;
    bench.run_one(workflow).await;
    bench.begin().await;
    for _ in 0..REPEATS {
        bench.run_one(workflow).await;
    }
    check("five", &bench.end().await, f64::from(REPEATS));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_executions_share_their_commits() {
    const EXECUTIONS: i32 = 200;
    let mut bench = Bench::start("50").await;
    let workflow = insert_workflow(&bench.client, &five_nodes()).await;
    bench.run_one(workflow).await;
    bench.begin().await;
    let many = "INSERT INTO workflowexecution (workflow_id) SELECT $1::uuid FROM generate_series(1, $2::integer)";
    bench
        .client
        .execute(many, &[&workflow, &EXECUTIONS])
        .await
        .unwrap();
    wait_until("all to complete", PATIENCE, async || {
        let left = "SELECT count(*) FROM workflowexecution WHERE status <> 'completed'";
        match count(&bench.client, left).await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    check("batch", &bench.end().await, f64::from(EXECUTIONS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_acts_costs_no_more_than_its_budget() {
    const NODES: u32 = 100;
    let hits = Hits::start();
    let mut bench = Bench::start("10").await;
    let nodes = (1..=NODES).map(|number| get(&format!("n{number}"), &hits.url("/")));
    let workflow = insert_workflow(&bench.client, &chain(nodes.collect())).await;
    bench.run_one(workflow).await;
    bench.begin().await;
    bench.run_one(workflow).await;
    check("acting", &bench.end().await, f64::from(NODES));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_a_loop_costs_no_more_than_its_budget() {
    const ROUNDS: u32 = 100;
    let mut bench = Bench::start("10").await;
    let config = json!({"loop_type": "repeat", "repeat_count": ROUNDS, "collect_results": false});
    let looping = graph(
        vec![node("l", "loop", config), set("b", "x", json!(1))],
        vec![branch("l", "b", "body")],
    );
    let workflow = insert_workflow(&bench.client, &looping).await;
    bench.run_one(workflow).await;
    bench.begin().await;
    bench.run_one(workflow).await;
    check("loop", &bench.end().await, f64::from(ROUNDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_that_is_parked_and_woken_costs_no_more_than_its_budget() {
    let mut bench = Bench::start("10").await;
    let delayed = chain(vec![
        node("wait", "delay", json!({"delay_seconds": 0.2})),
        set("behind", "x", json!(1)),
    ]);
    let workflow = insert_workflow(&bench.client, &delayed).await;
    bench.run_one(workflow).await;
    bench.begin().await;
    for _ in 0..REPEATS {
        bench.run_one(workflow).await;
    }
    check("delay", &bench.end().await, f64::from(REPEATS));
}

#[test]
fn a_figure_over_its_budget_is_named_and_so_is_one_far_below() {
    let budgets = [
        ("w", "exact", 5.0, Slack::None),
        ("w", "near", 100.0, Slack::Share(0.1)),
        ("w", "bound", 3.0, Slack::AtMost),
        ("other", "exact", 1.0, Slack::None),
    ];
    let with = |exact: f64, near: f64, bound: f64| {
        verdict(
            &budgets,
            "w",
            &BTreeMap::from([("exact", exact), ("near", near), ("bound", bound)]),
        )
    };
    assert_eq!(with(5.0, 109.0, 0.5), "");
    assert!(with(6.0, 100.0, 1.0).contains("exact: 6.000, over the budget of 5.000"));
    assert!(with(4.0, 100.0, 1.0).contains("exact: 4.000, better than the budget"));
    assert!(with(5.0, 111.0, 1.0).contains("near: 111.000, over"));
    assert!(with(5.0, 69.0, 1.0).contains("near: 69.000, better"));
    assert!(with(5.0, 100.0, 3.1).contains("bound: 3.100, over"));
    let new = BTreeMap::from([("exact", 1.0), ("new", 7.0)]);
    assert_eq!(
        verdict(&budgets, "other", &new),
        "other: new: has no budget\n"
    );
}
