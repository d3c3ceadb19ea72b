//! `try` marks where its body begins; `catch` and `finally` may hold code, which runs as a `code` node's would.

use serde_json::Value;

use crate::activities::native::code::{Code, Language};
use crate::activities::native::config;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};

static TRY: Spec = Spec {
    about: "What follows, up to its catch or finally, is tried: an error there leads to the catch, and finally runs in any case.",
    keys: &[Key::new("try_scope", Holds::Text, "a description")],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

/// Begins what is tried.
#[derive(Clone, Copy, Debug)]
pub struct Try;

impl Activity for Try {
    fn spec(&self) -> &'static Spec {
        &TRY
    }

    fn run<'a>(&'a self, node: &'a Node, _context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            config::text(&node.config, "try_scope")?;
            Ok(done(Object::new()))
        })
    }
}

static CATCH: Spec = Spec {
    about: "Runs after an error in what its try holds; error is in scope there and behind it.",
    keys: &[
        Key::new(
            "error_type",
            Holds::Text,
            "the errors that it takes, comma-separated; default all",
        ),
        Key::new("error_handler", Holds::Code, "code to run"),
        Key::new(
            "language",
            Holds::Text,
            "the code's language; default javascript",
        ),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

/// Handles an error.
#[derive(Clone, Debug)]
pub struct Catch {
    /// Runs the code.
    pub code: Code,
}

impl Activity for Catch {
    fn spec(&self) -> &'static Spec {
        &CATCH
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let mut output = run_code(&self.code, node, context, "error_handler").await?;
            let error = context
                .locals
                .iter()
                .rev()
                .find(|(name, _)| name == "error");
            let error = error.map_or(Value::Null, |(_, error)| error.clone());
            output.insert("error".to_owned(), error);
            Ok(done(output))
        })
    }
}

static FINALLY: Spec = Spec {
    about: "Runs when what its try holds has ended, well or not, and its catch too.",
    keys: &[
        Key::new("finally_code", Holds::Code, "code to run"),
        Key::new(
            "language",
            Holds::Text,
            "the code's language; default javascript",
        ),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

/// Runs in any case.
#[derive(Clone, Debug)]
pub struct Finally {
    /// Runs the code.
    pub code: Code,
}

impl Activity for Finally {
    fn spec(&self) -> &'static Spec {
        &FINALLY
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            Ok(done(
                run_code(&self.code, node, context, "finally_code").await?,
            ))
        })
    }
}

fn done(output: Object) -> Outcome {
    let branch = None;
    Outcome::Done { output, branch }
}

/// The output of the code under a key; empty if there is none.
async fn run_code(
    code: &Code,
    node: &Node,
    context: &Context,
    key: &str,
) -> Result<Object, Failure> {
    let Some(text) = config::text(&node.config, key)?.filter(|text| !text.trim().is_empty()) else {
        return Ok(Object::new());
    };
    let language = match config::text(&node.config, "language")? {
        None => Language::JavaScript,
        Some(name) => name.parse()?,
    };
    code.run_text(node, context, language, key, text).await
}
