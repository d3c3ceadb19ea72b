//! The command line: one file per command.
//!
//! Exit codes: 0 done; 1 it failed, and standard error says why; 64 the configuration or the arguments are wrong; 65
//! `lint` has found errors, or `cron explain` was given a bad expression; 66 there is no such execution, workflow, schedule
//! or role; 69 what was asked for cannot be done now, such as to resume what is not paused.

mod access;
mod adopt;
mod api;
mod calls;
mod code_host;
mod config;
mod control;
mod cron;
mod demo;
mod dev;
mod doctor;
mod executions;
mod health;
mod limits;
mod lint;
mod migrate;
mod nodes;
mod output;
mod prune;
mod python_host;
mod run;
mod schedules;
mod signals;
mod start;
mod uninstall;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// `EX_USAGE`: the configuration or the arguments are wrong.
const EXIT_USAGE: u8 = 64;

/// `EX_DATAERR`: what was to be looked at is wrong.
const EXIT_DATA: u8 = 65;

#[derive(Debug, Parser)]
#[command(
    name = "workflow-worker",
    version,
    about = "Runs SynthralOS workflow executions out of PostgreSQL",
    long_about = "Runs SynthralOS workflow executions out of PostgreSQL: woken by NOTIFY within milliseconds, with a \
                  poll as safety net.\n\nEverything is configured by environment variables; `workflow-worker config` \
                  lists them. Without a command it runs the worker."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the worker until it is told to stop (the default)
    Run,
    /// Bring the schema `workflow_worker` up to date
    Migrate,
    /// Remove everything that the migrations added; tables and data of the platform stay
    Uninstall(uninstall::Options),
    /// Print the configuration that is in force, secrets masked
    Config,
    /// Say what is wrong with database, schema, role and workers
    Doctor,
    /// Take on, or fail, running executions that are too old to be taken on by surprise
    Adopt(adopt::Options),
    /// Remove old history now, as the workers do once an hour
    Prune(prune::Options),
    /// Exit with 0 if a worker on this host has a fresh heartbeat, for a container's health check
    Health,
    /// List the node types with their configuration keys
    Nodes(nodes::Options),
    /// Say what is wrong or ambiguous in a workflow, and how it is read
    Lint(lint::Options),
    /// Say what a cron expression means, and when it fires
    Cron(cron::Options),
    #[command(flatten)]
    Api(api::Command),
    /// Start a throw-away PostgreSQL with the schema in it, until Ctrl-C
    Dev(dev::Options),
    /// Start a throw-away PostgreSQL and a worker, run example workflows, and show them finishing
    Demo(demo::Options),
    /// Evaluate Python expressions for the worker that started this process
    #[command(hide = true, name = crate::activities::python::COMMAND)]
    PythonHost(python_host::Options),
    /// Run a program of a user for the worker that started this process
    #[command(hide = true, name = crate::activities::code_host::COMMAND)]
    CodeHost(code_host::Options),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // --help and --version come as errors too, for standard output and with exit code 0.
            let is_request = !error.use_stderr();
            drop(error.print());
            return if is_request {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_USAGE)
            };
        }
    };
    // Without a runtime: these processes are to have as little as possible, and one thread.
    match &arguments.command {
        Some(Command::PythonHost(options)) => return finish(python_host::run(options)),
        Some(Command::CodeHost(options)) => return finish(code_host::run(options)),
        _ => {}
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("the runtime cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(dispatch(arguments.command.unwrap_or(Command::Run)));
    // Blocking threads that are in an expression are not waited for.
    runtime.shutdown_background();
    code
}

async fn dispatch(command: Command) -> ExitCode {
    // These bring their own database, or need none unless they say so; the hosts have been served.
    let command = match command {
        Command::Dev(options) => return finish(dev::run(options).await),
        Command::Demo(options) => return finish(demo::run(options).await),
        Command::Nodes(options) => return finish_with(nodes::run(&options)),
        Command::Lint(options) => return finish_with(lint::run(&options).await),
        Command::Cron(options) => return finish_with(cron::run(&options)),
        other => other,
    };
    let config = match Config::from_process_env() {
        Ok(config) => config,
        Err(errors) => {
            output::error(&errors.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match command {
        Command::Run => finish(run::run(config).await),
        Command::Migrate => finish(migrate::run(&config).await),
        Command::Uninstall(options) => finish(uninstall::run(&config, options).await),
        Command::Config => finish(config::run(&config)),
        Command::Doctor => match doctor::run(&config).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => finish(Err(error)),
        },
        Command::Adopt(options) => finish(adopt::run(&config, options).await),
        Command::Prune(options) => finish(prune::run(&config, options).await),
        Command::Health => finish(health::run(&config).await),
        Command::Api(command) => finish(api::run(&config, command).await),
        Command::Dev(_)
        | Command::Demo(_)
        | Command::Nodes(_)
        | Command::Lint(_)
        | Command::Cron(_)
        | Command::PythonHost(_)
        | Command::CodeHost(_) => ExitCode::SUCCESS,
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    finish_with(result.map(|()| ExitCode::SUCCESS))
}

fn finish_with(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            output::error(&format!("{error:#}"));
            calls::exit_code(&error).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
