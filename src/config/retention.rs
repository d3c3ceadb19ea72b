//! For how long history is kept.

use std::time::Duration;

use super::reader::Reader;
use super::settings;

/// For how long history is kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionConfig {
    /// How long after the end of an execution; `None` for ever.
    pub keep: Option<Duration>,
    /// Whether the platform's own rows go as well.
    pub prune_host_tables: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> RetentionConfig {
    const DAY: Duration = Duration::from_secs(86_400);
    let days = reader.integer(&settings::HISTORY_RETENTION_DAYS);
    RetentionConfig {
        keep: (days > 0).then(|| DAY * days),
        prune_host_tables: reader.flag(&settings::PRUNE_HOST_TABLES),
    }
}
