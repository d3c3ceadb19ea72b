//! `code`: a program of the user.
//!
//! | language | runs | result |
//! | --- | --- | --- |
//! | `javascript`, `typescript` | inside the worker, in the sandbox of the expressions | see [`program`](crate::expr::javascript::program) |
//! | `python` | the system's `python3`, under [`code_host`](crate::activities::code_host) | `result`, `output`, the last expression, `main(data)` |
//! | `bash` | the system's `bash`, likewise | the JSON in `$RESULT_FILE` |
//! | `json` | – | the text itself |
//!
//! A program without any of these results may print one: the last line of its standard output, if it is JSON.
//! It sees `input` (`execution_data`), `data` (`input_data` if the node has it, else the same), `variables`, and what
//! the node's place adds, such as a caught `error`. What went wrong becomes a failure in `outcome`.

mod language;
mod outcome;
mod process;
mod script;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::{config, evaluator};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};
use crate::config::{CodeConfig, process_variable};
use crate::expr::Scope;
use outcome::{Ended, Problem};

pub use language::{Language, needs_remote};

/// Programs inside the worker that run at the same time; each keeps a processor busy. Further ones queue in order.
const THREADS: usize = 4;
/// Programs in processes of their own that run at the same time. Further ones queue in order.
const PROCESSES: usize = 16;
/// The longest program.
const SOURCE_BYTES: usize = 1 << 20;
/// The longest `timeout_seconds`: a week, as for the setting that bounds all nodes.
const LONGEST_SECONDS: f64 = 7.0 * 86_400.0;

/// Runs programs. Cheap to clone; clones share their bounds.
#[derive(Clone, Debug)]
pub struct Code {
    settings: CodeConfig,
    /// Our own, if it is not this program.
    binary: Option<PathBuf>,
    /// Where interpreters are sought, also by programs.
    path: String,
    /// Where temporary directories are made.
    temporary: PathBuf,
    threads: Arc<Semaphore>,
    processes: Arc<Semaphore>,
}

/// A program with all that it is given.
#[derive(Debug)]
struct Program {
    language: Language,
    /// The key that it stands in.
    key: String,
    source: String,
    scope: Scope,
    /// `data`, if it is not `input`.
    data: Option<Value>,
    time: Duration,
}

static SPEC: Spec = Spec {
    about: "Runs a program.",
    keys: &[
        Key::new("code", Holds::Code, "the program; for json, the result").required(),
        Key::new(
            "language",
            Holds::Choice(&["python", "javascript", "typescript", "bash", "json"]),
            "its language; default python",
        ),
        Key::new(
            "runtime",
            Holds::Choice(&[
                "auto",
                "local",
                "e2b",
                "wasmedge",
                "bacalhau",
                "cline_node",
                "mcp_server",
            ]),
            "where it runs; all but auto and local need a remote activity; default auto",
        ),
        Key::new(
            "input_data",
            Holds::Any,
            "what the program sees as data; default the execution's data",
        ),
        Key::new(
            "requirements",
            Holds::Any,
            "packages to install; they need a remote activity",
        ),
        Key::new(
            "timeout_seconds",
            Holds::Number,
            "how long it may run; default CODE_EXECUTION_TIMEOUT",
        ),
    ],
    branches: &[],
    timeout: Timeout::Own,
    acts: true,
};

impl Code {
    /// Runs programs within `settings`, with the interpreters that are in this process's `PATH`.
    pub fn new(settings: CodeConfig) -> Self {
        Self {
            settings,
            binary: None,
            path: process_variable("PATH").unwrap_or_else(|| process::STANDARD_PATH.to_owned()),
            temporary: process_variable("TMPDIR").map_or_else(|| "/tmp".into(), PathBuf::from),
            threads: Arc::new(Semaphore::new(THREADS)),
            processes: Arc::new(Semaphore::new(PROCESSES)),
        }
    }

    /// The same, with `binary` in the place of this program.
    #[must_use]
    pub fn with_binary(self, binary: PathBuf) -> Self {
        Self {
            binary: Some(binary),
            ..self
        }
    }

    /// The same, with interpreters from other directories, as in `PATH`.
    #[must_use]
    pub fn with_path(self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }

    /// The same, with another place for temporary directories.
    #[must_use]
    pub fn with_temporary(self, temporary: PathBuf) -> Self {
        Self { temporary, ..self }
    }

    /// Runs a program that stands in a node of any type, under `key`, as a `code` node would. Its output is that of a
    /// `code` node.
    ///
    /// # Errors
    /// As a `code` node's.
    pub async fn run_text(
        &self,
        node: &Node,
        context: &Context,
        language: Language,
        key: &str,
        code: &str,
    ) -> Result<Object, Failure> {
        let program = Program {
            language,
            key: key.to_owned(),
            source: code.to_owned(),
            scope: evaluator::scope(node, context),
            data: None,
            time: self.settings.timeout,
        };
        self.run_program(&program).await
    }

    async fn run_program(&self, program: &Program) -> Result<Object, Failure> {
        self.check(program)?;
        let ended = match program.language {
            Language::JavaScript => self.run_javascript(program, &program.source).await,
            Language::TypeScript => self.run_typescript(program).await,
            Language::Json => Ok(read_json(&program.source)),
            Language::Python => self.run_python(program).await,
            Language::Bash => self.run_bash(program).await,
        };
        match ended {
            Ok(ended) => ended.into_output(program, &self.settings),
            Err(problem) => Err(problem.into_failure(program, &self.settings, None, "")),
        }
    }

    fn check(&self, program: &Program) -> Result<(), Failure> {
        let language = program.language.as_str();
        if !self.settings.languages.contains(&language) {
            return Err(Failure::permanent(format!(
                "language is \"{language}\"; this worker runs {} only (WORKFLOW_CODE_LANGUAGES)",
                self.settings.languages.join(", ")
            )));
        }
        if program.source.len() > SOURCE_BYTES {
            return Err(Failure::permanent(format!(
                "{} has {} bytes; at most {SOURCE_BYTES} are allowed",
                program.key,
                program.source.len()
            )));
        }
        Ok(())
    }

    fn read(&self, node: &Node, context: &Context) -> Result<Program, Failure> {
        let config = &node.config;
        language::check_runtime(config)?;
        let language = match config::text(config, "language")? {
            Some(name) => name.parse()?,
            None => Language::Python,
        };
        let source = match config::value(config, "code") {
            // What a JSON field may hold without being a text.
            Some(value @ (Value::Object(_) | Value::Array(_))) if language == Language::Json => {
                value.to_string()
            }
            _ => config::text(config, "code")?
                .filter(|text| !text.trim().is_empty())
                .ok_or_else(|| Failure::permanent("code is required"))?
                .to_owned(),
        };
        let seconds = config::number(config, "timeout_seconds", 0.1, LONGEST_SECONDS)?;
        Ok(Program {
            language,
            key: "code".to_owned(),
            source,
            scope: evaluator::scope(node, context),
            data: config::value(config, "input_data").cloned(),
            time: seconds.map_or(self.settings.timeout, Duration::from_secs_f64),
        })
    }
}

fn read_json(text: &str) -> Ended {
    Ended {
        result: serde_json::from_str(text).map_err(|error| Problem::NotJson(error.to_string())),
        stdout: String::new(),
        stderr: String::new(),
        duration: Duration::ZERO,
        memory_kib: None,
        exit_code: None,
    }
}

impl Activity for Code {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        language::check_runtime(&node.config)?;
        if let Some(name) = config::text(&node.config, "language")? {
            name.parse::<Language>()?;
        }
        Ok(())
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let program = self.read(node, context)?;
            let output = self.run_program(&program).await?;
            Ok(Outcome::Done {
                output,
                branch: None,
            })
        })
    }
}
