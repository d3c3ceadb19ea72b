//! A child process whose lines are kept, and which does not outlive its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::wait::{SOON, wait_until, wait_until_blocking};

/// A child process. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `command`, and keeps what it prints on standard output and standard error.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let lines = Arc::default();
        keep_lines(child.stdout.take().expect("a pipe"), &lines);
        keep_lines(child.stderr.take().expect("a pipe"), &lines);
        Self { child, lines }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line with `text` in it.
    pub(crate) fn line_containing(&self, text: &str) -> String {
        wait_until_blocking(&format!("a line with {text:?}"), SOON, || {
            let lines = self.lines();
            lines
                .iter()
                .find(|line| line.contains(text))
                .cloned()
                .ok_or_else(|| lines.join("\n"))
        })
    }

    /// `kill -9`, and gone when this returns.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// `kill -TERM`.
    pub(crate) fn sigterm(&self) {
        let status = Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status();
        assert!(status.expect("kill can be run").success());
    }

    /// Waits for its end.
    pub(crate) fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let lines = self.lines.clone();
        wait_until_blocking("the end of the process", timeout, || {
            let ended = self.child.try_wait().expect("it can be asked");
            ended.ok_or_else(|| lines.lock().unwrap().join("\n"))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads to the end on a thread of its own, so that the child never waits for a full pipe.
fn keep_lines(pipe: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = lines.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            lines
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// Whether a process that is not our child runs.
pub(crate) fn is_running(id: u32) -> bool {
    // A process that has ended and was not waited for has no command line any more.
    std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// `kill -9` of a process that is not our child.
pub(crate) fn kill9(id: u32) {
    let status = Command::new("kill").args(["-9", &id.to_string()]).status();
    assert!(status.unwrap().success());
}

/// Waits for the end of a process that is not our child.
pub(crate) async fn wait_until_gone(id: u32) {
    wait_until("the process to end", SOON, async || {
        if is_running(id) {
            Err(format!("{id} runs"))
        } else {
            Ok(())
        }
    })
    .await;
}
