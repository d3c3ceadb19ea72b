//! JavaScript programs: statements, in the sandbox of the expressions.
//!
//! A program is a script as Node.js runs one: not strict unless it says so, with `await` at its top level. What it
//! reads are globals, which it may hide with declarations of its own. Its result is the first of these that is there:
//!
//! 1. what it returns, if it has a `return` outside of functions;
//! 2. the variable `result`, then the variable `output`;
//! 3. the value of its last statement, if it has one (an expression has).
//!
//! Promises are settled by running the job queue. Nothing in the sandbox waits for the outside world, so a promise
//! that is pending when the queue is empty stays so for ever, and that is an error.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, Error, FromJs, Function, Object, Type, Value as JsValue};
use serde_json::Value;

use super::{
    Engine, FILE_NAME, GUARD, Stop, compile, convert, ends_early, lazy_object, to_value, variables,
};
use crate::expr::error::{ErrorKind, ExprError};
use crate::expr::limits::Limits;
use crate::expr::scope::Scope;

/// Gives the program `console`.
const CONSOLE: &str = include_str!("console.js");
/// Tells that the program was compiled and has begun.
const BEGIN: &str = "$begin";
/// How the message of a syntax error begins.
const SYNTAX: &str = "syntax error: ";
/// The variables that a result may stand in, the first first. Both are read as `undefined` where they are not
/// declared.
const NAMED: &str = "[typeof result === 'undefined' ? undefined : result, typeof output === 'undefined' ? undefined : output]";

/// What a program is given.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// `input`: `execution_data`; `variables`; and what the node's place adds, each a name.
    pub scope: Scope,
    /// `data`, if it is not the same as `input`.
    pub data: Option<Value>,
}

/// What a program leaves.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its result, or why there is none.
    pub result: Result<Value, ExprError>,
    /// What it wrote with `console.log`, `info` and `debug`.
    pub stdout: String,
    /// What it wrote with `console.error`, `warn` and `trace`.
    pub stderr: String,
}

#[derive(Default)]
struct Printed {
    stdout: String,
    stderr: String,
}

/// Runs a program. It may print as much as `limits.result_bytes`, and ends soon after `stop` becomes true.
pub fn run(source: &str, input: &Input, limits: &Limits, stop: &Arc<AtomicBool>) -> Run {
    let printed = Rc::new(RefCell::new(Printed::default()));
    let result = execute(source, input, limits, stop, &printed);
    let printed = printed.take();
    Run {
        result: result.map_err(|error| error.with_source(source)),
        stdout: printed.stdout,
        stderr: printed.stderr,
    }
}

/// Compiles a program, and does not run it.
///
/// # Errors
/// What is wrong with its syntax, and where.
pub fn check(source: &str, limits: &Limits) -> Result<(), ExprError> {
    let engine = Engine::start(limits, || false)?;
    engine.context.with(|ctx| {
        as_function(&ctx, source).map(drop).map_err(|error| {
            ends_early(engine.explain(&ctx, error, limits), source).with_source(source)
        })
    })
}

fn execute(
    source: &str,
    input: &Input,
    limits: &Limits,
    stop: &Arc<AtomicBool>,
    printed: &Rc<RefCell<Printed>>,
) -> Result<Value, ExprError> {
    let is_full = Rc::new(Cell::new(false));
    let engine = {
        let (stop, is_full) = (Arc::clone(stop), Rc::clone(&is_full));
        Engine::start(limits, move || {
            stop.load(Ordering::Relaxed) || is_full.get()
        })?
    };
    let is_read = Cell::new(false);
    let result = engine.context.with(|ctx| {
        let outcome = set_up(
            &ctx,
            input,
            printed,
            (Rc::clone(&is_full), limits.result_bytes),
        )
        .map_err(Stop::Engine)
        .and_then(|()| evaluate(&ctx, &engine, source, &is_read));
        match outcome.and_then(|value| engine.json(&ctx, value, limits)) {
            Ok(text) => to_value(text.as_deref(), limits),
            Err(Stop::Engine(error)) => {
                Err(ends_early(engine.explain(&ctx, error, limits), source))
            }
            Err(Stop::Ours(error)) => Err(error),
        }
    });
    if is_full.get() {
        let message = format!("it printed more than {} bytes", limits.result_bytes);
        return Err(ExprError::new(ErrorKind::TooLarge, message, source));
    }
    result.map_err(|error| match error.message.strip_prefix(SYNTAX) {
        // The program's own syntax is right: it has read something else, such as JSON.
        Some(message) if is_read.get() && error.kind == ErrorKind::Syntax => ExprError {
            kind: ErrorKind::Runtime,
            message: format!("SyntaxError: {message}"),
            ..error
        },
        _ => error,
    })
}

/// Puts in place what the program finds.
fn set_up<'js>(
    ctx: &Ctx<'js>,
    input: &Input,
    printed: &Rc<RefCell<Printed>>,
    (is_full, most): (Rc<Cell<bool>>, usize),
) -> Result<(), Error> {
    compile::<()>(ctx, GUARD, "guard")?;
    let printed = Rc::clone(printed);
    let print = Function::new(ctx.clone(), move |is_error: bool, line: String| {
        let mut printed = printed.borrow_mut();
        if printed.stdout.len() + printed.stderr.len() + line.len() >= most {
            is_full.set(true);
            return;
        }
        let stream = if is_error {
            &mut printed.stderr
        } else {
            &mut printed.stdout
        };
        stream.push_str(&line);
        stream.push('\n');
    })?;
    compile::<Function<'js>>(ctx, CONSOLE, "console")?.call::<_, ()>((print,))?;
    let globals = ctx.globals();
    let scope = &input.scope;
    let execution_data = lazy_object(ctx, Arc::clone(&scope.data))?;
    let data = match &input.data {
        None => execution_data.clone(),
        Some(data) => convert(ctx, data)?,
    };
    globals.set("input", execution_data)?;
    globals.set("data", data)?;
    globals.set("variables", variables(ctx, scope)?)?;
    for (name, value) in &scope.extra {
        globals.set(name.as_str(), convert(ctx, value)?)?;
    }
    Ok(())
}

/// The result of a program, settled.
fn evaluate<'js>(
    ctx: &Ctx<'js>,
    engine: &Engine,
    source: &str,
    is_read: &Cell<bool>,
) -> Result<JsValue<'js>, Stop> {
    // What is given may be called `result` too; it is the result only if the program sets it.
    let before: Vec<JsValue<'js>> = script(ctx, NAMED, false)?;
    let body = as_function(ctx, source)?;
    is_read.set(true);
    let began = Rc::new(Cell::new(false));
    let flag = Rc::clone(&began);
    ctx.globals()
        .set(BEGIN, Function::new(ctx.clone(), move || flag.set(true))?)?;
    let first = match script::<Object<'js>>(ctx, &format!("{BEGIN}();\n{source}"), true) {
        // Not a script, yet a function: it returns.
        Err(Error::Exception) if !began.get() => {
            ctx.catch();
            return returned(ctx, engine, &body, &before);
        }
        other => settle(ctx, engine, other?.into_value())?,
    };
    let named: Vec<JsValue<'js>> = script(ctx, NAMED, false)?;
    if let Some(value) = chosen(&named, &before) {
        return settle(ctx, engine, value);
    }
    // The engine wraps the value, so that a promise is not taken for the end of the program.
    let value = match first.as_object() {
        Some(wrapped) => wrapped.get("value")?,
        None => first,
    };
    settle(ctx, engine, value)
}

/// As the body of a function it may return; this only reads it, and so finds what is wrong with its syntax.
fn as_function<'js>(ctx: &Ctx<'js>, source: &str) -> Result<Function<'js>, Error> {
    let text = format!("(async function () {{\n{source}\n;return {{ named: {NAMED} }};\n}})");
    script(ctx, &text, false)
}

fn returned<'js>(
    ctx: &Ctx<'js>,
    engine: &Engine,
    body: &Function<'js>,
    before: &[JsValue<'js>],
) -> Result<JsValue<'js>, Stop> {
    let value = settle(ctx, engine, body.call(())?)?;
    let named = value
        .as_object()
        .filter(|object| object.len() == 1)
        .and_then(|object| object.get::<_, Vec<JsValue<'js>>>("named").ok());
    match named {
        Some(named) => match chosen(&named, before) {
            Some(value) => settle(ctx, engine, value),
            None => Ok(JsValue::new_undefined(ctx.clone())),
        },
        None => Ok(value),
    }
}

/// The first that is set and was not so before.
fn chosen<'js>(named: &[JsValue<'js>], before: &[JsValue<'js>]) -> Option<JsValue<'js>> {
    named
        .iter()
        .zip(before)
        .find(|(value, before)| !value.is_undefined() && value != before)
        .map(|(value, _)| value.clone())
}

/// Waits for a promise, by running whatever is to run.
fn settle<'js>(ctx: &Ctx<'js>, engine: &Engine, value: JsValue<'js>) -> Result<JsValue<'js>, Stop> {
    if value.type_of() != Type::Promise {
        return Ok(value);
    }
    let Some(promise) = value.as_promise() else {
        return Ok(value);
    };
    loop {
        if let Some(result) = promise.result() {
            return Ok(result?);
        }
        // A job may end without the engine having looked at its clock.
        if (engine.look)() || engine.timed_out.get() {
            return Err(Stop::Engine(Error::WouldBlock));
        }
        if !ctx.execute_pending_job() {
            let message = "it waits for a promise that nothing settles";
            return Err(Stop::Ours(ExprError::new(ErrorKind::Runtime, message, "")));
        }
    }
}

fn script<'js, V: FromJs<'js>>(ctx: &Ctx<'js>, text: &str, waits: bool) -> Result<V, Error> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.promise = waits;
    options.filename = Some(FILE_NAME.to_owned());
    ctx.eval_with_options(text, options)
}
