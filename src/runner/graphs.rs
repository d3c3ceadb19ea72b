//! The graphs in memory: read once per version of a workflow's row, kept once per content.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::clock;
use crate::engine::Graph;
use crate::host::graph_json::{self, NodeRow};
use crate::ids::WorkflowId;
use crate::store::{Store, StoreError};

/// Graphs kept at most. At the bound all are dropped and read again as needed; an execution that runs keeps its own.
const MAX_GRAPHS: usize = 1_000;

/// How long a graph counts as stored after a record has brought it. The retention removes one that nobody has brought and
/// to which nobody has referred for a day (`sql/queries/prune_graphs.sql`): this must stay far below that.
const STORED_HOLDS: Duration = Duration::from_secs(3_600);

/// A graph that executions run on.
#[derive(Debug)]
pub struct StoredGraph {
    /// The graph.
    pub graph: Arc<Graph>,
    /// SHA-256 of `source`: its key in `workflow_worker.graphs`.
    pub hash: Vec<u8>,
    /// What is stored there.
    pub source: String,
    /// How long an execution of it may take, if it says so.
    pub time_limit: Option<Duration>,
    /// When a record has brought it, as far as is known. Set by each runner whose record has; read by those that begin.
    stored_at: Mutex<Option<Instant>>,
}

impl StoredGraph {
    /// The source, if a record must bring it.
    pub fn source_to_store(&self) -> Option<String> {
        let is_stored = self
            .stored_at()
            .is_some_and(|at| at.elapsed() < STORED_HOLDS);
        (!is_stored).then(|| self.source.clone())
    }

    /// A record has brought it.
    pub fn mark_stored(&self) {
        *self.stored_at() = Some(clock::monotonic());
    }

    fn stored_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // Nothing is done while it is held that could panic.
        self.stored_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an execution has no graph to run on.
#[derive(Debug, Error)]
pub enum NoGraph {
    /// The graph is broken; the message is for its owner.
    #[error("{0}")]
    Broken(String),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `workflow_worker.graphs.source` holds.
#[derive(Serialize, Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    graph_config: Option<&'a RawValue>,
    #[serde(borrow)]
    nodes: Option<&'a RawValue>,
}

/// A row of `workflownode`, as `load_workflow_graph.sql` returns it.
#[derive(Deserialize)]
struct Row<'a> {
    node_id: String,
    node_type: String,
    #[serde(borrow)]
    config: Option<&'a RawValue>,
}

impl From<Row<'_>> for NodeRow {
    fn from(row: Row<'_>) -> Self {
        Self {
            node_id: row.node_id,
            node_type: row.node_type,
            config: row.config.map(|config| config.get().to_owned()),
        }
    }
}

/// The graphs that this process has read.
#[derive(Debug, Default)]
pub struct Graphs {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    by_hash: HashMap<Vec<u8>, Arc<StoredGraph>>,
    /// A version of a workflow's row never changes its content, so what was read under it holds for good.
    by_row_version: HashMap<(WorkflowId, String), Arc<StoredGraph>>,
}

impl Graphs {
    /// The graph of a workflow as it is now.
    pub async fn of_workflow(
        &self,
        store: &Store,
        workflow: WorkflowId,
        row_version: Option<&str>,
    ) -> Result<Arc<StoredGraph>, NoGraph> {
        let Some(row_version) = row_version else {
            return Err(NoGraph::Broken(format!(
                "workflow {workflow} does not exist any more"
            )));
        };
        let key = (workflow, row_version.to_owned());
        if let Some(known) = self.lock().by_row_version.get(&key) {
            return Ok(Arc::clone(known));
        }
        let Some(row) = store.load_workflow_graph(workflow).await? else {
            return Err(NoGraph::Broken(format!(
                "workflow {workflow} does not exist any more"
            )));
        };
        let source = serde_json::to_string(&Source {
            graph_config: raw(row.graph_config.as_deref())?,
            nodes: raw(row.node_rows.as_deref())?,
        })
        .map_err(|error| NoGraph::Broken(error.to_string()))?;
        let hash = Sha256::digest(source.as_bytes()).to_vec();
        let stored = match self.known(&hash) {
            Some(known) => known,
            None => self.keep(parse(hash, source)?),
        };
        // Rows of workflownode change without a new version of the workflow's row.
        if row.node_rows.is_none() {
            self.lock()
                .by_row_version
                .insert((workflow, row.row_version), Arc::clone(&stored));
        }
        Ok(stored)
    }

    /// The graph that an execution has started on.
    pub async fn by_hash(&self, store: &Store, hash: &[u8]) -> Result<Arc<StoredGraph>, NoGraph> {
        if let Some(known) = self.known(hash) {
            return Ok(known);
        }
        let Some(source) = store.load_graph(hash).await? else {
            return Err(NoGraph::Broken(
                "the graph that this execution has started on is not stored any more".to_owned(),
            ));
        };
        Ok(self.keep(parse(hash.to_vec(), source)?))
    }

    fn known(&self, hash: &[u8]) -> Option<Arc<StoredGraph>> {
        self.lock().by_hash.get(hash).map(Arc::clone)
    }

    fn keep(&self, stored: StoredGraph) -> Arc<StoredGraph> {
        let stored = Arc::new(stored);
        let mut cache = self.lock();
        if cache.by_hash.len() >= MAX_GRAPHS || cache.by_row_version.len() >= MAX_GRAPHS {
            *cache = Cache::default();
        }
        cache
            .by_hash
            .insert(stored.hash.clone(), Arc::clone(&stored));
        stored
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        // A panic while it was held left maps that are whole: each change is one call.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of `workflownode` that `load_workflow_graph.sql` returns.
///
/// # Errors
/// If it is not a JSON array of such rows.
pub fn node_rows(text: &str) -> Result<Vec<NodeRow>, serde_json::Error> {
    let rows: Vec<Row<'_>> = serde_json::from_str(text)?;
    Ok(rows.into_iter().map(NodeRow::from).collect())
}

fn raw(text: Option<&str>) -> Result<Option<&RawValue>, NoGraph> {
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|error| NoGraph::Broken(format!("graph_config cannot be read: {error}")))
}

fn parse(hash: Vec<u8>, source: String) -> Result<StoredGraph, NoGraph> {
    let broken = |error: &dyn std::fmt::Display| NoGraph::Broken(error.to_string());
    let parts: Source<'_> = serde_json::from_str(&source).map_err(|error| broken(&error))?;
    let rows: Vec<NodeRow> = match parts.nodes {
        Some(rows) => node_rows(rows.get()).map_err(|error| broken(&error))?,
        None => Vec::new(),
    };
    let graph_config = parts.graph_config.map_or("null", RawValue::get);
    let parts = graph_json::read(graph_config, &rows).map_err(|error| broken(&error))?;
    let time_limit = parts.time_limit;
    let graph = Graph::new(parts.nodes, parts.edges, parts.entry.as_ref())
        .map_err(|error| broken(&error))?;
    Ok(StoredGraph {
        graph: Arc::new(graph),
        hash,
        source,
        time_limit,
        stored_at: Mutex::default(),
    })
}
