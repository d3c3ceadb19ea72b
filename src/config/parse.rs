//! Text → value, by the kind of the setting (pure). The error of each function is what would be right.

use std::time::Duration;

use super::settings::Kind;

/// `true`, `1`, `yes`, `on` and their opposites, in any case: the spellings that the platform's own settings accept.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// A whole number within the bounds of `kind`.
pub(super) fn integer(text: &str, kind: Kind) -> Option<u32> {
    let Kind::Integer { min, max, .. } = kind else {
        return None;
    };
    text.parse()
        .ok()
        .filter(|value| (min..=max).contains(value))
}

/// A decimal number within the bounds of `kind`. `nan` and `inf` are within none.
pub(super) fn number(text: &str, kind: Kind) -> Option<f64> {
    let Kind::Number { min, max } = kind else {
        return None;
    };
    text.parse()
        .ok()
        .filter(|value| (min..=max).contains(value))
}

/// A length of time within the bounds of `kind`.
pub(super) fn duration(text: &str, kind: Kind) -> Option<Duration> {
    let Kind::Duration { min, max } = kind else {
        return None;
    };
    any_duration(text).filter(|value| (min..=max).contains(value))
}

/// A length of time whose unit is named, for arguments of commands.
///
/// # Errors
/// What would be right.
pub fn duration_with_unit(text: &str) -> Result<Duration, String> {
    text.ends_with(|last: char| last.is_ascii_alphabetic())
        .then(|| any_duration(text))
        .flatten()
        .ok_or_else(|| "a number with ms, s, m, h or d, such as 30d".to_owned())
}

/// A number of seconds, or a number with a unit.
fn any_duration(text: &str) -> Option<Duration> {
    // `ms` stands before `s` and `m`, which it ends and begins with.
    const UNITS: [(&str, f64); 5] = [
        ("ms", 0.001),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3_600.0),
        ("d", 86_400.0),
    ];
    let (digits, seconds) = UNITS
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?.trim_end(), *seconds)))
        .unwrap_or((text, 1.0));
    // `f64::from_str` also takes words and exponents, which nobody means here.
    if !digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return None;
    }
    let value: f64 = digits.parse().ok()?;
    Duration::try_from_secs_f64(value * seconds).ok()
}

/// A length of time in its largest whole unit, in the syntax that `duration` reads.
pub fn show_duration(value: Duration) -> String {
    const UNITS: [(&str, u128); 4] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let millis = value.as_millis();
    if millis == 0 {
        return "0".to_owned();
    }
    UNITS
        .iter()
        .find(|(_, unit_millis)| millis.is_multiple_of(*unit_millis))
        .map_or_else(
            || format!("{millis}ms"),
            |(unit, unit_millis)| format!("{}{unit}", millis / unit_millis),
        )
}

/// A wrong value as an error shows it: quoted, and cut where it is long.
pub(super) fn show_wrong(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start:?}…")
}
