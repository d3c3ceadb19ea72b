//! `workflow-worker lint`: what is wrong or ambiguous in a workflow, before it runs.
//!
//! Exit codes: 0 nothing is wrong; 65 (`EX_DATAERR`) there are errors, or with `--strict` warnings; 1 it could not be
//! checked; 64 the configuration or the arguments are wrong.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EXIT_DATA, EXIT_USAGE, output};
use crate::config::{Config, ConfigErrors, NodeSettings, process_variable};
use crate::host::graph_json::NodeRow;
use crate::ids::WorkflowId;
use crate::lint::{self, Finding, Severity, Subject};
use crate::runner::graphs;
use crate::store::Store;
use crate::worker;

/// Arguments of `lint`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// A file with a `graph_config` or a whole workflow row as JSON, `-` for standard input, or the UUID of a workflow in
    /// the database
    #[arg(value_name = "FILE|WORKFLOW_ID")]
    target: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
}

/// What is to be checked, as it was read.
#[derive(Debug, Default, PartialEq)]
struct Document {
    graph_config: String,
    rows: Vec<NodeRow>,
    workflow: Option<Uuid>,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let target = options.target.as_str();
    let in_database = Uuid::parse_str(target)
        .ok()
        .filter(|_| !Path::new(target).exists());
    let wrong = |errors: ConfigErrors| {
        output::error(&errors.to_string());
        Ok(ExitCode::from(EXIT_USAGE))
    };
    let (document, settings) = match in_database {
        Some(workflow) => match Config::from_process_env() {
            Ok(config) => (load(&config, workflow).await?, NodeSettings::of(&config)),
            Err(errors) => return wrong(errors),
        },
        None => match NodeSettings::from_env(process_variable) {
            Ok(settings) => (read(&text_of(target)?), settings),
            Err(errors) => return wrong(errors),
        },
    };
    let registry = worker::registry(&settings)?;
    let subject = Subject {
        graph_config: &document.graph_config,
        rows: &document.rows,
        workflow: document.workflow,
    };
    let findings = lint::check(&subject, &registry);
    report(&findings, options)
}

fn text_of(target: &str) -> anyhow::Result<String> {
    if target == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(target).with_context(|| format!("{target} cannot be read"))
}

/// A `graph_config`, or a row that has one. What is not JSON is left to be found.
fn read(text: &str) -> Document {
    let row = match serde_json::from_str(text) {
        Ok(Value::Object(row)) if row.contains_key("graph_config") => row,
        _ => {
            return Document {
                graph_config: text.to_owned(),
                ..Document::default()
            };
        }
    };
    let graph_config = match row.get("graph_config") {
        // A column of type text, or a row that was written by hand.
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "null".to_owned(),
    };
    let id = row.get("id").and_then(Value::as_str);
    Document {
        graph_config,
        rows: Vec::new(),
        workflow: id.and_then(|id| Uuid::parse_str(id).ok()),
    }
}

async fn load(config: &Config, workflow: Uuid) -> anyhow::Result<Document> {
    let store = Store::new(&config.database)?;
    let Some(row) = store.load_workflow_graph(WorkflowId(workflow)).await? else {
        bail!("there is no workflow {workflow} in {}", config.database.url);
    };
    let rows = match &row.node_rows {
        Some(text) => graphs::node_rows(text)?,
        None => Vec::new(),
    };
    Ok(Document {
        graph_config: row.graph_config.unwrap_or_else(|| "null".to_owned()),
        rows,
        workflow: Some(workflow),
    })
}

fn report(findings: &[Finding], options: &Options) -> anyhow::Result<ExitCode> {
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.rule.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if options.json {
        let findings: Vec<Value> = findings.iter().map(Finding::to_json).collect();
        let all = json!({"errors": errors, "warnings": warnings, "findings": findings});
        output::line(&serde_json::to_string_pretty(&all)?);
    } else {
        for finding in findings {
            output::line(&finding.to_string());
        }
        output::line(&format!(
            "{}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        ));
    }
    let is_bad = errors > 0 || (options.strict && warnings > 0);
    Ok(if is_bad {
        ExitCode::from(EXIT_DATA)
    } else {
        ExitCode::SUCCESS
    })
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "15e7c5ff-7849-42ca-8ab4-c07979e1ec3f";

    #[test]
    fn a_row_and_a_graph_are_both_read() {
        let graph = r#"{"nodes":[],"edges":[]}"#;
        let plain = read(graph);
        assert_eq!((plain.graph_config.as_str(), plain.workflow), (graph, None));
        for column in [graph.to_owned(), json!(graph).to_string()] {
            let row = read(&format!(r#"{{"id":"{ID}","graph_config":{column}}}"#));
            assert_eq!(row.graph_config, graph);
            assert_eq!(row.workflow, Uuid::parse_str(ID).ok());
        }
        assert_eq!(read(r#"{"graph_config":null}"#).graph_config, "null");
        assert_eq!(read("no json").graph_config, "no json");
    }
}
