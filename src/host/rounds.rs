//! What nodes see of the data where loops run: the outputs of their own round, and variables of the loops around them.
//!
//! Which round, branch or part a step belongs to is its scope (`engine::Step::scope`).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::{Step, scope_inside};
use crate::host::state_json::View;

type Object = Map<String, Value>;

impl View {
    /// When a loop has ended, what its rounds kept to themselves is gone, and so are its variables.
    pub(super) fn leave_rounds(&mut self, step: &Step) {
        if !matches!(&*step.node_type, "loop" | "for" | "while" | "repeat") {
            return;
        }
        let inside = scope_inside(&step.scope, &step.node, step.visit);
        self.rounds
            .retain(|scope, _| !scope.starts_with(inside.as_str()));
        if let Some(of_loops) = self
            .variables
            .get("loop")
            .and_then(Value::as_object)
            .filter(|of_loops| of_loops.contains_key(&inside))
        {
            let mut of_loops = of_loops.clone();
            of_loops.remove(&inside);
            Arc::make_mut(&mut self.variables).insert("loop".to_owned(), of_loops.into());
        }
    }

    /// `execution_data` as a node of that scope sees it: where rounds run side by side, each sees what it has left itself,
    /// and not the others'.
    pub fn data_in(&self, scope: &str) -> Arc<Object> {
        let Some(round) = parallel_round(scope) else {
            return Arc::clone(&self.data);
        };
        let mut data = (*self.data).clone();
        for (other, left) in &self.rounds {
            if is_beside(other, round) {
                for key in left.keys() {
                    data.shift_remove(key);
                }
            }
        }
        for (own, left) in &self.rounds {
            if round.starts_with(&**own) {
                data.extend(left.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        Arc::new(data)
    }

    /// Variables as a node of that scope sees them: by `variable_scope`, then by name. Those of loops are the nearest
    /// loop's that has them.
    pub fn variables_in(&self, scope: &str) -> Arc<Object> {
        let Some(of_loops) = self.variables.get("loop").and_then(Value::as_object) else {
            return Arc::clone(&self.variables);
        };
        let mut seen: Vec<(&String, &Value)> = of_loops
            .iter()
            .filter(|(of_loop, _)| scope.starts_with(of_loop.as_str()))
            .collect();
        seen.sort_by_key(|(of_loop, _)| of_loop.len());
        let nearest: Object = seen
            .into_iter()
            .filter_map(|(_, variables)| variables.as_object())
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut variables = (*self.variables).clone();
        variables.insert("loop".to_owned(), nearest.into());
        Arc::new(variables)
    }

    pub(super) fn set_variable(&mut self, step: &Step) {
        let output = &step.output;
        let Some(name) = output.get("variable_name").and_then(Value::as_str) else {
            return;
        };
        let scope = output
            .get("scope")
            .and_then(Value::as_str)
            .unwrap_or("workflow");
        let value = output.get("value").cloned().unwrap_or_default();
        let mut place = Arc::make_mut(&mut self.variables);
        // One of a loop belongs to the loop whose round set it; outside of loops it is nobody's and stays to the end.
        let of_loop = (scope == "loop").then(|| loop_of(&step.scope));
        for level in [Some(scope), of_loop].into_iter().flatten() {
            let next = place
                .entry(level)
                .or_insert_with(|| Value::Object(Object::new()));
            let Value::Object(next) = next else {
                return;
            };
            place = next;
        }
        place.insert(name.to_owned(), value);
    }
}

/// The scope up to the innermost round that runs beside others, or `None` if there is none.
pub(super) fn parallel_round(scope: &str) -> Option<&str> {
    let star = scope.rfind("[*")?;
    let end = scope.get(star..)?.find(']')?;
    scope.get(..=star + end)
}

/// Whether two rounds run side by side: neither is inside of the other.
fn is_beside(one: &str, other: &str) -> bool {
    !one.starts_with(other) && !other.starts_with(one)
}

/// The loop that a scope stands in, without which round; empty outside of loops. Branches and parts of a `try` are no
/// rounds.
fn loop_of(scope: &str) -> &str {
    scope
        .match_indices('[')
        .rfind(|(at, _)| {
            let name = scope.get(at + 1..).unwrap_or_default();
            name.starts_with(|first: char| first == '*' || first.is_ascii_digit())
        })
        .and_then(|(at, _)| scope.get(..=at))
        .unwrap_or_default()
}
