//! Limits on how many executions run or start: letting go what waits for them.
//!
//! Whether there is room is decided in the database alone (`sql/migrations/0005_queue.sql`), under a lock per limit; here
//! is only when to ask.

use super::{Store, StoreError, sql};

/// What a look at limits has done.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Admitted {
    /// How many executions were let go: they are due now.
    pub let_go: i32,
    /// Where the sweep goes on; `None` if it has reached its end, or there was none.
    pub next_key: Option<String>,
    /// The same call would let go more.
    pub is_more: bool,
}

impl Store {
    /// Lets go what waits for the limits `ended` (those of executions that have ended), for rates that have opened, and,
    /// with `sweep_after`, for the next limits after that key for which something waits (`""`: from the first).
    pub async fn admit(
        &self,
        ended: &[String],
        sweep_after: Option<&str>,
    ) -> Result<Admitted, StoreError> {
        let rows = self.query(&sql::ADMIT, &[&ended, &sweep_after]).await?;
        let Some(row) = rows.first() else {
            return Ok(Admitted::default());
        };
        let last_key: Option<String> = row.try_get("last_key")?;
        Ok(Admitted {
            let_go: row.try_get("let_go")?,
            next_key: last_key.filter(|key| !key.is_empty()),
            is_more: row.try_get("is_more")?,
        })
    }

    /// Removes places and starts that count under no limit any more. Returns how many starts were removed.
    pub async fn forget_uses(&self) -> Result<usize, StoreError> {
        self.query_count(&sql::FORGET_USES, &[]).await
    }
}
