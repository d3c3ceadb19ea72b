//! `workflow-worker lint` and `workflow-worker nodes` as somebody who draws workflows meets them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    branch, edge, graph, insert_workflow, insert_workflow_text, node, set, trigger,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command with this on its standard input and these variables alone.
fn run(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn lint(input: &str, more: &[&str]) -> (Option<i32>, String) {
    let arguments: Vec<&str> = ["lint", "-"]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    let output = run(&arguments, input, &[]);
    let text = text(&output.stdout);
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code(), text)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The graphs that stand in a Markdown document.
fn graphs_of(document: &str) -> Vec<String> {
    document
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()))
        .filter(|block| block.contains("\"nodes\""))
        .collect()
}

#[test]
fn the_recorded_workflows_are_read_as_they_ever_were() {
    let update = workflow_worker::config::process_variable("UPDATE_LINT").is_some();
    let mut wrong = Vec::new();
    let mut cases = 0;
    for entry in fs::read_dir(root().join("tests/cases")).unwrap() {
        let path = entry.unwrap().path();
        let case: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut found = String::new();
        for graph in case["graph_config"].as_array().unwrap() {
            found.push_str(&lint(&graph.to_string(), &[]).1);
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = root().join(format!("tests/lint/{name}.txt"));
        if update {
            fs::write(&expected, &found).unwrap();
        }
        let known = fs::read_to_string(&expected).unwrap_or_default();
        if known != found {
            wrong.push(format!("{name}:\n{found}instead of\n{known}"));
        }
        cases += 1;
    }
    assert!(cases > 3, "the test looks in the wrong place");
    assert!(
        wrong.is_empty(),
        "{}\nif that is right: UPDATE_LINT=1 cargo test --test it lint",
        wrong.join("\n")
    );
}

#[test]
fn the_examples_of_the_documentation_have_no_errors() {
    let document = fs::read_to_string(root().join("docs/nodes.md")).unwrap();
    let graphs = graphs_of(&document);
    assert!(graphs.len() > 5, "the test looks in the wrong place");
    for graph in graphs {
        let host = [("WORKFLOW_ACTIVITY_URL", "http://127.0.0.1:1")];
        let output = run(&["lint", "-"], &graph, &host);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{graph}\n{}",
            text(&output.stdout)
        );
    }
}

/// The part of a document that begins with a heading which names this type.
fn section<'d>(document: &'d str, node_type: &str) -> Option<&'d str> {
    document.split("\n## ").find(|section| {
        let heading = section.lines().next().unwrap_or_default();
        heading.contains(&format!("`{node_type}`"))
    })
}

#[test]
fn each_node_type_and_each_key_is_documented() {
    let document = fs::read_to_string(root().join("docs/nodes.md")).unwrap();
    let output = run(&["nodes", "--json"], "", &[]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut missing = Vec::new();
    for entry in all["types"].as_array().unwrap() {
        for name in entry["types"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let Some(section) = section(&document, name) else {
                missing.push(format!("a heading with `{name}`"));
                continue;
            };
            for key in entry["keys"].as_array().unwrap() {
                let others = key["other_names"].as_array().unwrap();
                for key in others.iter().chain([&key["name"]]) {
                    let key = key.as_str().unwrap();
                    if !section.contains(&format!("`{key}`")) {
                        missing.push(format!("`{key}` in the section of `{name}`"));
                    }
                }
            }
        }
    }
    for key in all["common_keys"].as_array().unwrap() {
        let key = key["name"].as_str().unwrap();
        if !document.contains(&format!("`{key}`")) {
            missing.push(format!("`{key}`, which any node may have"));
        }
    }
    assert!(
        missing.is_empty(),
        "docs/nodes.md lacks\n  {}",
        missing.join("\n  ")
    );
}

#[test]
fn nodes_needs_no_setting_and_names_keys_and_branches() {
    let all = run(&["nodes"], "", &[]);
    assert!(all.status.success(), "{all:?}");
    let all = text(&all.stdout);
    for part in [
        "condition, if\n",
        "Branches: true, false",
        "It runs on an activity host.",
        "any node\n",
        "parallel_wait_mode",
    ] {
        assert!(all.contains(part), "{part} is missing in: {all}");
    }
    let one = run(&["nodes", "if", "--json"], "", &[]);
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    let types = one["types"].as_array().unwrap();
    assert_eq!(types.len(), 1);
    assert_eq!(types[0]["types"], json!(["condition", "if"]));
    assert_eq!(types[0]["runs_on"], "worker");
    assert_eq!(
        types[0]["keys"][0],
        json!({"name": "expression", "other_names": ["condition"], "holds": "expression", "required": true, "about": "what is to hold"})
    );
    let unknown = run(&["nodes", "frobnicate"], "", &[]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(text(&unknown.stderr).contains("frobnicate"));
}

fn with_warning() -> Value {
    graph(
        vec![trigger(), set("a", "x", json!(1)), set("b", "x", json!(2))],
        vec![edge("t", "a")],
    )
}

#[test]
fn the_exit_code_says_how_bad_it_is() {
    let good = graph(
        vec![trigger(), set("a", "x", json!(1))],
        vec![edge("t", "a")],
    );
    let (code, lines) = lint(&good.to_string(), &["--strict"]);
    assert_eq!(
        (code, lines.lines().last()),
        (Some(0), Some("0 errors, 0 warnings"))
    );
    let (code, lines) = lint(&with_warning().to_string(), &[]);
    assert_eq!(
        (code, lines.lines().last()),
        (Some(0), Some("0 errors, 1 warning"))
    );
    assert_eq!(lint(&with_warning().to_string(), &["--strict"]).0, Some(65));
    let bad = graph(
        vec![trigger(), node("m", "map", json!({}))],
        vec![edge("t", "m")],
    );
    let (code, lines) = lint(&bad.to_string(), &[]);
    assert_eq!(code, Some(65));
    assert!(
        lines.starts_with("error[missing-key] node \"m\", map_expression: "),
        "{lines}"
    );
    assert_eq!(lint("no json", &[]).0, Some(65));
    let gone = run(&["lint", "/nowhere/graph.json"], "", &[]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("/nowhere/graph.json cannot be read"));
    let wrong = run(
        &["lint", "-"],
        "{}",
        &[("WORKFLOW_ACTIVITY_URL", "ftp://x")],
    );
    assert_eq!(wrong.status.code(), Some(64));
    // A workflow of the database needs one.
    let id = Uuid::nil().to_string();
    assert_eq!(run(&["lint", &id], "", &[]).status.code(), Some(64));
}

#[test]
fn a_row_in_a_file_is_read_with_its_id_and_printed_as_json() {
    let id = Uuid::new_v4().to_string();
    let row = json!({
        "id": id, "name": "mine",
        "graph_config": graph(
            vec![trigger(), node("s", "sub_workflow", json!({"workflow_id": id}))],
            vec![edge("t", "s")],
        ),
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{id}.json"));
    fs::write(&path, row.to_string()).unwrap();
    let output = run(&["lint", path.to_str().unwrap(), "--json"], "", &[]);
    fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(65));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found["errors"], &found["warnings"]),
        (&json!(1), &json!(0))
    );
    let first = &found["findings"][0];
    assert_eq!(first["code"], "endless-recursion");
    assert_eq!(
        (&first["node"], &first["key"]),
        (&json!("s"), &json!("workflow_id"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_of_the_database_is_read_as_the_worker_reads_it() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let url = database.url();
    let check = |id: Uuid| run(&["lint", &id.to_string()], "", &[("DATABASE_URL", &url)]);
    let decided = graph(
        vec![
            trigger(),
            node("c", "condition", json!({"expression": "input.a"})),
            set("a", "x", json!(1)),
        ],
        vec![edge("t", "c"), branch("c", "a", "ture")],
    );
    let output = check(insert_workflow(&client, &decided).await);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text(&output.stdout).contains("is \"true\" meant?"),
        "{output:?}"
    );

    let in_rows = insert_workflow_text(&client, None).await;
    client
        .execute(
            "INSERT INTO workflownode (id, workflow_id, node_type, node_id, position_x, position_y, config)
             VALUES (gen_random_uuid(), $1, 'map', 'm', 0, 0, '{}')",
            &[&in_rows],
        )
        .await
        .unwrap();
    let output = check(in_rows);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(
        text(&output.stdout).starts_with("error[missing-key] node \"m\""),
        "{output:?}"
    );

    let gone = check(Uuid::new_v4());
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        text(&gone.stderr).contains("there is no workflow"),
        "{gone:?}"
    );
}
