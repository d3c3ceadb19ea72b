//! Who may import whom, and how long a file may be: `docs/ARCHITECTURE.md` has the same list with reasons.

use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top. A module uses itself and the lines above it here, never its own line, never below.
const LAYERS: &[&[&str]] = &[
    &["ids", "retry"],
    &["engine", "cron"],
    &["host"],
    // From here on a clock may be read …
    &["clock"],
    // … `expr` reads it for its time limits, and does no other I/O.
    &["expr"],
    // From here on I/O is allowed.
    &["config"],
    &["telemetry"],
    &["store", "activities", "dev"],
    // `lint` does no I/O; it asks the activities what they need.
    &[
        "wake",
        "writer",
        "lease",
        "scheduler",
        "retention",
        "completion_mail",
        "lint",
    ],
    &["runner"],
    &["dispatcher"],
    &["worker"],
    &["cli"],
    &["main", "lib"],
];

/// Lines of a file before its inline tests.
const MAX_LINES: usize = 400;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 50, "the test looks in the wrong place");
    found
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy()
                .into_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (relative.to_path_buf(), module, text)
        })
        .collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a line names as `crate::module`.
fn imports(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split("crate::")
        .skip(1)
        .map(|rest| {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|module| !module.is_empty())
        .collect()
}

#[test]
fn no_module_imports_upwards_or_sideways() {
    let mut wrong = Vec::new();
    for (path, module, text) in all_sources() {
        let Some(layer) = layer_of(&module) else {
            wrong.push(format!(
                "{}: module {module} is not in the list of layers",
                path.display()
            ));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for import in imports(line) {
                match layer_of(import) {
                    _ if import == module => {}
                    Some(other) if other < layer => {}
                    Some(_) => wrong.push(format!(
                        "{}:{}: {module} uses {import}",
                        path.display(),
                        number + 1
                    )),
                    None => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_finder_sees_planted_imports() {
    assert_eq!(imports("use crate::engine::{Graph, Step};"), ["engine"]);
    assert_eq!(
        imports("let x = crate::clock::now(); // crate::cli"),
        ["clock"]
    );
    assert!(imports("use std::sync::Arc;").is_empty());
}

#[test]
fn a_file_tells_one_story() {
    let mut too_long = Vec::new();
    for (path, _, text) in all_sources() {
        if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]\nmod"))
            .count();
        let before_tests = text
            .find("#[cfg(test)]\nmod tests {")
            .map_or(lines, |at| text[..at].lines().count());
        if before_tests > MAX_LINES {
            too_long.push(format!("{}: {before_tests} lines", path.display()));
        }
    }
    assert!(too_long.is_empty(), "{}", too_long.join("\n"));
}
