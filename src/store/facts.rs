//! What must be known of the platform's tables and of the worker's own role.

use super::{Store, StoreError, sql};

/// Read once at start.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Whether `workflowexecution.execution_state` is `jsonb` and not `json`.
    pub is_state_jsonb: bool,
    /// The role that the worker connects as.
    pub role: String,
    /// Row-level security hides every row from that role.
    pub sees_nothing: bool,
    /// It may read and write what it must.
    pub has_rights: bool,
    /// The server's version.
    pub server_version: String,
    /// The server is a replica and takes no writes.
    pub is_replica: bool,
}

impl HostFacts {
    /// Why this worker would see or change nothing, if that is so.
    pub fn visibility_problem(&self) -> Option<String> {
        let role = &self.role;
        if self.is_replica {
            Some("the database is a replica and takes no writes: connect to the primary".to_owned())
        } else if self.sees_nothing {
            Some(format!(
                "row-level security hides every row of public.workflowexecution from role {role:?}: connect as the owner \
                 of the tables (postgres on Supabase) or as a role with BYPASSRLS, or make {role:?} a member of \
                 service_role"
            ))
        } else if !self.has_rights {
            Some(format!(
                "role {role:?} lacks rights on the platform's tables: it needs SELECT on workflow, SELECT and \
                 UPDATE on workflowschedule, SELECT, INSERT and UPDATE on workflowexecution and workflowsignal, and \
                 INSERT on executionlog"
            ))
        } else {
            None
        }
    }
}

impl Store {
    /// Reads them.
    pub async fn host_facts(&self) -> Result<HostFacts, StoreError> {
        let rows = self.query(&sql::HOST_FACTS, &[]).await?;
        let row = rows
            .first()
            .ok_or_else(|| StoreError::Unavailable("no answer".to_owned()))?;
        Ok(HostFacts {
            is_state_jsonb: row.try_get::<_, Option<&str>>("state_type")? == Some("jsonb"),
            role: row.try_get("role_name")?,
            sees_nothing: row.try_get("sees_nothing")?,
            has_rights: row.try_get("has_rights")?,
            server_version: row.try_get("server_version")?,
            is_replica: row.try_get("is_replica")?,
        })
    }
}
