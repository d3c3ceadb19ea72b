//! Reading the graphs: a workflow's as it is now, and the one that an execution has started on.

use super::{Store, StoreError, sql};
use crate::ids::WorkflowId;

/// A workflow's graph as it is now.
#[derive(Clone, Debug)]
pub struct WorkflowGraph {
    /// `graph_config` as text; `None` for SQL NULL.
    pub graph_config: Option<String>,
    /// The rows of `workflownode` as a JSON array; `None` if there are none.
    pub node_rows: Option<String>,
    /// Names the version of the workflow's row that was read.
    pub row_version: String,
}

impl Store {
    /// The graph of a workflow as it is now, or `None` if the workflow is gone.
    pub async fn load_workflow_graph(
        &self,
        workflow: WorkflowId,
    ) -> Result<Option<WorkflowGraph>, StoreError> {
        let rows = self
            .query(&sql::LOAD_WORKFLOW_GRAPH, &[&workflow.0])
            .await?;
        rows.first()
            .map(|row| {
                Ok(WorkflowGraph {
                    graph_config: row.try_get("graph_config")?,
                    node_rows: row.try_get("node_rows")?,
                    row_version: row.try_get("workflow_row_version")?,
                })
            })
            .transpose()
    }

    /// The source of a graph that an execution has started on.
    pub async fn load_graph(&self, hash: &[u8]) -> Result<Option<String>, StoreError> {
        let rows = self.query(&sql::LOAD_GRAPH, &[&hash]).await?;
        rows.first()
            .map(|row| Ok(row.try_get("source")?))
            .transpose()
    }
}
