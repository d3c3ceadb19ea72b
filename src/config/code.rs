//! What the programs of `code` nodes may be and use.

use std::time::Duration;

use super::reader::Reader;
use super::{settings, to_usize};

/// The languages that programs are written in.
pub const LANGUAGES: [&str; 5] = ["javascript", "typescript", "json", "python", "bash"];

/// What the programs of `code` nodes may be and use.
#[derive(Debug, Clone)]
pub struct CodeConfig {
    /// Those of [`LANGUAGES`] that this worker runs.
    pub languages: Vec<&'static str>,
    /// How long a program runs that sets no limit of its own.
    pub timeout: Duration,
    /// The most memory that one program may hold.
    pub memory_bytes: usize,
    /// The most that one program may print, and the largest result.
    pub output_bytes: usize,
    /// The most processes that one program may have at a time.
    pub processes: u32,
    /// Whether programs in processes of their own reach the network.
    pub network: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> CodeConfig {
    let text = reader.checked_text(&settings::CODE_LANGUAGES, |text| {
        let unknown = words(text).find(|word| !LANGUAGES.contains(&word.as_str()));
        match unknown {
            Some(word) => Err(format!(
                "{}, separated by commas ({word:?} is none)",
                LANGUAGES.join(", ")
            )),
            None => Ok(()),
        }
    });
    let chosen: Vec<String> = words(&text).collect();
    CodeConfig {
        languages: LANGUAGES
            .into_iter()
            .filter(|language| chosen.iter().any(|word| word == language))
            .collect(),
        timeout: reader.duration(&settings::CODE_TIMEOUT),
        memory_bytes: to_usize(reader.integer(&settings::CODE_MEMORY)).saturating_mul(1024 * 1024),
        output_bytes: to_usize(reader.integer(&settings::CODE_OUTPUT)).saturating_mul(1024),
        processes: reader.integer(&settings::CODE_PROCESSES),
        network: reader.flag(&settings::CODE_NETWORK),
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(',')
        .map(|word| word.trim().to_ascii_lowercase())
        .filter(|word| !word.is_empty())
}
