//! Hands on what an activity host prints, line by line.
//!
//! A line is cut at a bound, so that a host that prints without line ends costs no memory. What comes after the cut is
//! read and dropped, so that the host never waits for a full pipe.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line that is handed on, in bytes.
const LINE_BYTES: usize = 8 << 10;

/// Reads to the end, and hands each line that is not empty to `take`.
pub(super) async fn forward(mut pipe: impl AsyncBufRead + Unpin, mut take: impl FnMut(String)) {
    let mut line = Vec::new();
    let mut is_cut = false;
    loop {
        let (used, is_end) = match pipe.fill_buf().await {
            // A pipe that breaks has nothing more to say.
            Ok([]) | Err(_) => break,
            Ok(buffer) => {
                let end = buffer.iter().position(|byte| *byte == b'\n');
                let text = buffer
                    .get(..end.unwrap_or(buffer.len()))
                    .unwrap_or_default();
                let room = LINE_BYTES.saturating_sub(line.len());
                is_cut |= text.len() > room;
                line.extend_from_slice(text.get(..room).unwrap_or(text));
                (end.map_or(buffer.len(), |end| end + 1), end.is_some())
            }
        };
        pipe.consume(used);
        if is_end {
            hand_on(&mut line, &mut is_cut, &mut take);
        }
    }
    hand_on(&mut line, &mut is_cut, &mut take);
}

fn hand_on(line: &mut Vec<u8>, is_cut: &mut bool, take: &mut impl FnMut(String)) {
    let mut text = String::from_utf8_lossy(line).trim_end().to_owned();
    if *is_cut {
        text.push('…');
    }
    if !text.is_empty() {
        take(text);
    }
    line.clear();
    *is_cut = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        forward(tokio::io::BufReader::with_capacity(7, text), |line| {
            lines.push(line);
        })
        .await;
        lines
    }

    #[tokio::test]
    async fn each_line_is_handed_on_with_the_last_one() {
        assert_eq!(
            lines(b"one\r\n\n  two is longer\nlast").await,
            ["one", "  two is longer", "last"]
        );
        assert_eq!(lines(b"\xff\n").await, ["\u{fffd}"]);
        assert!(lines(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; LINE_BYTES + 10_000];
        text.extend_from_slice(b"\nnext\n");
        let lines = lines(&text).await;
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].chars().count(), LINE_BYTES + 1);
        assert!(lines[0].ends_with("x…"));
        assert_eq!(lines[1], "next");
    }
}
