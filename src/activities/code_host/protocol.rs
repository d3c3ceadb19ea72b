//! What worker and host say to each other: one frame of JSON with its length in front for the request, one for the
//! answer.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The length in front of a frame, big-endian.
pub(super) const LENGTH_BYTES: usize = size_of::<u64>();

/// What one program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// From its start to its end.
    pub time_ms: u64,
    /// The address space of each of its processes, and what all of them hold together.
    pub memory_bytes: u64,
    /// What it may write to standard output and standard error together.
    pub output_bytes: usize,
    /// The largest result file.
    pub result_bytes: usize,
    /// Its processes at a time.
    pub processes: u32,
    /// Whether it reaches the network.
    pub network: bool,
}

/// A program to be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The interpreter, as a full path, and its arguments. `{dir}` in an argument is the directory of `files`.
    pub argv: Vec<String>,
    /// What lies in the directory above its working directory: name, content.
    pub files: Vec<(String, String)>,
    /// Which of them is its standard input; none is an empty one.
    pub stdin: Option<String>,
    /// Its environment beside `HOME`, `TMPDIR` and `LANG`; `{dir}` as above.
    pub environment: Vec<(String, String)>,
    /// The file that its result is read from.
    pub result: String,
    /// What it may use.
    pub bounds: Bounds,
}

/// What the worker sends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Made and removed by the host, and removed by the worker if the host is lost.
    pub(super) directory: PathBuf,
    pub(super) job: Job,
}

/// Why a program did not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Excess {
    /// It ran for too long.
    Time,
    /// It printed too much.
    Output,
    /// Its processes together held too much.
    Memory,
    /// It had too many processes.
    Processes,
}

/// How a program ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Its exit code, unless a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Which bound it was stopped at.
    pub excess: Option<Excess>,
    /// What it printed, up to the bound.
    pub stdout: String,
    /// What it complained, up to the bound.
    pub stderr: String,
    /// The content of its result file, if there is one.
    pub result: Option<String>,
    /// Whether the result file is too large to be read.
    pub is_result_too_large: bool,
    /// The most memory that one of its processes held.
    pub memory_kib: Option<u64>,
    /// How long it ran.
    pub duration_ms: u64,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The system cannot give what the bounds ask for, now or later.
    Impossible(String),
    /// The machine is to blame.
    Machine(String),
}

/// What the host answers: the report, or why the program could not be run.
pub(super) type Answer = Result<Report, Refusal>;

/// A frame.
pub(super) fn frame(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, content)?;
    let length = u64::try_from(frame.len() - LENGTH_BYTES).map_err(io::Error::other)?;
    for (byte, of_length) in frame.iter_mut().zip(length.to_be_bytes()) {
        *byte = of_length;
    }
    Ok(frame)
}

/// Reads a frame.
pub(super) fn read<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<T> {
    let mut length = [0; LENGTH_BYTES];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u64::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut content = vec![0; length];
    input.read_exact(&mut content)?;
    Ok(serde_json::from_slice(&content)?)
}

/// Writes a frame.
pub(super) fn write(output: &mut impl Write, content: &impl Serialize) -> io::Result<()> {
    output.write_all(&frame(content)?)?;
    output.flush()
}
