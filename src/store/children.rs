//! Reading what has become of executions that others have started, and what is known of a workflow before that.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Store, StoreError, sql};
use crate::ids::{ExecutionId, WorkflowId};

/// An execution that another has started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildRow {
    /// Its name, `exec-…`.
    pub name: String,
    /// `status`.
    pub status: String,
    /// Whether it has ended: the status is neither one that runs or waits, nor a failure that will be retried.
    pub is_final: bool,
    /// `error_message`.
    pub error_message: Option<String>,
    /// `execution_state` as text, for one that has ended: `host::state_json::read` finds its data in it.
    pub execution_state: Option<String>,
}

/// What must be known of a workflow before it is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkflowFacts {
    /// `is_active`.
    pub is_active: bool,
    /// `version`.
    pub version: i32,
    /// `name`.
    pub name: String,
}

impl Store {
    /// What has become of these executions. Those that are gone are missing in the answer.
    pub async fn load_children(
        &self,
        children: &[ExecutionId],
    ) -> Result<HashMap<ExecutionId, ChildRow>, StoreError> {
        let ids: Vec<Uuid> = children.iter().map(|child| child.0).collect();
        let rows = self.query(&sql::LOAD_CHILDREN, &[&ids]).await?;
        rows.iter()
            .map(|row| {
                let child = ChildRow {
                    name: row.try_get("name")?,
                    status: row.try_get("status")?,
                    is_final: row.try_get("is_final")?,
                    error_message: row.try_get("error_message")?,
                    execution_state: row.try_get("execution_state")?,
                };
                Ok((ExecutionId(row.try_get("id")?), child))
            })
            .collect()
    }

    /// What is known of a workflow; `None` if there is no such workflow.
    pub async fn load_workflow_facts(
        &self,
        workflow: WorkflowId,
    ) -> Result<Option<WorkflowFacts>, StoreError> {
        let rows = self
            .query(&sql::LOAD_WORKFLOW_FACTS, &[&workflow.0])
            .await?;
        rows.first()
            .map(|row| {
                Ok(WorkflowFacts {
                    is_active: row.try_get("is_active")?,
                    version: row.try_get("version")?,
                    name: row.try_get("name")?,
                })
            })
            .transpose()
    }
}
