//! What a program leaves, as the output of a node or as its failure.
//!
//! | what went wrong | kind | type |
//! | --- | --- | --- |
//! | the program threw, or ended with another exit code than 0, or by a signal | retryable | `CodeError` |
//! | its syntax; a result that is not JSON or too large; memory, output or processes beyond the bound | permanent | `CodeError` |
//! | its time | timed out | `TimeoutError` |
//! | no interpreter, or no network namespace where there must be one | permanent | `ConfigurationError` |
//! | the machine | retryable | `ActivityError` |

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Number, Value};

use super::Program;
use crate::activities::code_host::{Excess, Report};
use crate::activities::{Failure, FailureKind, Object};
use crate::config::CodeConfig;
use crate::expr::{ErrorKind, ExprError};

/// A program that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) result: Result<Value, Problem>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) duration: Duration,
    pub(super) memory_kib: Option<u64>,
    pub(super) exit_code: Option<i32>,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Problem {
    /// In the sandbox.
    Script(ExprError),
    /// An exception in Python.
    Thrown(Thrown),
    /// The interpreter says so on standard error.
    Syntax,
    /// It ended with an exit code.
    Exit,
    /// It was ended by a signal.
    Signal(i32),
    /// It was ended at a bound.
    Excess(Excess),
    /// What it left is not JSON.
    NotJson(String),
    /// What it left is larger than it may be.
    TooLarge,
    /// The system has no such program.
    NoInterpreter {
        /// Its name.
        name: &'static str,
        /// Where it was sought.
        path: String,
    },
    /// What its bounds ask for, the system does not have.
    Impossible(String),
    /// It could not be run.
    Machine(String),
}

/// An exception of a Python program, as the prelude tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Thrown {
    /// `syntax`, `error` or `result`.
    kind: String,
    #[serde(rename = "type")]
    name: String,
    message: String,
    line: Option<usize>,
    column: Option<usize>,
}

impl Ended {
    /// `result` reads the result of a program that ended by itself.
    pub(super) fn of_process(
        report: Report,
        result: impl FnOnce(&Report) -> Result<Value, Problem>,
    ) -> Self {
        let found = match (report.excess, report.signal) {
            (Some(excess), _) => Err(Problem::Excess(excess)),
            (None, Some(signal)) => Err(Problem::Signal(signal)),
            _ if report.is_result_too_large => Err(Problem::TooLarge),
            _ => result(&report),
        };
        Self {
            result: found,
            stdout: report.stdout,
            stderr: report.stderr,
            duration: Duration::from_millis(report.duration_ms),
            memory_kib: report.memory_kib,
            exit_code: report.exit_code,
        }
    }

    /// The output of the node, or its failure.
    pub(super) fn into_output(
        self,
        program: &Program,
        settings: &CodeConfig,
    ) -> Result<Object, Failure> {
        let mut output = Object::new();
        let millis = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let last_line = self
            .stderr
            .trim_end()
            .lines()
            .next_back()
            .unwrap_or_default();
        let result = match self.result {
            Ok(Value::Null) => Ok(printed(&self.stdout)),
            Ok(value) => Ok(value),
            Err(problem) => Err(problem.into_failure(program, settings, self.exit_code, last_line)),
        };
        output.insert("stdout".to_owned(), self.stdout.into());
        if !self.stderr.is_empty() {
            output.insert("stderr".to_owned(), self.stderr.into());
        }
        if let Ok(value) = &result {
            output.insert("result".to_owned(), value.clone());
            if value.is_object() {
                output.insert("output_data".to_owned(), value.clone());
            }
        }
        output.insert("duration_ms".to_owned(), millis.into());
        if let Some(mib) = self.memory_kib.and_then(in_mib) {
            output.insert("memory_mb".to_owned(), mib.into());
        }
        if let Some(code) = self.exit_code {
            output.insert("exit_code".to_owned(), code.into());
        }
        match result {
            Ok(_) => Ok(output),
            Err(failure) => Err(failure.with_output(output)),
        }
    }
}

/// A program that sets no result may print it: as JSON, on its last line.
fn printed(stdout: &str) -> Value {
    stdout
        .trim_end()
        .lines()
        .next_back()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or(Value::Null)
}

/// With one decimal.
fn in_mib(kib: u64) -> Option<Number> {
    let tenths = u32::try_from(kib.saturating_mul(10) / 1024).ok()?;
    Number::from_f64(f64::from(tenths) / 10.0)
}

impl Problem {
    pub(super) fn into_failure(
        self,
        program: &Program,
        settings: &CodeConfig,
        exit_code: Option<i32>,
        last_line: &str,
    ) -> Failure {
        let key = &program.key;
        let permanent =
            |what: &str| Failure::permanent(format!("{key}: {what}")).of_type("CodeError");
        let retryable =
            |what: &str| Failure::retryable(format!("{key}: {what}")).of_type("CodeError");
        let mib = settings.memory_bytes >> 20;
        let with_last_line = |what: String| match last_line {
            "" => what,
            line => format!("{what}: {line}"),
        };
        match self {
            Self::Script(error) => match error.kind {
                ErrorKind::Timeout => timed_out(program.time),
                ErrorKind::Runtime => retryable(&error.to_string()),
                _ => permanent(&error.to_string()),
            },
            Self::Thrown(thrown) => match thrown.kind.as_str() {
                "error" if thrown.name == "MemoryError" => permanent(&thrown.located(&format!(
                    "MemoryError: it used more than {mib} MiB of memory"
                ))),
                "error" => retryable(&thrown.located(&thrown.message)),
                "result" => permanent(&format!("the result is not JSON: {}", thrown.message)),
                _ => permanent(&thrown.located(&thrown.message)),
            },
            Self::Syntax => permanent(&with_last_line("it cannot be read".to_owned())),
            Self::Exit => {
                let code = exit_code.unwrap_or(-1);
                retryable(&with_last_line(format!("it ended with exit code {code}")))
            }
            Self::Signal(signal) => retryable(&format!("signal {signal} ended it")),
            Self::Excess(Excess::Time) => timed_out(program.time),
            Self::Excess(Excess::Output) => {
                let kib = settings.output_bytes >> 10;
                permanent(&format!("it printed more than {kib} KiB"))
            }
            Self::Excess(Excess::Memory) => {
                permanent(&format!("it used more than {mib} MiB of memory"))
            }
            Self::Excess(Excess::Processes) => permanent(&format!(
                "it had more than {} processes",
                settings.processes
            )),
            Self::NotJson(error) => permanent(&format!("the result is not JSON: {error}")),
            Self::TooLarge => {
                let kib = settings.output_bytes >> 10;
                permanent(&format!("the result is larger than {kib} KiB"))
            }
            Self::NoInterpreter { name, path } => Failure::permanent(format!(
                "language is \"{}\", which needs {name}, and this worker finds none in {path}",
                program.language.as_str()
            )),
            Self::Impossible(why) => Failure::permanent(why),
            Self::Machine(error) => {
                Failure::retryable(format!("{key}: {error}")).of_type("ActivityError")
            }
        }
    }
}

/// In the words of every time-out.
fn timed_out(limit: Duration) -> Failure {
    Failure {
        kind: FailureKind::TimedOut,
        ..Failure::retryable(format!("timed out after {} seconds", limit.as_secs_f64()))
    }
    .of_type("TimeoutError")
}

impl Thrown {
    fn located(&self, message: &str) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{message} (line {line}, column {column})"),
            (Some(line), None) => format!("{message} (line {line})"),
            _ => message.to_owned(),
        }
    }
}
