//! One Python expression for each item of a list, in this process.
//!
//! The program is compiled once; only one with a placeholder (`${item.name}`), whose value may become part of a text,
//! is compiled for each item. Each item is an evaluation from nothing, but for `acc`.

use monty::MontyRun;
use monty_types::{MontyObject, PrintWriter};
use serde_json::Value;

use super::source::Program;
use super::{compile, explain, inputs, too_large, tracker, value};
use crate::clock;
use crate::expr::error::{ErrorKind, ExprError};
use crate::expr::limits::Limits;
use crate::expr::over::{Over, Results, Task};
use crate::expr::scope::Scope;
use crate::expr::{Language, is_truthy};

/// Evaluates an expression for each item of a list. The same warning as for [`super::evaluate`].
pub(in crate::expr) fn evaluate(
    source: &str,
    scope: &Scope,
    over: &Over,
    limits: &Limits,
) -> Result<Value, ExprError> {
    let started = clock::monotonic();
    let (initial, first) = over.start()?;
    let mut acc = value::to_python(&initial);
    let mut results = Results::new(limits);
    let has_placeholders = source.contains("${");
    let program;
    let mut ready = None;
    if !has_placeholders {
        program = Program::with_arguments(source, scope, over.names())?;
        ready = Some(Ready::new(&program, scope, over, limits)?);
    }
    for (index, item) in over.items.iter().enumerate().skip(first) {
        let mut step = || {
            let time = limits.time.checked_sub(started.elapsed()).ok_or_else(|| {
                let message = format!("it ran longer than {} ms", limits.time.as_millis());
                ExprError::new(ErrorKind::Timeout, message, "")
            })?;
            let run = |ready: &Ready<'_>, acc: MontyObject| {
                let values = ready.inputs(index, item, acc);
                ready
                    .compiled
                    .run(values, tracker(limits, time), PrintWriter::Disabled)
                    .map_err(|error| explain(&error, ready.program, limits))
            };
            let so_far = std::mem::replace(&mut acc, MontyObject::None);
            let result = match &ready {
                Some(ready) => run(ready, so_far)?,
                None => {
                    let scope = scope_of(scope, over, index, item, &so_far, limits)?;
                    let program = Program::with_arguments(source, &scope, over.names())?;
                    run(&Ready::new(&program, &scope, over, limits)?, so_far)?
                }
            };
            if let Task::Reduce(_) = over.task {
                acc = result;
                return Ok(());
            }
            let value = value::from_python(result, limits.depth)?;
            let (value, bytes) = match over.task {
                Task::Test => (is_truthy(Language::Python, &value).into(), 0),
                _ => {
                    let bytes = value.to_string().len();
                    (value, bytes)
                }
            };
            results
                .push(value, bytes)
                .then_some(())
                .ok_or_else(|| too_large(limits))
        };
        step().map_err(|error: ExprError| error.for_item(index))?;
    }
    if !matches!(over.task, Task::Reduce(_)) {
        return Ok(results.into_value());
    }
    let value = value::from_python(acc, limits.depth)?;
    if value.to_string().len() > limits.result_bytes {
        return Err(too_large(limits));
    }
    Ok(value)
}

/// A compiled program with those of its inputs that are the same for all items.
struct Ready<'p> {
    program: &'p Program<'p>,
    compiled: MontyRun,
    inputs: Vec<Input>,
}

enum Input {
    Same(MontyObject),
    Acc,
    Item,
    Index,
}

impl<'p> Ready<'p> {
    fn new(
        program: &'p Program<'p>,
        scope: &'p Scope,
        over: &Over,
        limits: &Limits,
    ) -> Result<Self, ExprError> {
        let late = |name: &&(String, String)| over.names().contains(&name.1.as_str());
        let mut names = Vec::new();
        let mut values = Vec::new();
        for (input, name) in program.names.iter().filter(late) {
            names.push(input.clone());
            values.push(match name.as_str() {
                "acc" => Input::Acc,
                "item" => Input::Item,
                "index" => Input::Index,
                _ => Input::Same(MontyObject::List(
                    over.items.iter().map(value::to_python).collect(),
                )),
            });
        }
        for (input, value) in inputs(program, scope) {
            if !names.contains(&input) {
                names.push(input);
                values.push(Input::Same(value));
            }
        }
        Ok(Self {
            program,
            compiled: compile(program, names, limits)?,
            inputs: values,
        })
    }

    fn inputs(&self, index: usize, item: &Value, acc: MontyObject) -> Vec<MontyObject> {
        let mut acc = Some(acc);
        self.inputs
            .iter()
            .map(|input| match input {
                Input::Same(value) => value.clone(),
                Input::Acc => acc.take().unwrap_or(MontyObject::None),
                Input::Item => value::to_python(item),
                Input::Index => MontyObject::Int(i64::try_from(index).unwrap_or(i64::MAX)),
            })
            .collect()
    }
}

/// The scope of one item, for a program that is written for it alone.
fn scope_of(
    scope: &Scope,
    over: &Over,
    index: usize,
    item: &Value,
    acc: &MontyObject,
    limits: &Limits,
) -> Result<Scope, ExprError> {
    let mut scope = scope.clone();
    let mut add = |name: &str, value: Value| scope.extra.push((name.to_owned(), value));
    if let Task::Reduce(_) = over.task {
        add("acc", value::from_python(acc.clone(), limits.depth)?);
    }
    add("item", item.clone());
    add("index", index.into());
    add("items", Value::Array((*over.items).clone()));
    Ok(scope)
}
