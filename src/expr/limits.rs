//! How much one evaluation may use.
//!
//! The defaults are for conditions and small mappings: they are far above what an honest expression needs, and far
//! below what would hurt the worker when each of its threads meets a dishonest one.
//!
//! QuickJS looks at its clock every 10,000 steps. A step takes nanoseconds, but on texts that nearly fill the memory
//! limit it can take milliseconds, so an expression made to do harm can hold its thread for up to a minute or so. It
//! ends all the same, and whoever waits for it need not wait that long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The bounds of one evaluation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Time on the processor's clock, from the start of the evaluation.
    pub time: Duration,
    /// What the engine holds at once. Python: that of its process, beyond what it has at its start.
    pub memory_bytes: usize,
    /// JavaScript: the engine's stack. It must be well below the stack of the thread it runs on (2 MiB with tokio).
    pub stack_bytes: usize,
    /// Python: how deep calls and the values of a result may nest.
    pub depth: usize,
    /// The longest source text.
    pub source_bytes: usize,
    /// The largest result, as JSON text.
    pub result_bytes: usize,
}

impl Limits {
    /// What the evaluation of one expression for all items of a list may use: ten times the time, and eight times the
    /// result, of one evaluation.
    pub fn for_list(self) -> Self {
        Self {
            time: self.time.saturating_mul(10),
            result_bytes: self.result_bytes.saturating_mul(8),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(1),
            memory_bytes: 64 << 20,
            stack_bytes: 256 << 10,
            depth: 100,
            source_bytes: 64 << 10,
            result_bytes: 1 << 20,
        }
    }
}
