//! Python by Monty: one expression, in an interpreter of its own that is thrown away afterwards.
//!
//! Monty has no files, network, environment or processes to reach, and it looks at its clock and counts calls. It
//! does not bound what it holds in memory, and running out of memory ends the whole process. So nothing but the host
//! process (`activities::python`) calls [`evaluate`]; there the process is bounded and may be lost.
//!
//! What is ours: the names, which are inputs and never part of the text; attributes as keys (`input.value`);
//! placeholders; `true`, `false` and `null`; a name that is called is a built-in function first and a key of the
//! data second, any other name the other way round. [`Mentions`] says how much of the data a host must be sent.

mod edits;
mod mentions;
pub(super) mod over;
mod placeholders;
mod source;
mod value;

#[cfg(test)]
mod tests;

use std::time::Duration;

use monty::MontyRun;
use monty_types::{
    CompileOptions, ExcType, MontyException, MontyObject, PrintWriter, ResourceLimits,
    ResourceTracker,
};
use serde_json::{Map, Value};

pub use mentions::Mentions;

use super::error::{ErrorKind, ExprError};
use super::limits::Limits;
use super::scope::Scope;
use source::Program;

/// The name that errors give the program.
const FILE_NAME: &str = "expression";

/// Evaluates one expression in this process. A leading `return` and a trailing `;` are allowed, since people type
/// them.
///
/// An expression that needs more memory or stack than there is ends the process; see the head of this module.
pub fn evaluate(source: &str, scope: &Scope, limits: &Limits) -> Result<Value, ExprError> {
    let program = Program::new(source, scope)?;
    let (names, values): (Vec<String>, Vec<MontyObject>) = inputs(&program, scope).unzip();
    let compiled = compile(&program, names, limits)?;
    let result = compiled
        .run(values, tracker(limits, limits.time), PrintWriter::Disabled)
        .map_err(|error| explain(&error, &program, limits))?;
    let value = value::from_python(result, limits.depth)?;
    if value.to_string().len() > limits.result_bytes {
        return Err(too_large(limits));
    }
    Ok(value)
}

/// Reads and compiles an expression, and does not run it.
pub fn check(source: &str, scope: &Scope, limits: &Limits) -> Result<(), ExprError> {
    let program = Program::new(source, scope)?;
    let names = program
        .names
        .iter()
        .map(|(input, _)| input.clone())
        .chain(program.placeholders.iter().map(|(input, _)| input.clone()))
        .collect();
    compile(&program, names, limits).map(drop)
}

fn compile(
    program: &Program<'_>,
    names: Vec<String>,
    limits: &Limits,
) -> Result<MontyRun, ExprError> {
    MontyRun::new(
        program.text.clone(),
        FILE_NAME,
        names,
        CompileOptions::default(),
    )
    .map_err(|error| match error.exc_type() {
        ExcType::NotImplementedError => {
            let message = error.message().unwrap_or_default();
            ExprError::new(ErrorKind::Syntax, format!("syntax error: {message}"), "")
        }
        _ => explain(&error, program, limits),
    })
}

fn tracker(limits: &Limits, time: Duration) -> ResourceTracker {
    ResourceTracker::new(ResourceLimits {
        max_duration: Some(time),
        max_memory: Some(limits.memory_bytes),
        gc_interval: None,
        max_recursion_depth: limits.depth,
        max_suspensions: 0,
    })
}

fn too_large(limits: &Limits) -> ExprError {
    ExprError::new(
        ErrorKind::TooLarge,
        format!("the result is larger than {} bytes", limits.result_bytes),
        "",
    )
}

/// The inputs of the program. A name that is nowhere in the scope is none: it is Python's, or nobody's.
fn inputs<'a>(
    program: &'a Program<'_>,
    scope: &'a Scope,
) -> impl Iterator<Item = (String, MontyObject)> + 'a {
    let names = program
        .names
        .iter()
        .filter_map(|(input, name)| Some((input.clone(), lookup(name, scope)?)));
    let placeholders = program
        .placeholders
        .iter()
        .map(|(input, value)| (input.clone(), value::to_python(value)));
    names.chain(placeholders)
}

fn lookup(name: &str, scope: &Scope) -> Option<MontyObject> {
    match name {
        "true" => return Some(MontyObject::Bool(true)),
        "false" => return Some(MontyObject::Bool(false)),
        "null" => return Some(MontyObject::None),
        _ => {}
    }
    if let Some(value) = scope.extra(name) {
        return Some(value::to_python(value));
    }
    match name {
        "input" | "data" => Some(value::object_to_python(&scope.data)),
        "variables" => {
            let all: Map<String, Value> = scope
                .variable_names()
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), scope.variable(name)?.clone())))
                .collect();
            Some(value::object_to_python(&all))
        }
        _ => scope.name(name).map(value::to_python),
    }
}

/// What Monty raised, as an error for the user.
fn explain(error: &MontyException, program: &Program<'_>, limits: &Limits) -> ExprError {
    let message = error.message().unwrap_or_default();
    let (kind, text) = match error.exc_type() {
        ExcType::TimeoutError => (
            ErrorKind::Timeout,
            format!("it ran longer than {} ms", limits.time.as_millis()),
        ),
        ExcType::MemoryError => (
            ErrorKind::Memory,
            format!(
                "it used more than {} MiB of memory",
                limits.memory_bytes >> 20
            ),
        ),
        ExcType::RecursionError => (ErrorKind::Depth, "it recursed too deeply".to_owned()),
        ExcType::SyntaxError if message.contains("too deeply nested") => {
            return source::too_deep();
        }
        ExcType::SyntaxError => (ErrorKind::Syntax, format!("syntax error: {message}")),
        _ => (ErrorKind::Runtime, error.summary()),
    };
    let place = error
        .traceback()
        .iter()
        .rev()
        .find_map(|frame| program.position(frame.start.line, frame.start.column));
    let error = ExprError::new(kind, text, "");
    match place {
        Some(position) if matches!(kind, ErrorKind::Syntax | ErrorKind::Runtime) => {
            error.at(position)
        }
        _ => error,
    }
}
