//! One JavaScript expression for each item of a list, in one engine.
//!
//! The program is compiled once, to a function of `item`, `index`, `items` (and `acc`); the rest of the scope is bound
//! once. Only an expression with a placeholder for one of these (`${item.name}`), which is text and no reference, is
//! compiled for each item. `items` is converted if the expression mentions it or is a function.

use rquickjs::function::Args;
use rquickjs::{Ctx, Function, Object, Value as JsValue};
use serde_json::Value;

use super::source::Program;
use super::{
    Engine, GUARD, Stop, check_type, compile, convert, run, to_value, too_large, too_late,
};
use crate::clock;
use crate::expr::error::ExprError;
use crate::expr::limits::Limits;
use crate::expr::over::{Over, Results, Task};
use crate::expr::scope::Scope;

/// Whether a value counts as true; the engine has no function of that name.
const IS_TRUTHY: &str = "(value) => !!value";

/// Evaluates an expression for each item of a list.
pub(in crate::expr) fn evaluate(
    source: &str,
    scope: &Scope,
    over: &Over,
    limits: &Limits,
) -> Result<Value, ExprError> {
    let started = clock::monotonic();
    let program = Program::with_late_names(source, scope, over.names())?;
    let (initial, first) = over.start()?;
    let engine = Engine::start(limits, || false)?;
    engine.context.with(|ctx| {
        let explain = |stop| engine.error(&ctx, stop, source, limits);
        compile::<()>(&ctx, GUARD, "guard").map_err(|error| explain(error.into()))?;
        let is_truthy = compile(&ctx, IS_TRUTHY, "truth").map_err(|error| explain(error.into()))?;
        let function = match program.has_late_placeholder {
            true => None,
            false => Some(bind(&ctx, &program, scope).map_err(explain)?),
        };
        let mut list = List {
            ctx: &ctx,
            source,
            scope,
            over,
            function,
            items: None,
        };
        if program.mentions_items {
            list.items().map_err(|error| explain(error.into()))?;
        }
        let mut results = Results::new(limits);
        let mut acc = convert(&ctx, &initial).map_err(|error| explain(error.into()))?;
        for (index, item) in over.items.iter().enumerate().skip(first) {
            // The engine looks at its clock only while it runs, and converting an item is not running.
            if started.elapsed() > limits.time {
                return Err(too_late(limits).for_item(index));
            }
            let step = list.value(index, item, &acc).and_then(|value| {
                match over.task {
                    Task::Map => {
                        let text = engine.json(&ctx, value, limits)?;
                        let value = to_value(text.as_deref(), limits).map_err(Stop::Ours)?;
                        let bytes = text.map_or("null".len(), |text| text.len());
                        if !results.push(value, bytes) {
                            return Err(Stop::Ours(too_large(limits)));
                        }
                    }
                    Task::Test => {
                        check_type(&value)?;
                        let holds: bool = Function::call(&is_truthy, (value,))?;
                        results.push(holds.into(), 0);
                    }
                    Task::Reduce(_) => acc = value,
                }
                Ok(())
            });
            step.map_err(|stop| explain(stop).for_item(index))?;
        }
        match over.task {
            Task::Map | Task::Test => Ok(results.into_value()),
            Task::Reduce(_) => {
                let text = engine.json(&ctx, acc, limits).map_err(explain)?;
                to_value(text.as_deref(), limits)
            }
        }
    })
}

/// The program as a function of the late names.
fn bind<'js>(ctx: &Ctx<'js>, program: &Program, scope: &Scope) -> Result<Function<'js>, Stop> {
    let value = run(ctx, program, scope)?;
    Ok(value.get()?)
}

struct List<'a, 'js> {
    ctx: &'a Ctx<'js>,
    source: &'a str,
    scope: &'a Scope,
    over: &'a Over,
    /// `None` if the program must be written anew for each item.
    function: Option<Function<'js>>,
    /// All items as an array of the engine's, once somebody wants it.
    items: Option<Object<'js>>,
}

impl<'js> List<'_, 'js> {
    /// The value of the expression for an item.
    fn value(
        &mut self,
        index: usize,
        item: &Value,
        acc: &JsValue<'js>,
    ) -> Result<JsValue<'js>, Stop> {
        let value = match self.function.clone() {
            Some(function) => self.call(&function, index, item, acc)?,
            None => {
                let scope = self.scope_of(index, item, acc)?;
                let program = Program::new(self.source, &scope).map_err(Stop::Ours)?;
                run(self.ctx, &program, &scope)?
            }
        };
        match value.as_function().cloned() {
            Some(function) => {
                self.items()?;
                self.call(&function, index, item, acc)
            }
            None => Ok(value),
        }
    }

    /// Calls a function with the values of the late names.
    fn call(
        &self,
        function: &Function<'js>,
        index: usize,
        item: &Value,
        acc: &JsValue<'js>,
    ) -> Result<JsValue<'js>, Stop> {
        let position = u32::try_from(index).unwrap_or(u32::MAX);
        let mut args = Args::new(self.ctx.clone(), self.over.names().len());
        if let Task::Reduce(_) = self.over.task {
            args.push_arg(acc.clone())?;
        }
        match &self.items {
            Some(items) => args.push_arg(items.get::<_, JsValue<'js>>(position)?)?,
            None => args.push_arg(convert(self.ctx, item)?)?,
        }
        args.push_arg(position)?;
        match &self.items {
            Some(items) => args.push_arg(items.clone())?,
            None => args.push_arg(JsValue::new_undefined(self.ctx.clone()))?,
        }
        Ok(args.apply(function)?)
    }

    /// All items, converted once.
    fn items(&mut self) -> Result<(), rquickjs::Error> {
        if self.items.is_none() {
            let text = serde_json::to_string(&*self.over.items).map_err(|error| {
                rquickjs::Error::new_from_js_message("list", "JSON", error.to_string())
            })?;
            self.items = Some(self.ctx.json_parse(text)?.get()?);
        }
        Ok(())
    }

    /// The scope of one item, for a program that is written for it alone.
    fn scope_of(&self, index: usize, item: &Value, acc: &JsValue<'js>) -> Result<Scope, Stop> {
        let mut scope = self.scope.clone();
        let mut add = |name: &str, value: Value| scope.extra.push((name.to_owned(), value));
        if let Task::Reduce(_) = self.over.task {
            let text = self.ctx.json_stringify(acc.clone())?;
            let text = text.map(|text| text.to_string()).transpose()?;
            let value = text.map_or(Ok(Value::Null), |text| serde_json::from_str(&text));
            let value = value.map_err(|error| {
                rquickjs::Error::new_from_js_message("acc", "JSON", error.to_string())
            })?;
            add("acc", value);
        }
        add("item", item.clone());
        add("index", index.into());
        if self.source.contains("items") {
            add("items", Value::Array((*self.over.items).clone()));
        }
        Ok(scope)
    }
}
