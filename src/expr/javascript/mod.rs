//! JavaScript by QuickJS: one expression, in a runtime of its own that is thrown away afterwards.
//!
//! The expression becomes the body of a strict function whose parameters are the names that it mentions, so the data
//! is never part of the source text. The engine is built without its `std` and `os` modules and no module loader is
//! set: there is nothing to reach outside of it. Memory, stack and time are bounded by the engine; its heap is
//! private to the evaluation, so whatever an expression does to `Object.prototype` ends with it.

pub(super) mod over;
pub mod program;
mod source;
pub mod typescript;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::context::{EvalOptions, intrinsic};
use rquickjs::function::Args;
use rquickjs::{
    CaughtError, Context, Ctx, Error, Function, Object, Runtime, Type, Value as JsValue,
};
use serde_json::{Map, Value};

use super::error::{ErrorKind, ExprError, Position};
use super::limits::Limits;
use super::scope::Scope;
use crate::clock;

/// Makes an object whose properties are converted when they are first read, so that the size of the data does not
/// matter to an expression that reads one key of it.
const LAZY_OBJECT: &str = "(function (load, keys) {
  'use strict';
  const object = {};
  const define = Object.defineProperty;
  for (const key of keys) {
    const settle = (value) => {
      define(object, key, { value, enumerable: true, configurable: true, writable: true });
      return value;
    };
    define(object, key, { get: () => settle(load(key)), set: settle, enumerable: true, configurable: true });
  }
  return object;
})";

/// Takes the place of the methods that could outlast the time limit; the file says why.
const GUARD: &str = include_str!("guard.js");

/// Makes the engine look at its clock for each element that it writes as JSON.
const REPLACER: &str = "(key, item) => item";

/// What the engine is built with. Left out are `Proxy`, whose traps could show the guards one length and the engine
/// another, and typed arrays, whose methods do not look at the clock.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::MapSet,
    intrinsic::Promise,
);

/// The name that errors give the source text.
const FILE_NAME: &str = "expression";

/// Lines that stand before the user's first line in the program.
const LINES_BEFORE: usize = 1;

/// Evaluates one expression. A leading `return` and a trailing `;` are allowed, since people type them.
pub fn evaluate(source: &str, scope: &Scope, limits: &Limits) -> Result<Value, ExprError> {
    let program = source::Program::new(source, scope)?;
    let engine = Engine::start(limits, || false)?;
    engine.context.with(|ctx| {
        let outcome = compile::<()>(&ctx, GUARD, "guard")
            .map_err(Stop::Engine)
            .and_then(|()| run(&ctx, &program, scope));
        match outcome.and_then(|value| engine.json(&ctx, value, limits)) {
            Ok(text) => to_value(text.as_deref(), limits),
            Err(stop) => Err(engine.error(&ctx, stop, source, limits)),
        }
    })
}

/// Compiles an expression, and does not call it.
pub fn check(source: &str, scope: &Scope, limits: &Limits) -> Result<(), ExprError> {
    let program = source::Program::new(source, scope)?;
    let engine = Engine::start(limits, || false)?;
    engine.context.with(|ctx| {
        compile::<Function<'_>>(&ctx, &program.text, FILE_NAME)
            .map(drop)
            .map_err(|error| engine.error(&ctx, error.into(), source, limits))
    })
}

/// Why there is no result: the engine threw, or we refuse.
enum Stop {
    Engine(Error),
    Ours(ExprError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

struct Engine {
    context: Context,
    timed_out: Rc<Cell<bool>>,
    /// Notes whether the evaluation is to end, and says so.
    look: Rc<dyn Fn() -> bool>,
}

impl Engine {
    /// `is_over` says that the evaluation is to end before its time.
    fn start(limits: &Limits, is_over: impl Fn() -> bool + 'static) -> Result<Self, ExprError> {
        let no_memory =
            |error: Error| ExprError::new(ErrorKind::Memory, format!("cannot start: {error}"), "");
        let runtime = Runtime::new().map_err(no_memory)?;
        runtime.set_memory_limit(limits.memory_bytes);
        runtime.set_max_stack_size(limits.stack_bytes);
        let timed_out = Rc::new(Cell::new(false));
        let flag = Rc::clone(&timed_out);
        let started = clock::monotonic();
        let time = limits.time;
        let look: Rc<dyn Fn() -> bool> = Rc::new(move || {
            let late = started.elapsed() > time || is_over();
            flag.set(flag.get() || late);
            late
        });
        let handler = Rc::clone(&look);
        runtime.set_interrupt_handler(Some(Box::new(move || handler())));
        let context = Context::custom::<Intrinsics>(&runtime).map_err(no_memory)?;
        Ok(Self {
            context,
            timed_out,
            look,
        })
    }

    /// The JSON text of a value, as `JSON.stringify` makes it; `None` for `undefined`.
    fn json<'js>(
        &self,
        ctx: &Ctx<'js>,
        value: JsValue<'js>,
        limits: &Limits,
    ) -> Result<Option<String>, Stop> {
        check_type(&value)?;
        let replacer: Function<'js> = compile(ctx, REPLACER, "replacer")?;
        let Some(text) = ctx.json_stringify_replacer(value, replacer)? else {
            return Ok(None);
        };
        let text = text.to_string()?;
        if text.len() > limits.result_bytes {
            return Err(Stop::Ours(too_large(limits)));
        }
        Ok(Some(text))
    }

    /// Why there is no result, as an error for the user.
    fn error(&self, ctx: &Ctx<'_>, stop: Stop, source: &str, limits: &Limits) -> ExprError {
        match stop {
            Stop::Engine(error) => ends_early(self.explain(ctx, error, limits), source),
            Stop::Ours(error) => error,
        }
    }

    /// What the engine threw, as an error for the user.
    fn explain(&self, ctx: &Ctx<'_>, error: Error, limits: &Limits) -> ExprError {
        let caught = CaughtError::from_error(ctx, error);
        if self.timed_out.get() {
            return too_late(limits);
        }
        let out_of_memory = || {
            let message = format!(
                "it used more than {} MiB of memory",
                limits.memory_bytes >> 20
            );
            ExprError::new(ErrorKind::Memory, message, "")
        };
        match caught {
            CaughtError::Exception(exception) => {
                let name =
                    property(exception.as_object(), "name").unwrap_or_else(|| "Error".to_owned());
                let message = exception.message().unwrap_or_default();
                let (kind, text) = match (name.as_str(), message.as_str()) {
                    ("InternalError", "out of memory" | "string too long") => {
                        return out_of_memory();
                    }
                    (_, "Maximum call stack size exceeded" | "stack overflow") => {
                        (ErrorKind::Depth, "it recursed too deeply".to_owned())
                    }
                    ("SyntaxError", _) => (ErrorKind::Syntax, format!("syntax error: {message}")),
                    _ => (ErrorKind::Runtime, format!("{name}: {message}")),
                };
                let error = ExprError::new(kind, text, "");
                match exception.stack().as_deref().and_then(position) {
                    Some(position) => error.at(position),
                    None => error,
                }
            }
            // When there is no memory left for an exception, the engine throws `null`. Hardly anyone else does.
            CaughtError::Value(value) if value.is_null() => out_of_memory(),
            CaughtError::Value(value) => {
                let text = ctx
                    .json_stringify(value)
                    .ok()
                    .flatten()
                    .and_then(|text| text.to_string().ok());
                ExprError::new(
                    ErrorKind::Runtime,
                    format!("it threw {}", text.unwrap_or_default()),
                    "",
                )
            }
            CaughtError::Error(Error::Allocation) => out_of_memory(),
            CaughtError::Error(error) => ExprError::new(ErrorKind::Runtime, error.to_string(), ""),
        }
    }
}

/// Compiles and calls the program.
fn run<'js>(
    ctx: &Ctx<'js>,
    program: &source::Program,
    scope: &Scope,
) -> Result<JsValue<'js>, Stop> {
    let function: Function<'js> = compile(ctx, &program.text, FILE_NAME)?;
    let mut args = Args::new(ctx.clone(), program.parameters.len());
    let mut input = None;
    for parameter in &program.parameters {
        let value = match parameter {
            source::Parameter::Data => match &input {
                Some(value) => JsValue::clone(value),
                None => {
                    let value = lazy_object(ctx, Arc::clone(&scope.data))?;
                    input.insert(value).clone()
                }
            },
            source::Parameter::Variables => variables(ctx, scope)?,
            source::Parameter::Value(value) => convert(ctx, value)?,
        };
        args.push_arg(value)?;
    }
    Ok(args.apply(&function)?)
}

/// Refuses what JSON has no form for.
fn check_type(value: &JsValue<'_>) -> Result<(), Stop> {
    let what = match value.type_of() {
        Type::Function | Type::Constructor => "the result is a function, not a value",
        Type::Promise => "the result is a promise; expressions cannot wait",
        Type::Symbol => "the result is a symbol, which JSON cannot hold",
        Type::BigInt => "the result is a BigInt, which JSON cannot hold; use Number(…)",
        Type::Float if value.as_float().is_some_and(f64::is_infinite) => {
            "the result is infinite, which JSON cannot hold"
        }
        _ => return Ok(()),
    };
    Err(Stop::Ours(ExprError::new(ErrorKind::Runtime, what, "")))
}

fn compile<'js, V: rquickjs::FromJs<'js>>(
    ctx: &Ctx<'js>,
    text: &str,
    name: &str,
) -> Result<V, Error> {
    let mut options = EvalOptions::default();
    options.strict = true;
    options.filename = Some(name.to_owned());
    ctx.eval_with_options(text, options)
}

fn convert<'js>(ctx: &Ctx<'js>, value: &Value) -> Result<JsValue<'js>, Error> {
    ctx.json_parse(value.to_string())
}

fn variables<'js>(ctx: &Ctx<'js>, scope: &Scope) -> Result<JsValue<'js>, Error> {
    let names = scope.variable_names();
    let all: Map<String, Value> = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), scope.variable(name)?.clone())))
        .collect();
    lazy_object(ctx, Arc::new(all))
}

fn lazy_object<'js>(
    ctx: &Ctx<'js>,
    values: Arc<Map<String, Value>>,
) -> Result<JsValue<'js>, Error> {
    let make: Function<'js> = compile(ctx, LAZY_OBJECT, "scope")?;
    let keys: Vec<String> = values.keys().cloned().collect();
    let load = Function::new(
        ctx.clone(),
        move |ctx: Ctx<'js>, key: String| match values.get(&key) {
            Some(value) => convert(&ctx, value),
            None => Ok(JsValue::new_undefined(ctx)),
        },
    )?;
    make.call((load, keys))
}

fn property(object: &Object<'_>, name: &str) -> Option<String> {
    object.get(name).ok()
}

fn to_value(text: Option<&str>, limits: &Limits) -> Result<Value, ExprError> {
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    if text.len() > limits.result_bytes {
        return Err(too_large(limits));
    }
    serde_json::from_str(text).map_err(|error| {
        ExprError::new(
            ErrorKind::Runtime,
            format!("the result is not valid JSON: {error}"),
            "",
        )
    })
}

fn too_late(limits: &Limits) -> ExprError {
    let message = format!("it ran longer than {} ms", limits.time.as_millis());
    ExprError::new(ErrorKind::Timeout, message, "")
}

fn too_large(limits: &Limits) -> ExprError {
    ExprError::new(
        ErrorKind::TooLarge,
        format!("the result is larger than {} bytes", limits.result_bytes),
        "",
    )
}

/// An error behind the last line is about the parenthesis that closes our function.
fn ends_early(error: ExprError, source: &str) -> ExprError {
    match error.position {
        Some(position) if position.line > source.trim().lines().count() => ExprError::new(
            error.kind,
            "syntax error: the expression ends too early",
            "",
        ),
        _ => error,
    }
}

/// The first place in the user's text that a stack trace names, such as `    at <anonymous> (expression:2:7)`.
fn position(stack: &str) -> Option<Position> {
    let rest = stack.split(FILE_NAME).nth(1)?.strip_prefix(':')?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    let line = numbers
        .next()?
        .parse::<usize>()
        .ok()?
        .checked_sub(LINES_BEFORE)
        .filter(|line| *line > 0)?;
    let column = numbers.next()?.parse().ok()?;
    Some(Position { line, column })
}
