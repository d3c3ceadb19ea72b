//! Finding what the triggers have missed.

use std::time::Duration;

use super::{Store, StoreError, sql};

/// How many rows one repair takes on; the next one goes on with the rest.
pub const REPAIR_LIMIT: i64 = 1_000;

impl Store {
    /// Puts runnable executions that started within `adopt_max_age` into the run queue if they have no place in it;
    /// with a `window`, only the newest. Returns how many were added.
    pub async fn repair(
        &self,
        adopt_max_age: Duration,
        window: Option<Duration>,
    ) -> Result<usize, StoreError> {
        let window = window.map(|window| window.as_secs_f64());
        self.query_count(
            &sql::REPAIR,
            &[&adopt_max_age.as_secs_f64(), &window, &REPAIR_LIMIT],
        )
        .await
    }

    /// Makes executions due that were resumed while triggers were off, those whose worker has no row, and those that
    /// wait for a signal or a child that has come and of which nothing has told them. Returns how many.
    pub async fn repair_parked(&self) -> Result<usize, StoreError> {
        let parked = self
            .query_count(&sql::REPAIR_PARKED, &[&REPAIR_LIMIT])
            .await?;
        let waiting = self
            .query_count(&sql::REPAIR_WAITING, &[&REPAIR_LIMIT])
            .await?;
        Ok(parked + waiting)
    }

    /// How many runnable host rows are older than `max_age` and left alone.
    pub async fn count_left_alone(&self, max_age: Duration) -> Result<i64, StoreError> {
        let rows = self
            .query(&sql::COUNT_LEFT_ALONE, &[&max_age.as_secs_f64()])
            .await?;
        rows.first()
            .map_or(Ok(0), |row| Ok(row.try_get("left_alone")?))
    }

    /// Fails runnable host rows older than `max_age` that are left alone, a bounded number of them. Returns how many.
    pub async fn fail_left_alone(
        &self,
        max_age: Duration,
        message: &str,
    ) -> Result<usize, StoreError> {
        let rows = self
            .query(
                &sql::FAIL_LEFT_ALONE,
                &[&max_age.as_secs_f64(), &message, &REPAIR_LIMIT],
            )
            .await?;
        Ok(rows.len())
    }
}
