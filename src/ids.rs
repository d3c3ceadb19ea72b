//! The identifiers, each a type of its own, so that a fence cannot be passed where a visit is meant.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An instant in UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

uuid_id! {
    /// `workflowexecution.id`. (The text `exec-…` of the column `execution_id` is its *name*.)
    ExecutionId
}
uuid_id! {
    /// `workflow.id`.
    WorkflowId
}
uuid_id! {
    /// `workflowschedule.id`.
    ScheduleId
}
uuid_id! {
    /// One process of the worker, from its start to its end. Never reused.
    WorkerId
}

/// The fencing token of a lease: drawn from a sequence at each claim, named by each write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub i64);

/// A node of a graph, by the id that its author gave it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Arc<str>);

impl NodeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeId {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({:?})", &*self.0)
    }
}

/// The n-th time that a token enters a node, from 1.
pub type Visit = u32;

/// The n-th try of a visit, from 1.
pub type Attempt = u32;

/// The stable idempotency key of a visit: the same for each attempt, so that a receiver can tell a repeated call
/// from a new one.
pub fn idempotency_key(execution: ExecutionId, node: &NodeId, visit: Visit) -> String {
    format!("{execution}:{node}:{visit}")
}

/// An id made from a key: the same for the same key, so that whoever repeats an insert repeats its id. A UUID of version
/// 8 (RFC 9562, section 5.8) with the first bytes of the key's SHA-256.
pub fn derived_uuid(key: &str) -> Uuid {
    let mut bytes = [0; 16];
    for (byte, of_digest) in bytes.iter_mut().zip(Sha256::digest(key.as_bytes())) {
        *byte = of_digest;
    }
    Uuid::new_v8(bytes)
}

/// A new id that begins with a time: rows that are written one after another stand side by side in the index.
pub fn uuid_at(time: Timestamp) -> Uuid {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        seconds,
        time.timestamp_subsec_nanos(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_a_key_is_the_same_each_time_and_in_each_version() {
        let id = derived_uuid("exec:approve:1");
        assert_eq!(id, derived_uuid("exec:approve:1"));
        assert_ne!(id, derived_uuid("exec:approve:2"));
        assert_eq!(id.get_version_num(), 8);
        // What a database holds already must be found again by the next version of the worker.
        assert_eq!(
            derived_uuid("").to_string(),
            "e3b0c442-98fc-8c14-9afb-f4c8996fb924"
        );
    }
}
