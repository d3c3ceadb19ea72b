//! A machine with a clock that a test moves, and commands that it spells out.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::{Map, Value, json};

use crate::engine::{
    Bounds, Checkpoint, Command, Edge, Event, FailureKind, Graph, GraphNode, History, Machine,
    NodeResult, Origin, State, Step, TokenId,
};
use crate::ids::{NodeId, Timestamp};
use crate::retry::RetryPolicy;

pub(super) fn node(id: &str, node_type: &str) -> GraphNode {
    GraphNode {
        id: id.into(),
        node_type: node_type.into(),
        config: Arc::default(),
    }
}

/// Edges as text: `a>b` or `a>b:branch`.
pub(super) fn edge(text: &str) -> Edge {
    let (ends, branch) = text
        .split_once(':')
        .map_or((text, None), |(ends, branch)| (ends, Some(branch.into())));
    let (from, to) = ends.split_once('>').unwrap();
    Edge {
        from: from.into(),
        to: to.into(),
        branch,
    }
}

/// A graph of the nodes that the edges name, in that order. An id that begins with `loop`, `try`, `catch`, `finally`,
/// `break`, `continue` or `end_` (a `finally`, too) is of that type, all others are `map`.
pub(super) fn graph(edges: &str) -> Graph {
    graph_with(edges, &[])
}

/// The same, with configurations.
pub(super) fn graph_with(edges: &str, configs: &[(&str, Value)]) -> Graph {
    const TYPES: [&str; 6] = ["loop", "try", "catch", "finally", "break", "continue"];
    let edges: Vec<Edge> = edges.split_whitespace().map(edge).collect();
    let mut nodes: Vec<GraphNode> = Vec::new();
    for id in edges.iter().flat_map(|edge| [&edge.from, &edge.to]) {
        if !nodes.iter().any(|node| node.id == *id) {
            let node_type = TYPES
                .into_iter()
                .find(|node_type| id.as_str().starts_with(node_type));
            let mut new = node(id.as_str(), node_type.unwrap_or("map"));
            if let Some((_, config)) = configs.iter().find(|(name, _)| *name == id.as_str()) {
                new.config = Arc::new(object(config));
            }
            nodes.push(new);
        }
    }
    Graph::new(nodes, edges, None).unwrap()
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

pub(super) fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// What a script expects to be asked for.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    Run(String),
    Complete,
    Fail(String),
}

pub(super) fn run(node: &str) -> Wanted {
    Wanted::Run(node.to_owned())
}

pub(super) struct Script {
    pub(super) machine: Machine,
    pub(super) now: Timestamp,
    pub(super) steps: Vec<Step>,
    pub(super) in_flight: BTreeMap<String, TokenId>,
    pub(super) commands: Vec<Command>,
}

pub(super) fn script(edges: &str) -> Script {
    Script::on(Arc::new(graph(edges)), None, &Origin::default())
}

impl Script {
    pub(super) fn on(graph: Arc<Graph>, checkpoint: Option<Checkpoint>, origin: &Origin) -> Self {
        let machine = Machine::restore(
            graph,
            checkpoint,
            origin,
            &History::default(),
            (RetryPolicy::default(), Bounds::default()),
        )
        .unwrap();
        Self {
            machine,
            now: at(0),
            steps: Vec::new(),
            in_flight: BTreeMap::new(),
            commands: Vec::new(),
        }
    }

    pub(super) fn start(self) -> Self {
        self.happens(Event::Start)
    }

    pub(super) fn happens(mut self, event: Event) -> Self {
        self.steps
            .extend(self.machine.apply(event, self.now).unwrap());
        self
    }

    /// Takes all commands there are: these and no others.
    pub(super) fn expects(mut self, wanted: impl IntoIterator<Item = Wanted>) -> Self {
        let mut found = Vec::new();
        while let Some(command) = self.machine.next_command() {
            found.push(match &command {
                Command::RunNode { token, node, .. } => {
                    self.in_flight.insert(node.to_string(), *token);
                    run(node.as_str())
                }
                Command::Complete => Wanted::Complete,
                Command::Fail { message, .. } => Wanted::Fail(message.clone()),
            });
            self.commands.push(command);
        }
        assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
        self
    }

    pub(super) fn ends(mut self, node: &str, result: NodeResult) -> Self {
        let token = self
            .in_flight
            .remove(node)
            .unwrap_or_else(|| panic!("{node} is not in flight"));
        let started_at = self.now;
        self.happens(Event::NodeFinished {
            token,
            result,
            started_at,
        })
    }

    pub(super) fn finishes(self, node: &str) -> Self {
        self.ends(
            node,
            NodeResult::Success {
                output: object(&json!({"from": node})),
                branch: None,
            },
        )
    }

    pub(super) fn decides(self, node: &str, branch: &str) -> Self {
        self.ends(
            node,
            NodeResult::Success {
                output: Map::new(),
                branch: Some(branch.to_owned()),
            },
        )
    }

    pub(super) fn fails(self, node: &str, kind: FailureKind) -> Self {
        self.ends(node, NodeResult::failure(kind, "Error", "no"))
    }

    /// The clock goes on, and the deadline is told.
    pub(super) fn passes(mut self, seconds: i64) -> Self {
        self.now += TimeDelta::seconds(seconds);
        self.happens(Event::DeadlinePassed)
    }

    /// The worker dies; another one takes up what was recorded.
    pub(super) fn restarts(self) -> Self {
        let checkpoint =
            Checkpoint::from_json(&self.machine.checkpoint().to_json().unwrap()).unwrap();
        let history = History::from_steps(&self.steps);
        let graph = Arc::clone(self.machine.graph());
        let machine = Machine::restore(
            graph,
            Some(checkpoint),
            &Origin::default(),
            &history,
            (RetryPolicy::default(), Bounds::default()),
        )
        .unwrap();
        Self {
            machine,
            in_flight: BTreeMap::new(),
            ..self
        }
        .start()
    }

    pub(super) fn is(self, state: &State) -> Self {
        assert_eq!(self.machine.state(), *state);
        self
    }

    /// The recorded nodes, in order.
    pub(super) fn recorded(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.node.as_str()).collect()
    }

    pub(super) fn last_step(&self) -> &Step {
        self.steps.last().unwrap()
    }

    /// Visit and attempt of the last command.
    pub(super) fn last_run(&self) -> (NodeId, u32, u32, Option<Timestamp>) {
        match self.commands.last() {
            Some(Command::RunNode {
                node,
                visit,
                attempt,
                waiting_since,
                ..
            }) => (node.clone(), *visit, *attempt, *waiting_since),
            other => panic!("not a command to run a node: {other:?}"),
        }
    }
}
