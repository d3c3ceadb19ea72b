//! What an expression sees.

use std::sync::Arc;

use serde_json::{Map, Value};

/// The variable scopes, nearest first: a variable of a loop hides one of the node, which hides one of the workflow.
pub const VARIABLE_SCOPES: [&str; 3] = ["loop", "node", "workflow"];

/// The values that an expression may use, in JavaScript and in Python.
///
/// | name | value |
/// | --- | --- |
/// | each of `extra` | its value; wins over all below |
/// | `input`, `data` | `execution_data` as a whole, even if it has keys of these names (`input.data` reaches them) |
/// | `variables` | all variables by name |
/// | a key of `execution_data` | its value |
/// | the name of a variable | its value |
///
/// The language's own names: in JavaScript, globals such as `JSON` or `Math` are never hidden. In Python, a built-in
/// function wins where it is called (`type(x)`), a key of the data wins elsewhere (`type == "order"`).
///
/// Cloning it copies no data. Nothing is converted that the expression does not touch, so the size of
/// `execution_data` does not matter to an expression that reads little of it.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `execution_data`.
    pub data: Arc<Map<String, Value>>,
    /// Variables: scope (`workflow`, `node`, `loop`), then name.
    pub variables: Arc<Map<String, Value>>,
    /// What the node adds, such as `item`, `index`, `acc`, `personalization`. The last of two equal names wins.
    pub extra: Vec<(String, Value)>,
}

impl Scope {
    /// A bare name, by the table above without `input`, `data` and `variables`.
    pub fn name(&self, name: &str) -> Option<&Value> {
        self.extra(name)
            .or_else(|| self.data.get(name))
            .or_else(|| self.variable(name))
    }

    /// A value that the node adds.
    pub fn extra(&self, name: &str) -> Option<&Value> {
        self.extra
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// A variable, from the nearest scope that has it.
    pub fn variable(&self, name: &str) -> Option<&Value> {
        VARIABLE_SCOPES
            .iter()
            .find_map(|scope| self.variables.get(*scope)?.get(name))
    }

    /// The names of all variables, each once.
    pub fn variable_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = VARIABLE_SCOPES
            .iter()
            .filter_map(|scope| self.variables.get(*scope)?.as_object())
            .flat_map(|variables| variables.keys().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
