//! Which changes of executions are told to others by NOTIFY.

use super::{Store, StoreError, sql};
use crate::config::Events;

impl Store {
    /// Sets it, for the whole database. Returns whether that was a change.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if somebody holds the platform's table for long; [`StoreError::Schema`] if this role does not
    /// own it.
    pub async fn set_events(&self, events: Events) -> Result<bool, StoreError> {
        let rows = self.query(&sql::SET_EVENTS, &[&events.as_str()]).await?;
        Ok(rows.first().is_some_and(|row| row.get("is_changed")))
    }
}
