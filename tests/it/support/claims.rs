//! Claims by hand, without a worker.

use workflow_worker::ids::WorkerId;
use workflow_worker::store::claim::{NextDue, Taken};
use workflow_worker::store::{Store, StoreError};

/// Claims up to `limit` due executions; says what was taken, and what comes next.
pub(crate) async fn claim(
    store: &Store,
    worker: WorkerId,
    limit: usize,
) -> (Taken, Result<NextDue, StoreError>) {
    let mut taken = Taken::default();
    let next = store
        .claim(worker, limit, None, |brought| taken = brought)
        .await;
    (taken, next)
}
