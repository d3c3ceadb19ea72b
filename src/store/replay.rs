//! The execution that another one replays.

use super::{Store, StoreError, sql};
use crate::ids::{ExecutionId, WorkflowId};

/// What a replay needs of the row of its original.
#[derive(Clone, Debug)]
pub struct OriginalRow {
    /// `workflow.id`.
    pub workflow_id: WorkflowId,
    /// The name `exec-…`.
    pub execution_name: String,
    /// `execution_state` as text.
    pub execution_state: Option<String>,
}

impl Store {
    /// The row of an execution that is to be replayed; `None` if there is none.
    pub async fn load_original(
        &self,
        execution: ExecutionId,
    ) -> Result<Option<OriginalRow>, StoreError> {
        let rows = self.query(&sql::LOAD_ORIGINAL, &[&execution.0]).await?;
        rows.first()
            .map(|row| {
                Ok(OriginalRow {
                    workflow_id: WorkflowId(row.try_get("workflow_id")?),
                    execution_name: row.try_get("execution_name")?,
                    execution_state: row.try_get("execution_state")?,
                })
            })
            .transpose()
    }
}
