//! `python-host`: evaluates Python expressions for a worker, which starts it. Needs no configuration and has none.

use anyhow::Context;
use clap::Args;

use crate::activities::python::serve;

/// Arguments of `python-host`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// What one expression may use, in bytes
    memory_bytes: u64,
}

/// Serves until standard input is closed.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    serve::serve(options.memory_bytes).context("python-host")
}
