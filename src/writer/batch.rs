//! How gathered records become batches (pure).
//!
//! A batch holds records of one worker identity, at most one per execution, and stays below bounds on number and bytes.

use std::collections::HashSet;

use crate::store::record::Record;

/// More records than this bring no more throughput and make each wait longer for its commit.
pub(super) const MAX_RECORDS: usize = 256;

/// A statement of more bytes holds up all others; larger ones travel alone.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Splits what has gathered into batches, keeping the order.
pub(super) fn split<J>(jobs: Vec<J>, record_of: impl Fn(&J) -> &Record) -> Vec<Vec<J>> {
    let mut batches = Vec::new();
    let mut batch: Vec<J> = Vec::new();
    let mut bytes = 0;
    let mut executions = HashSet::new();
    for job in jobs {
        let record = record_of(&job);
        let weight = record.bytes();
        let other_worker = batch
            .first()
            .is_some_and(|first| record_of(first).worker != record.worker);
        if !batch.is_empty()
            && (batch.len() == MAX_RECORDS
                || bytes + weight > MAX_BYTES
                || other_worker
                || executions.contains(&record.execution_id))
        {
            batches.push(std::mem::take(&mut batch));
            executions.clear();
            bytes = 0;
        }
        executions.insert(record.execution_id);
        bytes += weight;
        batch.push(job);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{ExecutionId, Fence, WorkerId};

    fn record(worker: u128, execution: u128, bytes: usize) -> Record {
        let execution = ExecutionId(Uuid::from_u128(execution));
        Record {
            checkpoint: Some("x".repeat(bytes)),
            ..Record::new(WorkerId(Uuid::from_u128(worker)), execution, Fence(1))
        }
    }

    fn sizes(records: Vec<Record>) -> Vec<usize> {
        split(records, |record| record)
            .iter()
            .map(Vec::len)
            .collect()
    }

    #[test]
    fn small_records_of_one_worker_share_a_commit() {
        assert_eq!(sizes((0..10).map(|n| record(1, n, 100)).collect()), [10]);
    }

    #[test]
    fn an_execution_is_in_a_batch_once_so_that_steps_cannot_meet_a_foreign_fence() {
        assert_eq!(
            sizes(vec![record(1, 7, 1), record(1, 8, 1), record(1, 7, 1)]),
            [2, 1]
        );
    }

    #[test]
    fn records_of_two_identities_do_not_mix() {
        assert_eq!(sizes(vec![record(1, 1, 1), record(2, 2, 1)]), [1, 1]);
    }

    #[test]
    fn a_large_record_travels_alone() {
        let big = MAX_BYTES - 10;
        assert_eq!(
            sizes(vec![
                record(1, 1, 100),
                record(1, 2, big),
                record(1, 3, 100)
            ]),
            [1, 1, 1]
        );
    }
}
