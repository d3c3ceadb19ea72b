//! JavaScript inside the worker, on threads that may block; TypeScript becomes JavaScript first, in a process that may
//! be lost, because its parser bounds neither its stack nor its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::outcome::{Ended, Problem};
use super::{Code, Program};
use crate::activities::code_host::{self, Bounds, Excess, Job, Report};
use crate::activities::python::our_binary;
use crate::clock;
use crate::expr::javascript::program::{self, Input, Run};
use crate::expr::javascript::typescript::Stripped;
use crate::expr::{ErrorKind, ExprError, Limits};

/// What a program inside the worker may hold at most, whatever the setting says.
const MEMORY_BYTES: usize = 128 << 20;
/// How long a result is waited for beyond the time limit, see `Evaluator`.
const PATIENCE: Duration = Duration::from_secs(10);
/// What taking the types off a program may use.
const STRIP: Bounds = Bounds {
    time_ms: 10_000,
    memory_bytes: 1 << 30,
    output_bytes: 16 << 10,
    result_bytes: 64 << 20,
    processes: 8,
    network: true,
};

/// Ends a program that nobody waits for.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Code {
    pub(super) async fn run_typescript(&self, program: &Program) -> Result<Ended, Problem> {
        let stripped = self.strip(&program.source).await?;
        let mut ended = self.run_javascript(program, &stripped.code).await?;
        ended.result = ended.result.map_err(|problem| match problem {
            Problem::Script(mut error) => {
                error.position = error.position.map(|place| stripped.original(place));
                Problem::Script(error)
            }
            other => other,
        });
        Ok(ended)
    }

    async fn strip(&self, source: &str) -> Result<Stripped, Problem> {
        let binary = self.binary.clone().map_or_else(our_binary, Ok);
        let binary = binary.map_err(Problem::Machine)?;
        let job = Job {
            argv: [
                &*binary.to_string_lossy(),
                code_host::COMMAND,
                "typescript",
                "{dir}/code.ts",
                "{dir}/result.json",
            ]
            .map(str::to_owned)
            .into(),
            files: vec![("code.ts".to_owned(), source.to_owned())],
            stdin: None,
            environment: Vec::new(),
            result: "result.json".to_owned(),
            bounds: STRIP,
        };
        let report = self.in_process(&binary, job).await?;
        read_stripped(&report)
    }

    pub(super) async fn run_javascript(
        &self,
        program: &Program,
        source: &str,
    ) -> Result<Ended, Problem> {
        let permit = Arc::clone(&self.threads)
            .acquire_owned()
            .await
            .map_err(|error| Problem::Machine(error.to_string()))?;
        let limits = Limits {
            time: program.time,
            memory_bytes: self.settings.memory_bytes.min(MEMORY_BYTES),
            result_bytes: self.settings.output_bytes,
            ..Limits::default()
        };
        let stop = StopOnDrop(Arc::default());
        let flag = Arc::clone(&stop.0);
        let input = Input {
            scope: program.scope.clone(),
            data: program.data.clone(),
        };
        let source = source.to_owned();
        let started = clock::monotonic();
        let work = tokio::task::spawn_blocking(move || {
            let run = program::run(&source, &input, &limits, &flag);
            drop(permit);
            run
        });
        let run = match tokio::time::timeout(limits.time + PATIENCE, work).await {
            Ok(Ok(run)) => run,
            Ok(Err(error)) => return Err(Problem::Machine(error.to_string())),
            Err(_elapsed) => late(),
        };
        Ok(Ended {
            result: run.result.map_err(Problem::Script),
            stdout: run.stdout,
            stderr: run.stderr,
            duration: started.elapsed(),
            memory_kib: None,
            exit_code: None,
        })
    }
}

fn late() -> Run {
    Run {
        result: Err(ExprError::new(ErrorKind::Timeout, "", "")),
        stdout: String::new(),
        stderr: String::new(),
    }
}

fn read_stripped(report: &Report) -> Result<Stripped, Problem> {
    if let (Some(0), Some(result)) = (report.exit_code, &report.result) {
        return serde_json::from_str::<Result<Stripped, ExprError>>(result)
            .map_err(|error| Problem::Machine(error.to_string()))?
            .map_err(Problem::Script);
    }
    // The parser aborts where its stack or its memory ends.
    let (kind, message) = match report.excess {
        Some(Excess::Time) => (ErrorKind::TooLarge, "its types take too long to read"),
        _ if report.stderr.contains("memory") => {
            (ErrorKind::Memory, "its types take too much memory to read")
        }
        _ => (ErrorKind::Depth, "it nests too deeply"),
    };
    Err(Problem::Script(ExprError::new(kind, message, "")))
}
