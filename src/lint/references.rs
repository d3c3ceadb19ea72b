//! Templates and expressions that read the output of a node: whether that node exists and can have run by then.

use super::texts;
use super::{Finding, View, nearest, rule};
use crate::engine::{GraphNode, Reading};
use crate::expr::path::Path;
use crate::expr::template::{Hole, Piece, Template};

/// How the data call the output of a node.
const OUTPUT: &str = "_output";

/// A node that is read.
enum Mention {
    Known(String),
    Unknown(String, String),
}

pub(super) fn check(view: &View<'_>, reading: &Reading, findings: &mut Vec<Finding>) {
    for node in view.nodes {
        let mut mentions = Vec::new();
        in_templates(view, node, &mut mentions);
        in_expressions(view, node, &mut mentions);
        for (place, mention) in mentions {
            let finding = match mention {
                Mention::Unknown(name, hint) => Finding::new(
                    &rule::UNKNOWN_NODE,
                    format!("there is no node \"{name}\" whose output could be read{hint}"),
                ),
                Mention::Known(id) => {
                    if reading.can_run_before(&id.as_str().into(), &node.id) {
                        continue;
                    }
                    let what = if id == node.id.as_str() {
                        "it reads its own output".to_owned()
                    } else {
                        format!("it reads the output of \"{id}\"")
                    };
                    Finding::new(
                        &rule::READS_LATER_NODE,
                        format!(
                            "{what}, which cannot be there yet: no path leads from there to here"
                        ),
                    )
                }
            };
            let finding = finding.at(&node.id).in_key(place);
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
}

fn in_templates(view: &View<'_>, node: &GraphNode, mentions: &mut Vec<(String, Mention)>) {
    for found in texts::templates(view, node) {
        let Ok(template) = Template::parse(found.text) else {
            continue;
        };
        for piece in &template.pieces {
            let Piece::Hole(hole) = piece else {
                continue;
            };
            in_hole(view, hole, &found.place, mentions);
            if let Some(source) = hole.expression() {
                in_source(view, source, &found.place, mentions);
            }
        }
    }
}

fn in_expressions(view: &View<'_>, node: &GraphNode, mentions: &mut Vec<(String, Mention)>) {
    for found in texts::expressions(view, node) {
        match Hole::bare(found.text) {
            Ok(hole) if found.may_be_path && hole.expression().is_none() => {
                in_hole(view, &hole, &found.place, mentions);
            }
            _ => in_source(view, found.text, &found.place, mentions),
        }
    }
}

/// The paths of a hole, unless something stands in for what is not there.
fn in_hole(view: &View<'_>, hole: &Hole<'_>, place: &str, mentions: &mut Vec<(String, Mention)>) {
    if !hole.has_default() {
        let found = hole.paths().filter_map(|path| in_path(view, path));
        mentions.extend(found.map(|mention| (place.to_owned(), mention)));
    }
}

fn in_path(view: &View<'_>, path: &Path<'_>) -> Option<Mention> {
    let mut steps = path.steps();
    let first = steps.next();
    match (path.head(), first) {
        ("nodes", Some(id)) if view.has(id) => Some(Mention::Known(id.to_owned())),
        ("nodes", Some(id)) => Some(unknown(view, id)),
        ("input" | "data", Some(key)) => output_of(view, key),
        (head, _) if view.has(head) => Some(Mention::Known(head.to_owned())),
        (head, step) => output_of(view, head).or_else(|| {
            let is_like_one = step == Some("output") && nearest(head, ids(view)).is_some();
            is_like_one.then(|| unknown(view, head))
        }),
    }
}

/// The node whose output the data hold under this key.
fn output_of(view: &View<'_>, key: &str) -> Option<Mention> {
    let id = key.strip_suffix(OUTPUT)?;
    view.has(id).then(|| Mention::Known(id.to_owned()))
}

fn ids<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'v str> {
    view.nodes.iter().map(|node| node.id.as_str())
}

fn unknown(view: &View<'_>, id: &str) -> Mention {
    let hint =
        nearest(id, ids(view)).map_or_else(String::new, |meant| format!("; is \"{meant}\" meant?"));
    Mention::Unknown(id.to_owned(), hint)
}

/// Outputs that an expression names as the data do, such as `call_output.status`.
fn in_source(view: &View<'_>, source: &str, place: &str, mentions: &mut Vec<(String, Mention)>) {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '-');
    for (at, _) in source.match_indices(OUTPUT) {
        let end = at + OUTPUT.len();
        let is_end = source
            .get(end..)
            .is_some_and(|rest| !rest.starts_with(is_part));
        let before = source.get(..at).unwrap_or_default();
        let start = before.trim_end_matches(is_part).len();
        let id = before.get(start..).unwrap_or_default();
        if is_end && view.has(id) {
            mentions.push((place.to_owned(), Mention::Known(id.to_owned())));
        }
    }
}
