//! What holds for any graph, any results and any order of answers; with a restart after any event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::Map;

use super::script::{at, node};
use crate::engine::{
    Bounds, Checkpoint, Command, Edge, Event, FailureKind, Graph, History, Machine, NodeResult,
    Origin, Step, StepStatus, TokenId,
};
use crate::ids::{NodeId, Timestamp};
use crate::retry::RetryPolicy;

/// What a node does when it runs.
#[derive(Clone, Debug)]
enum Conduct {
    Succeeds(Option<&'static str>),
    FailsFirst(Option<&'static str>),
    Sleeps,
    WaitsOnce,
}

#[derive(Clone, Debug)]
struct World {
    conducts: Vec<Conduct>,
    edges: Vec<(usize, usize, Option<&'static str>)>,
    /// Chooses which of the open answers comes next.
    order: Vec<prop::sample::Index>,
    /// Before which events the worker dies.
    deaths: Vec<bool>,
}

fn branch() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![3 => Just(None), 1 => Just(Some("x")), 1 => Just(Some("y"))]
}

fn conduct() -> impl Strategy<Value = Conduct> {
    prop_oneof![
        6 => branch().prop_map(Conduct::Succeeds),
        1 => branch().prop_map(Conduct::FailsFirst),
        1 => Just(Conduct::Sleeps),
        1 => Just(Conduct::WaitsOnce),
    ]
}

fn world() -> impl Strategy<Value = World> {
    (2_usize..14).prop_flat_map(|len| {
        let edge =
            (0..len - 1, 1..len, branch()).prop_map(|(a, b, branch)| (a.min(b), a.max(b), branch));
        let edges = prop::collection::vec(edge, 0..3 * len).prop_map(|edges| {
            edges
                .into_iter()
                .filter(|(from, to, _)| from != to)
                .collect()
        });
        (
            prop::collection::vec(conduct(), len),
            edges,
            prop::collection::vec(any::<prop::sample::Index>(), 1..20),
            prop::collection::vec(prop::bool::weighted(0.3), 1..20),
        )
            .prop_map(|(conducts, edges, order, deaths)| World {
                conducts,
                edges,
                order,
                deaths,
            })
    })
}

fn id(n: usize) -> NodeId {
    n.to_string().as_str().into()
}

impl World {
    fn graph(&self) -> Graph {
        let nodes = (0..self.conducts.len())
            .map(|n| node(&n.to_string(), "map"))
            .collect();
        let edge = |&(from, to, branch): &(usize, usize, Option<&str>)| Edge {
            from: id(from),
            to: id(to),
            branch: branch.map(Into::into),
        };
        Graph::new(nodes, self.edges.iter().map(edge).collect(), Some(&id(0))).unwrap()
    }

    fn branch_of(&self, n: usize) -> Option<&'static str> {
        match self.conducts[n] {
            Conduct::Succeeds(branch) | Conduct::FailsFirst(branch) => branch,
            Conduct::Sleeps | Conduct::WaitsOnce => None,
        }
    }

    /// The edges that are taken, found without the engine: edges go from lower to higher numbers.
    fn taken(&self) -> BTreeSet<(usize, usize)> {
        let mut reached = BTreeSet::from([0]);
        let mut taken = BTreeSet::new();
        for n in 0..self.conducts.len() {
            for &(from, to, label) in self
                .edges
                .iter()
                .filter(|(from, ..)| *from == n && reached.contains(&n))
            {
                let chosen = self.branch_of(from);
                if chosen.is_none() || label.is_none() || chosen == label {
                    taken.insert((from, to));
                }
            }
            reached.extend(
                taken
                    .iter()
                    .filter(|(from, _)| *from == n)
                    .map(|(_, to)| *to),
            );
        }
        taken
    }

    fn result(&self, run: &Run, now: Timestamp) -> NodeResult {
        let n: usize = run.node.as_str().parse().unwrap();
        let later = now + TimeDelta::seconds(i64::try_from(n).unwrap() + 1);
        match self.conducts[n] {
            Conduct::FailsFirst(_) if run.attempt == 1 => {
                NodeResult::failure(FailureKind::Retryable, "Error", "no")
            }
            Conduct::WaitsOnce if !run.has_waited => NodeResult::RecheckAt { at: later },
            Conduct::Sleeps => NodeResult::SleepUntil {
                at: later,
                output: Map::new(),
            },
            Conduct::Succeeds(_) | Conduct::FailsFirst(_) | Conduct::WaitsOnce => {
                NodeResult::Success {
                    output: Map::new(),
                    branch: self.branch_of(n).map(Into::into),
                }
            }
        }
    }
}

struct Run {
    token: TokenId,
    node: NodeId,
    attempt: u32,
    has_waited: bool,
}

const POLICY: RetryPolicy = RetryPolicy {
    max_retries: 100,
    base: std::time::Duration::from_secs(1),
    multiplier: 1.0,
    cap: std::time::Duration::from_secs(10),
};

/// Runs the world to its end; the steps in the order in which they were recorded.
fn run_to_end(world: &World) -> Vec<Step> {
    let graph = Arc::new(world.graph());
    let restore = |checkpoint: Option<Checkpoint>, steps: &[Step]| {
        let history = History::from_steps(steps);
        Machine::restore(
            Arc::clone(&graph),
            checkpoint,
            &Origin::default(),
            &history,
            (POLICY, Bounds::default()),
        )
        .unwrap()
    };
    let (mut now, mut steps, mut open) = (at(0), Vec::new(), Vec::new());
    let mut machine = restore(None, &steps);
    steps.extend(machine.apply(Event::Start, now).unwrap());
    for event in 0..1_000 {
        if world.deaths[event % world.deaths.len()] {
            let saved = machine.checkpoint().to_json().unwrap();
            machine = restore(Some(Checkpoint::from_json(&saved).unwrap()), &steps);
            open.clear();
            steps.extend(machine.apply(Event::Start, now).unwrap());
        }
        while let Some(command) = machine.next_command() {
            match command {
                Command::RunNode {
                    token,
                    node,
                    attempt,
                    waiting_since,
                    ..
                } => {
                    let repeated = steps
                        .iter()
                        .any(|step| step.node == node && step.status == StepStatus::Success);
                    assert!(
                        !repeated,
                        "{node} runs again after its success was recorded"
                    );
                    open.push(Run {
                        token,
                        node,
                        attempt,
                        has_waited: waiting_since.is_some(),
                    });
                }
                Command::Complete => return steps,
                Command::Fail { message, .. } => panic!("{message}"),
            }
        }
        assert_eq!(machine.in_flight().count(), open.len());
        let happened = if open.is_empty() {
            now = machine
                .next_deadline()
                .expect("nothing in flight, nothing to wait for, and no end");
            Event::DeadlinePassed
        } else {
            let run = open.swap_remove(world.order[event % world.order.len()].index(open.len()));
            Event::NodeFinished {
                token: run.token,
                result: world.result(&run, now),
                started_at: now,
            }
        };
        steps.extend(machine.apply(happened, now).unwrap());
    }
    panic!("no end after 1,000 events");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn each_node_that_a_path_leads_to_is_recorded_once_and_after_all_that_lead_to_it(world in world()) {
        let steps = run_to_end(&world);
        prop_assert!((1..).zip(&steps).all(|(seq, step)| step.seq == seq));
        let mut done = BTreeMap::new();
        for step in steps.iter().filter(|step| step.status == StepStatus::Success) {
            prop_assert_eq!(step.visit, 1);
            let n: usize = step.node.as_str().parse().unwrap();
            prop_assert!(done.insert(n, step.seq).is_none(), "{} was recorded twice", n);
        }
        let taken = world.taken();
        let expected: BTreeSet<usize> = taken.iter().map(|(_, to)| *to).chain([0]).collect();
        prop_assert_eq!(done.keys().copied().collect::<BTreeSet<_>>(), expected);
        for (from, to) in taken {
            prop_assert!(done[&from] < done[&to], "{} did not wait for {}", to, from);
        }
    }

    #[test]
    fn dying_after_every_event_changes_nothing_but_the_order(world in world()) {
        let nodes = |deaths| {
            let world = World { deaths, ..world.clone() };
            run_to_end(&world).into_iter().map(|step| (step.node, step.attempt, step.status.as_str())).collect()
        };
        let (dying, living): (BTreeSet<_>, BTreeSet<_>) = (nodes(vec![true]), nodes(vec![false]));
        prop_assert_eq!(dying, living);
    }
}
