//! `workflow-worker nodes`: the node types, with what their configuration may hold. Needs no database and no setting.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::{EXIT_USAGE, output};
use crate::activities::Spec;
use crate::activities::registry::Registry;
use crate::activities::spec::{COMMON, Holds, Key};
use crate::config::NodeSettings;
use crate::worker;

/// Arguments of `nodes`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only this type
    #[arg(value_name = "TYPE")]
    node_type: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Types that are one and the same.
struct Entry {
    names: Vec<&'static str>,
    spec: &'static Spec,
    /// Whether the worker runs them itself.
    is_own: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let settings = NodeSettings::from_env(|_| None)?;
    let registry = worker::registry(&settings).context("nodes")?;
    let mut entries = entries(&registry);
    if let Some(wanted) = &options.node_type {
        entries.retain(|entry| entry.names.contains(&wanted.as_str()));
        if entries.is_empty() {
            output::error(&format!(
                "{wanted:?} is no node type that is known here; `workflow-worker nodes` lists those that are, and any \
                 other runs on an activity host"
            ));
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    }
    if options.json {
        let types: Vec<Value> = entries.iter().map(Entry::to_json).collect();
        let common: Vec<Value> = COMMON.iter().map(key_json).collect();
        let all = json!({"types": types, "common_keys": common});
        output::line(&serde_json::to_string_pretty(&all)?);
    } else {
        entries.iter().for_each(Entry::print);
        output::line("any node");
        print_keys(COMMON);
    }
    Ok(ExitCode::SUCCESS)
}

/// The types in the order of their first names.
fn entries(registry: &Registry) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (name, spec) in registry.catalogue() {
        match entries
            .iter_mut()
            .find(|entry| std::ptr::eq(entry.spec, spec))
        {
            Some(entry) => entry.names.push(name),
            None => entries.push(Entry {
                names: vec![name],
                spec,
                is_own: registry.is_own(name),
            }),
        }
    }
    entries
}

impl Entry {
    fn runs_on(&self) -> &'static str {
        if self.is_own {
            "worker"
        } else {
            "activity host"
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "types": self.names,
            "about": self.spec.about,
            "runs_on": self.runs_on(),
            "branches": self.spec.branches,
            "keys": self.spec.keys.iter().map(key_json).collect::<Vec<_>>(),
        })
    }

    fn print(&self) {
        output::line(&self.names.join(", "));
        output::line(&format!("  {}", self.spec.about));
        if !self.is_own {
            output::line("  It runs on an activity host.");
        }
        if !self.spec.branches.is_empty() {
            let branches: Vec<&str> = self
                .spec
                .branches
                .iter()
                .map(|branch| match *branch {
                    "*" => "those that its configuration names",
                    other => other,
                })
                .collect();
            output::line(&format!("  Branches: {}", branches.join(", ")));
        }
        print_keys(self.spec.keys);
    }
}

fn print_keys(keys: &[Key]) {
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let names: Vec<&str> = [key.name]
                .into_iter()
                .chain(key.or.iter().copied())
                .collect();
            let required = if key.is_required { ", required" } else { "" };
            vec![
                format!("    {}", names.join(" | ")),
                format!("{}{required}", holds(key.holds)),
                key.about.to_owned(),
            ]
        })
        .collect();
    output::table(&rows);
    output::line("");
}

fn key_json(key: &Key) -> Value {
    let mut value = json!({
        "name": key.name,
        "other_names": key.or,
        "holds": holds(key.holds),
        "required": key.is_required,
        "about": key.about,
    });
    if let (Holds::Choice(words), Some(object)) = (key.holds, value.as_object_mut()) {
        object.insert("holds".to_owned(), "choice".into());
        object.insert("choices".to_owned(), words.into());
    }
    value
}

fn holds(holds: Holds) -> String {
    match holds {
        Holds::Text => "text".to_owned(),
        Holds::Number => "number".to_owned(),
        Holds::Flag => "true/false".to_owned(),
        Holds::Choice(words) => words.join("/"),
        Holds::Object => "object".to_owned(),
        Holds::List => "list".to_owned(),
        Holds::Any => "any JSON".to_owned(),
        Holds::Expression => "expression".to_owned(),
        Holds::Code => "code".to_owned(),
    }
}
