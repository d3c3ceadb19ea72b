//! The platform's shapes ↔ ours (pure): graphs in, the published view and log rows out, and what a status means.
//!
//! What the platform's builder, API and earlier worker may leave out, spell twice or get wrong ends here; the rest of
//! the worker sees checked values. Nothing in these rows can stop the worker: what is wrong becomes an error that
//! says where, for the one execution that it belongs to.

pub mod graph_json;
mod host_state;
mod json_text;
pub mod log_entry;
pub mod mocks;
mod rounds;
mod shape;
pub mod signals;
pub mod state_json;
pub mod status;
#[cfg(test)]
mod tests;

use chrono::{Datelike, Timelike};

use crate::ids::Timestamp;

/// A time as the platform's Python reads it: ISO-8601 in UTC with exactly six fractional digits, no `Z`, no offset.
pub fn iso_time(at: Timestamp) -> String {
    let (year, micros) = (at.year(), at.nanosecond() / 1_000);
    if !(0..=9_999).contains(&year) || micros > 999_999 {
        // A leap second, or a year with a sign.
        return at.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    }
    // By hand: each step and log row has such times, and to read the pattern takes longer than all the rest.
    format!(
        "{year:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{micros:06}",
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
    )
}

/// The JSON text with each escaped NUL replaced by U+FFFD, the sign for what cannot be shown: `jsonb` refuses
/// `\u0000`, and a whole execution must not be lost over one byte of an output.
pub fn without_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut clean = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some((before, after)) = rest.split_once(NUL) {
        clean.push_str(before);
        // After an odd number of backslashes this one is itself escaped: the text `\u0000`, not the sign NUL.
        let backslashes = before.len() - before.trim_end_matches('\\').len();
        clean.push_str(if backslashes % 2 == 0 { "\\ufffd" } else { NUL });
        rest = after;
    }
    clean.push_str(rest);
    clean
}
