//! `workflow-worker config`: what is in force, secrets masked.

use super::output;
use crate::config::Config;

pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let mut rows = vec![vec![
        "VARIABLE".to_owned(),
        "VALUE".to_owned(),
        "FROM".to_owned(),
    ]];
    for setting in config.describe() {
        rows.push(vec![
            setting.name.to_string(),
            setting.value.clone(),
            setting.source.to_string(),
        ]);
    }
    output::table(&rows);
    Ok(())
}
