//! What it was measured on.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Value, json};
use workflow_worker::clock;

use crate::lab::{Lab, SETTINGS};
use crate::options::Options;
use crate::results::median;

/// Writes of a page, each followed by fdatasync.
const WRITES: usize = 100;
const PAGE: [u8; 8192] = [1; 8192];

/// The environment of a run.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// When it began, UTC.
    pub(crate) date: String,
    /// Processor, cores, memory, kernel.
    pub(crate) hardware: String,
    /// How long a page takes to the disk of the data files: the median.
    pub(crate) fsync_ms: f64,
    /// The server's version.
    pub(crate) postgresql: String,
    /// The worker's version, with `(debug build)` if it is one.
    pub(crate) worker: String,
    /// How it was called.
    pub(crate) command: String,
    /// Whether sizes were small.
    pub(crate) quick: bool,
    /// How often everything was measured.
    pub(crate) rounds: u32,
}

impl Machine {
    /// Looks.
    pub(crate) async fn look(lab: &Lab, options: &Options) -> anyhow::Result<Self> {
        let client = crate::lab::connect(&lab.admin_url()).await?;
        Ok(Self {
            date: clock::now().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            hardware: hardware(),
            fsync_ms: fsync_ms(&lab.data_directory())?,
            postgresql: client.query_one("SHOW server_version", &[]).await?.get(0),
            worker: version(&options.worker)?,
            command: command(),
            quick: options.quick,
            rounds: options.rounds(),
        })
    }

    /// Whether the worker was built without optimisation.
    pub(crate) fn is_debug(&self) -> bool {
        self.worker.contains("debug")
    }

    /// As the first element of the JSON.
    pub(crate) fn as_json(&self) -> Value {
        let settings: serde_json::Map<String, Value> =
            [("fsync", "on"), ("full_page_writes", "on")]
                .iter()
                .chain(SETTINGS)
                .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
                .collect();
        json!({
            "peer": null,
            "scenario": "environment",
            "date": self.date,
            "machine": self.hardware,
            "fsync_ms": self.fsync_ms,
            "postgresql": self.postgresql,
            "postgresql_settings": settings,
            "worker": self.worker,
            "rounds": self.rounds,
            "quick": self.quick,
            "command": self.command,
        })
    }
}

fn hardware() -> String {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'))
            .map_or_else(
                || "unknown".to_owned(),
                |(_, value)| value.trim().to_owned(),
            )
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kib: f64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} cores, {:.0} GiB RAM, Linux {}",
        field("/proc/cpuinfo", "model name"),
        kib / 1024.0 / 1024.0,
        kernel.trim()
    )
}

fn fsync_ms(directory: &Path) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in(directory)?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let begin = clock::monotonic();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&PAGE)?;
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&times))
}

fn version(binary: &Path) -> anyhow::Result<String> {
    let printed = std::process::Command::new(binary)
        .arg("--version")
        .output()?;
    let text = String::from_utf8_lossy(&printed.stdout);
    let version = text
        .split_whitespace()
        .last()
        .unwrap_or("unknown")
        .to_owned();
    let is_debug = binary.components().any(|part| part.as_os_str() == "debug");
    Ok(if is_debug {
        format!("{version} (debug build)")
    } else {
        version
    })
}

/// With the script's name instead of that of the benchmark's binary, without what cargo adds, and as if the peers had been
/// measured by this call: where their results lie says nothing to a reader.
fn command() -> String {
    let mut words = vec!["scripts/bench".to_owned()];
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        match word.as_str() {
            "--bench" => {}
            "--worker" => drop(given.next()),
            "--beside" => {
                given.next();
                words.push("--peers".to_owned());
            }
            _ => words.push(word),
        }
    }
    words.join(" ")
}
