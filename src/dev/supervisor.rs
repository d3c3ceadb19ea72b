//! The shell script that owns PostgreSQL and its directory, as a conversation of lines.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Account;

const SCRIPT: &str = include_str!("supervisor.sh");

/// The running script. Dropping it waits until PostgreSQL is stopped and its directory removed.
#[derive(Debug)]
pub(super) struct Supervisor {
    root: PathBuf,
    child: Child,
    /// `None` only while it is dropped: closing the pipe is the order to clean up.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// `kept` is a directory to use and not to remove; without it one is made in `parent`.
    pub(super) fn spawn(
        bin: &Path,
        parent: &Path,
        kept: Option<&Path>,
        account: Option<&Account>,
    ) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "workflow-worker-pg"])
            .arg(bin)
            .arg(parent)
            .arg(kept.unwrap_or(Path::new("")))
            // The account may have no right to the directory that we are in.
            .current_dir("/")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is meant for the owner, which may still want to write to the database.
            .process_group(0);
        if let Some(account) = account {
            account.apply(&mut command);
        }
        let mut child = command.spawn()?;
        let commands = child.stdin.take();
        let answers = child
            .stdout
            .take()
            .map(BufReader::new)
            .ok_or(io::ErrorKind::BrokenPipe)?;
        let mut supervisor = Self {
            root: PathBuf::new(),
            child,
            commands,
            answers,
        };
        let root = supervisor.answer()?.map_err(io::Error::other)?;
        supervisor.root = root.into();
        Ok(supervisor)
    }

    /// The directory with `data`, `socket`, `log` and `output`.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The process of the script.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives one command and waits for its end. The inner error is what the programs printed.
    pub(super) fn order(&mut self, command: &str) -> io::Result<Result<(), String>> {
        let pipe = self.commands.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(pipe, "{command}")?;
        let answer = self.answer()?;
        Ok(answer.map(drop).map_err(|text| {
            [text, self.tail("output"), self.tail("log")]
                .join("\n")
                .trim()
                .to_owned()
        }))
    }

    fn answer(&mut self) -> io::Result<Result<String, String>> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line
            .trim_end()
            .split_once(' ')
            .unwrap_or((line.trim_end(), ""))
        {
            ("ok", rest) => Ok(Ok(rest.to_owned())),
            ("failed", rest) => Ok(Err(rest.to_owned())),
            _ => Err(io::Error::other("the supervisor of PostgreSQL ended early")),
        }
    }

    /// The last lines of a file in the directory; nothing where it cannot be read.
    fn tail(&self, name: &str) -> String {
        const LINES: usize = 20;
        let text = fs::read(self.root.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(LINES)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.commands.take());
        // It may be gone already, killed by somebody; there is nothing more to be done about it then.
        self.child.wait().ok();
    }
}
