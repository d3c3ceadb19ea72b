//! Reading what a mail at the end of an execution tells.

use serde_json::Value;

use super::{Store, StoreError, sql};
use crate::ids::ExecutionId;

/// An execution that has ended, and whose it is.
#[derive(Clone, Debug)]
pub struct EndedExecution {
    /// The address of the workflow's owner.
    pub owner_email: String,
    /// The owner's name.
    pub owner_name: Option<String>,
    /// The workflow's name.
    pub workflow_name: String,
    /// How long it took from its start, in seconds.
    pub seconds: Option<f64>,
    /// When it ended, as text: tells this end from a later one.
    pub completed_at: Option<String>,
    /// Whether the table of templates is there.
    pub has_templates: bool,
}

impl Store {
    /// The execution, or `None` if it is gone.
    pub async fn load_ended_execution(
        &self,
        execution: ExecutionId,
    ) -> Result<Option<EndedExecution>, StoreError> {
        let rows = self
            .query(&sql::LOAD_ENDED_EXECUTION, &[&execution.0])
            .await?;
        rows.first()
            .map(|row| {
                Ok(EndedExecution {
                    owner_email: row.try_get("owner_email")?,
                    owner_name: row.try_get("owner_name")?,
                    workflow_name: row.try_get("workflow_name")?,
                    seconds: row.try_get("seconds")?,
                    completed_at: row.try_get("completed_at")?,
                    has_templates: row.try_get("has_templates")?,
                })
            })
            .transpose()
    }

    /// The active template of that slug, as a JSON object of its columns. Only where the table is there.
    pub async fn load_mail_template(&self, slug: &str) -> Result<Option<Value>, StoreError> {
        let rows = self.query(&sql::LOAD_MAIL_TEMPLATE, &[&slug]).await?;
        rows.first()
            .map(|row| {
                let text: &str = row.try_get("template")?;
                // What PostgreSQL writes as JSON can be read as JSON.
                Ok(serde_json::from_str(text).unwrap_or_default())
            })
            .transpose()
    }
}
