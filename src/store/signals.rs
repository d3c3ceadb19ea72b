//! Reading the signals of an execution.

use serde_json::Value;

use super::{Store, StoreError, sql};
use crate::host::signals::SignalRow;
use crate::ids::ExecutionId;

impl Store {
    /// The signals of an execution that are not processed, and the processed ones that may have been requests; in the
    /// order in which they were received.
    pub async fn load_signals(&self, execution: ExecutionId) -> Result<Vec<SignalRow>, StoreError> {
        let rows = self.query(&sql::LOAD_SIGNALS, &[&execution.0]).await?;
        rows.iter()
            .map(|row| {
                Ok(SignalRow {
                    id: row.try_get("id")?,
                    signal_type: row.try_get("signal_type")?,
                    data: data_from(row.try_get("signal_data")?),
                    received_at: row.try_get("received_at")?,
                    is_processed: row.try_get("processed")?,
                })
            })
            .collect()
    }
}

/// The column takes JSON that no reader holds (a number of a thousand digits before the point, a thousand levels): such
/// a text is kept as it is. It can be nobody's decision.
fn data_from(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| {
        serde_json::from_str(text).unwrap_or_else(|_unreadable| Value::String(text.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_any_kind_are_read_or_kept_as_text() {
        assert_eq!(data_from(None), Value::Null);
        assert_eq!(data_from(Some("[1]")), serde_json::json!([1]));
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        assert_eq!(data_from(Some(&deep)), Value::String(deep.clone()));
    }
}
