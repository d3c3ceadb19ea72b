//! Python and Bash: an interpreter of the system, in a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::outcome::{Ended, Problem, Thrown};
use super::{Code, Program};
use crate::activities::code_host::{self, Bounds, Job, Refusal, Report};
use crate::activities::python::our_binary;

/// Gives a Python program its names and finds its result.
const PRELUDE: &str = include_str!("prelude.py");
/// Where interpreters are sought if the worker has no `PATH`.
pub(super) const STANDARD_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The file of the result.
const RESULT: &str = "result.json";

impl Code {
    pub(super) async fn run_python(&self, program: &Program) -> Result<Ended, Problem> {
        let python = self.interpreter("python3")?;
        let options = ["-I", "-B", "-u", "-X", "utf8", "{dir}/prelude.py", "{dir}"];
        let mut job = self.job(program, &python, &options, "code.py");
        job.files
            .push(("prelude.py".to_owned(), PRELUDE.to_owned()));
        let report = self.in_process(&self.host()?, job).await?;
        Ok(Ended::of_process(report, python_result))
    }

    pub(super) async fn run_bash(&self, program: &Program) -> Result<Ended, Problem> {
        let bash = self.interpreter("bash")?;
        let options = ["--noprofile", "--norc", "../code.sh"];
        let mut job = self.job(program, &bash, &options, "code.sh");
        job.stdin = Some("input.json".to_owned());
        let file = |name: &str, file: &str| (name.to_owned(), format!("{{dir}}/{file}"));
        job.environment.extend([
            file("INPUT_FILE", "input.json"),
            file("SCOPE_FILE", "scope.json"),
            file("RESULT_FILE", RESULT),
        ]);
        let report = self.in_process(&self.host()?, job).await?;
        Ok(Ended::of_process(report, bash_result))
    }

    /// Runs a job when there is room for one more.
    pub(super) async fn in_process(&self, binary: &Path, job: Job) -> Result<Report, Problem> {
        let _permit = Arc::clone(&self.processes)
            .acquire_owned()
            .await
            .map_err(|error| Problem::Machine(error.to_string()))?;
        code_host::run(binary, &self.temporary, job)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Impossible(why) => Problem::Impossible(why),
                Refusal::Machine(why) => Problem::Machine(why),
            })
    }

    fn host(&self) -> Result<PathBuf, Problem> {
        self.binary
            .clone()
            .map_or_else(our_binary, Ok)
            .map_err(Problem::Machine)
    }

    fn interpreter(&self, name: &'static str) -> Result<PathBuf, Problem> {
        std::env::split_paths(&self.path)
            .map(|directory| directory.join(name))
            .find(|file| file.is_absolute() && is_executable(file))
            .ok_or_else(|| Problem::NoInterpreter {
                name,
                path: self.path.clone(),
            })
    }

    fn job(&self, program: &Program, interpreter: &Path, options: &[&str], file: &str) -> Job {
        let scope = &program.scope;
        let mut names = Map::new();
        names.insert("input".to_owned(), Value::Object((*scope.data).clone()));
        let variables = scope
            .variable_names()
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), scope.variable(name)?.clone())));
        names.insert("variables".to_owned(), Value::Object(variables.collect()));
        names.extend(scope.extra.iter().cloned());
        let data = match &program.data {
            Some(data) => data.to_string(),
            None => names.get("input").map(Value::to_string).unwrap_or_default(),
        };
        let settings = &self.settings;
        Job {
            argv: std::iter::once(interpreter.to_string_lossy().into_owned())
                .chain(options.iter().map(|option| (*option).to_owned()))
                .collect(),
            files: vec![
                (file.to_owned(), program.source.replace("\r\n", "\n")),
                ("input.json".to_owned(), data),
                ("scope.json".to_owned(), Value::Object(names).to_string()),
            ],
            stdin: None,
            environment: vec![("PATH".to_owned(), self.path.clone())],
            result: RESULT.to_owned(),
            bounds: Bounds {
                time_ms: u64::try_from(program.time.as_millis()).unwrap_or(u64::MAX),
                memory_bytes: u64::try_from(settings.memory_bytes).unwrap_or(u64::MAX),
                output_bytes: settings.output_bytes,
                result_bytes: settings.output_bytes,
                processes: settings.processes,
                network: settings.network,
            },
        }
    }
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// What the prelude writes.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    error: Option<Thrown>,
}

fn python_result(report: &Report) -> Result<Value, Problem> {
    let answer = match &report.result {
        None => None,
        // A program could write there too, but only to its own harm.
        Some(text) => Some(
            serde_json::from_str::<Answer>(text)
                .map_err(|error| Problem::NotJson(error.to_string()))?,
        ),
    };
    match answer {
        Some(Answer {
            error: Some(thrown),
            ..
        }) => Err(Problem::Thrown(thrown)),
        _ if report.exit_code != Some(0) => Err(Problem::Exit),
        Some(answer) => Ok(answer.result),
        None => Ok(Value::Null),
    }
}

fn bash_result(report: &Report) -> Result<Value, Problem> {
    if report.exit_code != Some(0) {
        let is_syntax = report
            .stderr
            .lines()
            .any(|line| line.starts_with("../code.sh: ") && line.contains("syntax error"));
        return Err(if is_syntax && report.exit_code == Some(2) {
            Problem::Syntax
        } else {
            Problem::Exit
        });
    }
    match &report.result {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Problem::NotJson(format!("$RESULT_FILE: {error}"))),
    }
}
