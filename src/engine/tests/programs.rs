//! Random programs of loops, tries, branches, breaks and failures, drawn as graphs and run by the engine with answers in
//! any order and a death after any event; beside them the same programs, run by a plain recursive interpreter.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::script::{at, node, object};
use crate::engine::{
    Bounds, Checkpoint, Command, Edge, Event, FailureKind, Graph, GraphNode, History, Machine,
    NodeResult, Origin, Rounds, State, Step, StepStatus, TokenId,
};
use crate::ids::NodeId;
use crate::retry::RetryPolicy;

#[derive(Clone, Debug)]
enum Block {
    Succeeds,
    FailsFirst,
    Fails,
    Sleeps,
    Loop {
        rounds: u32,
        kind: LoopKind,
        has_way_back: bool,
        body: Vec<Self>,
    },
    Try {
        body: Vec<Self>,
        has_catch: bool,
        /// What runs between catch and finally; without a finally there is none.
        handler: Vec<Self>,
        has_finally: bool,
    },
    Branches {
        is_sequential: bool,
        branches: Vec<Vec<Self>>,
    },
    /// Leaves the nearest loop, or its round, in round `at`.
    Leave {
        is_break: bool,
        at: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LoopKind {
    Items,
    Asked,
    SideBySide,
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let leaf = prop_oneof![
        6 => Just(Block::Succeeds),
        1 => Just(Block::FailsFirst),
        1 => Just(Block::Fails),
        1 => Just(Block::Sleeps),
        1 => (any::<bool>(), 0_u32..3).prop_map(|(is_break, at)| Block::Leave { is_break, at }),
    ];
    let kind = prop_oneof![
        Just(LoopKind::Items),
        Just(LoopKind::Asked),
        Just(LoopKind::SideBySide)
    ];
    let block = leaf.prop_recursive(3, 16, 3, move |inner| {
        let several = || prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            (0_u32..3, kind.clone(), any::<bool>(), several()).prop_map(
                |(rounds, kind, has_way_back, body)| Block::Loop {
                    rounds,
                    kind,
                    has_way_back,
                    body
                }
            ),
            (several(), any::<bool>(), several(), any::<bool>()).prop_map(
                |(body, has_catch, handler, has_finally)| Block::Try {
                    body,
                    has_catch: has_catch || !has_finally,
                    handler: if has_finally && has_catch {
                        handler
                    } else {
                        Vec::new()
                    },
                    has_finally,
                }
            ),
            (any::<bool>(), prop::collection::vec(several(), 1..4)).prop_map(
                |(is_sequential, branches)| Block::Branches {
                    is_sequential,
                    branches
                }
            ),
        ]
    });
    prop::collection::vec(block, 1..5).prop_map(|blocks| disambiguated(blocks, false))
}

/// Without labels, a `finally` belongs to the nearest `try` before it that has none yet: so inside of a `try` each has one.
fn disambiguated(blocks: Vec<Block>, is_inside: bool) -> Vec<Block> {
    let inner = |blocks, is_inside| disambiguated(blocks, is_inside);
    blocks
        .into_iter()
        .map(|block| match block {
            Block::Try {
                body,
                has_catch,
                handler,
                has_finally,
            } => Block::Try {
                body: inner(body, true),
                has_catch,
                handler: inner(handler, true),
                has_finally: has_finally || is_inside,
            },
            Block::Loop {
                rounds,
                kind,
                has_way_back,
                body,
            } => Block::Loop {
                rounds,
                kind,
                has_way_back,
                body: inner(body, is_inside),
            },
            Block::Branches {
                is_sequential,
                branches,
            } => Block::Branches {
                is_sequential,
                branches: branches
                    .into_iter()
                    .map(|branch| inner(branch, is_inside))
                    .collect(),
            },
            Block::Succeeds
            | Block::FailsFirst
            | Block::Fails
            | Block::Sleeps
            | Block::Leave { .. } => block,
        })
        .collect()
}

/// A program as a graph, and what its nodes do.
#[derive(Default)]
struct Drawing {
    nodes: Vec<GraphNode>,
    edges: Vec<Edge>,
    conducts: BTreeMap<String, Conduct>,
}

#[derive(Clone, Debug)]
enum Conduct {
    Block(Block),
    /// Decides between going on and leaving.
    Decides(u32),
    Plain,
}

/// Ends that what comes next is to be connected to, each with the label of the edge.
type Loose = Vec<(String, Option<&'static str>)>;

impl Drawing {
    fn add(&mut self, node_type: &str, conduct: Conduct, config: &Value, from: &Loose) -> String {
        let id = format!("{node_type}{}", self.nodes.len());
        let mut new = node(&id, node_type);
        new.config = Arc::new(object(config));
        self.nodes.push(new);
        self.connect(from, &id);
        self.conducts.insert(id.clone(), conduct);
        id
    }

    fn connect(&mut self, from: &Loose, to: &str) {
        for (source, branch) in from {
            self.edges.push(Edge {
                from: source.as_str().into(),
                to: to.into(),
                branch: branch.map(Into::into),
            });
        }
    }

    fn sequence(&mut self, blocks: &[Block], from: Loose) -> Loose {
        blocks
            .iter()
            .fold(from, |from, block| self.block(block, &from))
    }

    fn block(&mut self, block: &Block, from: &Loose) -> Loose {
        match block {
            Block::Succeeds | Block::FailsFirst | Block::Fails | Block::Sleeps => {
                let id = self.add("map", Conduct::Block(block.clone()), &json!({}), from);
                vec![(id, None)]
            }
            Block::Leave { is_break, at } => {
                let decides = self.add("if", Conduct::Decides(*at), &json!({}), from);
                let leave = vec![(decides.clone(), Some("leave"))];
                let node_type = if *is_break { "break" } else { "continue" };
                self.add(node_type, Conduct::Plain, &json!({}), &leave);
                vec![(decides, Some("go"))]
            }
            Block::Loop {
                kind,
                has_way_back,
                body,
                ..
            } => {
                let config = if *kind == LoopKind::SideBySide {
                    json!({"parallel": true, "parallel_limit": 2})
                } else {
                    json!({})
                };
                let id = self.add("loop", Conduct::Block(block.clone()), &config, from);
                let ends = self.sequence(body, vec![(id.clone(), Some("body"))]);
                if *has_way_back && !body.is_empty() {
                    self.connect(&ends, &id);
                }
                vec![(id, Some("done"))]
            }
            Block::Try {
                body,
                has_catch,
                handler,
                has_finally,
            } => {
                let id = self.add("try", Conduct::Plain, &json!({}), from);
                let mut ends = self.sequence(body, vec![(id, None)]);
                if *has_catch {
                    let id = self.add("catch", Conduct::Plain, &json!({}), &ends);
                    ends = self.sequence(handler, vec![(id, None)]);
                }
                if *has_finally {
                    let id = self.add("finally", Conduct::Plain, &json!({}), &ends);
                    ends = vec![(id, None)];
                }
                ends
            }
            Block::Branches {
                is_sequential,
                branches,
            } => {
                let config = if *is_sequential {
                    json!({"sequential": true})
                } else {
                    json!({})
                };
                let id = self.add("map", Conduct::Plain, &config, from);
                let ends = branches
                    .iter()
                    .flat_map(|branch| self.sequence(branch, vec![(id.clone(), None)]))
                    .collect();
                let join = self.add("map", Conduct::Plain, &json!({}), &ends);
                vec![(join, None)]
            }
        }
    }
}

/// Why a block was left before its end.
enum Left {
    Error,
    Break,
    Continue,
    /// A `break` or `continue` outside of loops, which is an error of its node.
    NoLoop,
}

/// Runs a program as it reads.
#[derive(Default)]
struct Interpreter {
    /// What was left by an error or a break while other branches or rounds ran beside: how far those came is chance.
    is_chance: bool,
    beside: u32,
    nodes: u32,
}

impl Interpreter {
    fn sequence(&mut self, blocks: &[Block], round: Option<u32>) -> Result<(), Left> {
        blocks.iter().try_for_each(|block| self.block(block, round))
    }

    fn left(&mut self, left: Left) -> Result<(), Left> {
        self.is_chance |= self.beside > 0;
        Err(left)
    }

    fn block(&mut self, block: &Block, round: Option<u32>) -> Result<(), Left> {
        match block {
            Block::Succeeds | Block::FailsFirst | Block::Sleeps => {
                self.nodes += 1;
                Ok(())
            }
            Block::Fails => self.left(Left::Error),
            Block::Leave { is_break, at } => {
                self.nodes += 1;
                match round {
                    Some(round) if round != *at => Ok(()),
                    None if *at != 0 => Ok(()),
                    None => self.left(Left::NoLoop),
                    Some(_) => {
                        self.nodes += 1;
                        self.left(if *is_break {
                            Left::Break
                        } else {
                            Left::Continue
                        })
                    }
                }
            }
            Block::Loop {
                rounds, kind, body, ..
            } => {
                self.beside += u32::from(*kind == LoopKind::SideBySide);
                let mut ended = Ok(());
                for round in 0..*rounds {
                    match self.sequence(body, Some(round)) {
                        Ok(()) | Err(Left::Continue) => {}
                        Err(Left::Break) => break,
                        Err(left) => {
                            ended = Err(left);
                            break;
                        }
                    }
                }
                self.beside -= u32::from(*kind == LoopKind::SideBySide);
                self.nodes += u32::from(ended.is_ok());
                ended
            }
            Block::Try {
                body,
                has_catch,
                handler,
                has_finally,
            } => {
                let mut ended = self.sequence(body, round);
                if *has_catch && matches!(ended, Err(Left::Error | Left::NoLoop)) {
                    self.nodes += 1;
                    ended = self.sequence(handler, round);
                }
                self.nodes += u32::from(*has_finally) + u32::from(ended.is_ok());
                ended
            }
            Block::Branches {
                is_sequential,
                branches,
            } => {
                self.nodes += 1;
                self.beside += u32::from(!is_sequential && branches.len() > 1);
                let ended: Result<(), Left> = branches
                    .iter()
                    .try_for_each(|branch| self.sequence(branch, round));
                self.beside -= u32::from(!is_sequential && branches.len() > 1);
                self.nodes += u32::from(ended.is_ok());
                ended
            }
        }
    }
}

const POLICY: RetryPolicy = RetryPolicy {
    max_retries: 1_000,
    base: std::time::Duration::from_secs(1),
    multiplier: 1.0,
    cap: std::time::Duration::from_secs(1),
};

fn success(branch: Option<&str>) -> NodeResult {
    NodeResult::Success {
        output: Map::new(),
        branch: branch.map(Into::into),
    }
}

/// What a node that was started answers.
fn answer(conduct: &Conduct, command: &Command, now: crate::ids::Timestamp) -> NodeResult {
    let Command::RunNode {
        attempt,
        round,
        locals,
        ..
    } = command
    else {
        panic!("not a node");
    };
    let index = locals.iter().rev().find(|(name, _)| name == "index");
    let index = index.and_then(|(_, value)| value.as_u64());
    match conduct {
        Conduct::Plain | Conduct::Block(Block::Succeeds) => success(None),
        Conduct::Decides(at) => {
            let leaves = index.unwrap_or_default() == u64::from(*at);
            success(Some(if leaves { "leave" } else { "go" }))
        }
        Conduct::Block(Block::Fails) => NodeResult::failure(FailureKind::Permanent, "Error", "no"),
        Conduct::Block(Block::FailsFirst) if *attempt == 1 => {
            NodeResult::failure(FailureKind::Retryable, "Error", "not yet")
        }
        Conduct::Block(Block::Sleeps) => NodeResult::SleepUntil {
            at: now + TimeDelta::seconds(3),
            output: Map::new(),
        },
        Conduct::Block(Block::Loop { rounds, kind, .. }) => NodeResult::Iterate(match kind {
            LoopKind::Asked => Rounds::Next(round < rounds),
            LoopKind::SideBySide => Rounds::Times(*rounds),
            LoopKind::Items => Rounds::Items((0..*rounds).map(Value::from).collect()),
        }),
        Conduct::Block(_) => success(None),
    }
}

struct Run {
    steps: Vec<Step>,
    is_complete: bool,
}

fn restored(graph: &Arc<Graph>, checkpoint: Option<Checkpoint>, steps: &[Step]) -> Machine {
    Machine::restore(
        Arc::clone(graph),
        checkpoint,
        &Origin::default(),
        &History::from_steps(steps),
        (POLICY, Bounds::default()),
    )
    .unwrap()
}

/// Takes note of the visits that have ended, each of which ends once.
fn note(fresh: &[Step], recorded: &mut HashSet<(NodeId, u32)>) {
    let ended = fresh.iter().filter(|step| {
        !matches!(
            step.status,
            StepStatus::Failed | StepStatus::Opened | StepStatus::Joined
        )
    });
    for step in ended {
        let is_new = recorded.insert((step.node.clone(), step.visit));
        let (visit, node) = (step.visit, &step.node);
        assert!(is_new, "visit {visit} of {node} was recorded twice");
    }
}

/// Runs a program in the engine.
fn run(
    drawing: &Drawing,
    graph: &Arc<Graph>,
    order: &[prop::sample::Index],
    deaths: &[bool],
) -> Run {
    let restore = |checkpoint, steps: &[Step]| restored(graph, checkpoint, steps);
    let (mut now, mut steps) = (at(0), Vec::new());
    let mut open: Vec<(TokenId, Command)> = Vec::new();
    let mut recorded: HashSet<(NodeId, u32)> = HashSet::new();
    let mut machine = restore(None, &steps);
    let mut fresh = machine.apply(Event::Start, now).unwrap();
    for event in 0..2_000 {
        note(&fresh, &mut recorded);
        steps.append(&mut fresh);
        // What has failed for good has left the queue: nobody takes it up again by himself.
        if deaths[event % deaths.len()] && !matches!(machine.state(), State::Failed { .. }) {
            let saved = machine.checkpoint().to_json().unwrap();
            machine = restore(Some(Checkpoint::from_json(&saved).unwrap()), &steps);
            open.clear();
            fresh = machine.apply(Event::Start, now).unwrap();
            steps.append(&mut fresh);
        }
        for dropped in machine.take_dropped() {
            open.retain(|(token, _)| *token != dropped.token);
        }
        while let Some(command) = machine.next_command() {
            match &command {
                Command::RunNode {
                    token, node, visit, ..
                } => {
                    let is_done = recorded.contains(&(node.clone(), *visit));
                    assert!(!is_done, "{node} runs again after it was recorded");
                    open.push((*token, command));
                }
                Command::Complete => {
                    return Run {
                        steps,
                        is_complete: true,
                    };
                }
                Command::Fail { .. } => {
                    return Run {
                        steps,
                        is_complete: false,
                    };
                }
            }
        }
        assert_eq!(machine.in_flight().count(), open.len());
        let happened = if open.is_empty() {
            now = machine
                .next_deadline()
                .expect("nothing in flight, nothing to wait for, and no end");
            Event::DeadlinePassed
        } else {
            let nth = order[event % order.len()].index(open.len());
            let (token, command) = open.swap_remove(nth);
            let Command::RunNode { node, .. } = &command else {
                panic!("not a node");
            };
            let conduct = &drawing.conducts[node.as_str()];
            Event::NodeFinished {
                token,
                result: answer(conduct, &command, now),
                started_at: now,
            }
        };
        fresh = machine.apply(happened, now).unwrap();
    }
    panic!("no end after 2,000 events");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_drawn_program_runs_as_it_reads(
        program in blocks(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        deaths in prop::collection::vec(prop::bool::weighted(0.2), 1..20),
    ) {
        let mut drawing = Drawing::default();
        let start = drawing.add("trigger", Conduct::Plain, &json!({}), &Vec::new());
        drawing.sequence(&program, vec![(start, None)]);
        let graph = Arc::new(Graph::new(drawing.nodes.clone(), drawing.edges.clone(), None).unwrap());
        let mut interpreter = Interpreter::default();
        let expected = interpreter.sequence(&program, None);
        let run = run(&drawing, &graph, &order, &deaths);
        if !interpreter.is_chance {
            prop_assert_eq!(run.is_complete, expected.is_ok());
            let nodes = run.steps.iter().filter(|step| step.status == StepStatus::Success).count();
            // The trigger is the interpreter's start.
            prop_assert_eq!(u32::try_from(nodes).unwrap(), interpreter.nodes + 1);
        }
    }
}
