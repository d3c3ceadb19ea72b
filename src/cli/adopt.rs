//! `workflow-worker adopt`: what to do with running executions that are older than the installation.

use std::time::Duration;

use clap::Args;

use super::output;
use crate::config::Config;
use crate::store::Store;

/// Older than any database: `adopt` without a limit.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// Only executions that started at most so many hours ago
    #[arg(long, value_name = "HOURS", conflicts_with = "fail")]
    max_age_hours: Option<f64>,
    /// Fail them instead of running them
    #[arg(long)]
    fail: bool,
    /// The error message of those that are failed
    #[arg(
        long,
        requires = "fail",
        default_value = "the execution was abandoned before this worker was installed"
    )]
    message: String,
}

pub(super) async fn run(config: &Config, options: Options) -> anyhow::Result<()> {
    let store = Store::new(&config.database)?;
    let limit = config.worker.adopt_max_age;
    let left_alone = store.count_left_alone(limit).await?;
    output::line(&format!(
        "{left_alone} execution(s) that started more than {limit:?} ago are left alone"
    ));
    let mut done = 0;
    loop {
        let changed = if options.fail {
            store.fail_left_alone(limit, &options.message).await?
        } else {
            let max_age = match options.max_age_hours {
                Some(hours) => Duration::try_from_secs_f64(hours * 3_600.0)?,
                None => FOR_EVER,
            };
            store.repair(max_age, None).await?
        };
        if changed == 0 {
            break;
        }
        done += changed;
    }
    let what = if options.fail {
        "failed"
    } else {
        "put into the run queue"
    };
    output::line(&format!("{done} execution(s) {what}"));
    Ok(())
}
