//! The commands that call the SQL API (`docs/sql.md`): what they are named, and which file does each.

use clap::Subcommand;

use super::{access, control, executions, limits, schedules, signals, start};
use crate::config::Config;

/// An execution is named by its id or by its name (`exec-…`), a workflow by its id or by its name.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start an execution of a workflow
    Start(start::StartOptions),
    /// Start an execution anew, from its beginning or from a node
    Replay(start::ReplayOptions),
    /// List executions, the newest first
    List(executions::ListOptions),
    /// Show an execution: its state, its steps, its log
    Show(executions::ShowOptions),
    /// Let nothing more of an execution start until it is resumed
    Pause(control::One),
    /// Let a paused execution go on
    Resume(control::One),
    /// End an execution, or all of a workflow
    #[command(visible_alias = "cancel")]
    Terminate(control::TerminateOptions),
    /// Try a failed execution again where it failed, now
    Retry(control::One),
    /// Turn debug mode on (paused, one node per step), or off
    Debug(control::DebugOptions),
    /// Run one node of an execution in debug mode
    Step(control::One),
    /// Change the priority of an execution that waits for a slot
    Priority(control::PriorityOptions),
    /// Send a signal to an execution
    Signal(signals::SignalOptions),
    /// List the requests for an approval that are open
    Approvals(signals::ListOptions),
    /// Answer a request for an approval with yes
    Approve(signals::AnswerOptions),
    /// Answer a request for an approval with no
    Reject(signals::AnswerOptions),
    /// Answer a request for an approval with one of its options
    Decide(signals::DecideOptions),
    /// Bound how many executions run, or start, at a time; without arguments list the bounds
    Limit(limits::Options),
    /// Make or replace a schedule
    Schedule(schedules::ScheduleOptions),
    /// Remove a schedule
    Unschedule(schedules::UnscheduleOptions),
    /// List schedules
    Schedules(schedules::ListOptions),
    /// Say which events are told to listeners on the channel `workflow_worker_events`, or set it
    Events(access::EventsOptions),
    /// Let a role use the SQL API
    Grant(access::GrantOptions),
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Start(options) => start::start(config, &options).await,
        Command::Replay(options) => start::replay(config, &options).await,
        Command::List(options) => executions::list(config, &options).await,
        Command::Show(options) => executions::show(config, &options).await,
        Command::Pause(options) => control::pause(config, &options).await,
        Command::Resume(options) => control::resume(config, &options).await,
        Command::Terminate(options) => control::terminate(config, &options).await,
        Command::Retry(options) => control::retry(config, &options).await,
        Command::Debug(options) => control::debug(config, &options).await,
        Command::Step(options) => control::step(config, &options).await,
        Command::Priority(options) => control::priority(config, &options).await,
        Command::Signal(options) => signals::signal(config, &options).await,
        Command::Approvals(options) => signals::list(config, &options).await,
        Command::Approve(options) => signals::approve(config, &options).await,
        Command::Reject(options) => signals::reject(config, &options).await,
        Command::Decide(options) => signals::decide(config, &options).await,
        Command::Limit(options) => limits::run(config, &options).await,
        Command::Schedule(options) => schedules::schedule(config, &options).await,
        Command::Unschedule(options) => schedules::unschedule(config, &options).await,
        Command::Schedules(options) => schedules::list(config, &options).await,
        Command::Events(options) => access::events(config, &options).await,
        Command::Grant(options) => access::grant(config, &options).await,
    }
}
