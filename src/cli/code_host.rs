//! `code-host`: runs one program of a user for the worker that starts it. Needs no configuration and has none.

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::activities::code_host;
use crate::expr::javascript::typescript;

/// Arguments of `code-host`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    stage: Stage,
}

#[derive(Debug, Subcommand)]
enum Stage {
    /// Start, watch and end the program that standard input describes
    Supervise,
    /// Become a program, within bounds
    Exec {
        /// Whether the process has a user namespace of its own
        #[arg(long)]
        isolated: bool,
        /// The bounds, as JSON
        bounds: String,
        /// The program and its arguments
        #[arg(last = true)]
        argv: Vec<String>,
    },
    /// Turn the TypeScript of a file into JavaScript
    Typescript {
        /// The file with the program
        source: std::path::PathBuf,
        /// The file for the result, as JSON
        result: std::path::PathBuf,
    },
}

/// Runs one stage.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.stage {
        Stage::Supervise => code_host::supervise().context("code-host"),
        Stage::Exec {
            isolated,
            bounds,
            argv,
        } => code_host::exec(bounds, *isolated, argv)
            .with_context(|| format!("cannot start {}", argv.join(" "))),
        Stage::Typescript { source, result } => {
            let stripped = typescript::strip(&std::fs::read_to_string(source)?);
            Ok(std::fs::write(result, serde_json::to_string(&stripped)?)?)
        }
    }
}
