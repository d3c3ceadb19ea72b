//! Times and NUL; the graphs and states, and what holds for any JSON, are beside.

pub(super) mod any_json;
mod graph_json;
mod state_json;

use super::{iso_time, without_nul};

#[test]
fn a_time_has_six_digits_and_no_zone() {
    let at = "2026-01-05T00:52:44Z".parse().unwrap();
    assert_eq!(iso_time(at), "2026-01-05T00:52:44.000000");
    let at = "2026-01-05T00:52:44.1234567Z".parse().unwrap();
    assert_eq!(iso_time(at), "2026-01-05T00:52:44.123456");
}

#[test]
fn a_time_is_written_as_chrono_writes_it() {
    let seconds = [
        -62_167_219_200,
        -62_167_219_201,
        -1,
        0,
        951_782_399,
        253_402_300_799,
        253_402_300_800,
    ];
    for (second, nanos) in seconds
        .into_iter()
        .flat_map(|second| [0, 7_000, 999_999_999].map(|nanos| (second, nanos)))
        .chain([(1_483_228_799, 1_500_000_000)])
    {
        let at = crate::ids::Timestamp::from_timestamp(second, nanos).unwrap();
        let expected = at.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        assert_eq!(iso_time(at), expected);
    }
}

#[test]
fn a_nul_is_replaced_and_the_text_that_looks_like_one_is_not() {
    for text in [
        "a\u{0}b",
        "\u{0}\u{0}",
        "\\u0000",
        "\\\u{0}",
        "\\\\u0000\u{0}\\",
        "no",
    ] {
        let clean = without_nul(serde_json::to_string(text).unwrap());
        let back: String = serde_json::from_str(&clean).unwrap();
        assert_eq!(back, text.replace('\u{0}', "\u{fffd}"));
    }
}
