//! Edits of a source text that remember where each part came from, so that an error behind them still names the
//! place in the text that the user typed.

use std::ops::Range;

/// One edit: `text` takes the place of `range`. An empty range inserts.
#[derive(Debug)]
pub(super) struct Edit {
    /// Bytes of the text before.
    pub(super) range: Range<usize>,
    /// What stands there afterwards.
    pub(super) text: String,
}

/// A text after its edits.
#[derive(Debug)]
pub(super) struct Edited {
    /// The text.
    pub(super) text: String,
    /// In the order of the text.
    pieces: Vec<Piece>,
}

/// A run of bytes that was either kept or put in.
#[derive(Debug)]
struct Piece {
    start: usize,
    origin: usize,
    kept: bool,
}

impl Edited {
    /// Carries out edits that do not overlap. Insertions at one place stand in their given order, before what
    /// replaces the text that begins there.
    pub(super) fn new(source: &str, mut edits: Vec<Edit>) -> Self {
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        let mut edited = Self {
            text: String::with_capacity(source.len()),
            pieces: Vec::with_capacity(edits.len() * 2 + 1),
        };
        let mut done = 0;
        for edit in edits {
            edited.keep(source, done..edit.range.start);
            edited.pieces.push(Piece {
                start: edited.text.len(),
                origin: edit.range.start,
                kept: false,
            });
            edited.text.push_str(&edit.text);
            done = edit.range.end;
        }
        edited.keep(source, done..source.len());
        edited
    }

    fn keep(&mut self, source: &str, range: Range<usize>) {
        self.pieces.push(Piece {
            start: self.text.len(),
            origin: range.start,
            kept: true,
        });
        self.text.push_str(source.get(range).unwrap_or_default());
    }

    /// The byte of the text before that stands behind a byte of the text now.
    pub(super) fn origin(&self, offset: usize) -> usize {
        let next = self.pieces.partition_point(|piece| piece.start <= offset);
        match next.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some(piece) if piece.kept => piece.origin + (offset - piece.start),
            Some(piece) => piece.origin,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_behind_edits_is_found_again() {
        let edit = |range: Range<usize>, text: &str| Edit {
            range,
            text: text.to_owned(),
        };
        let edited = Edited::new(
            "a.b + c",
            vec![
                edit(1..3, ", 'b')"),
                edit(0..0, "outer("),
                edit(0..0, "get("),
            ],
        );
        assert_eq!(edited.text, "outer(get(a, 'b') + c");
        let place = |text: &str| edited.origin(edited.text.find(text).unwrap());
        assert_eq!(
            (place("get"), place("a,"), place("'b'"), place("c")),
            (0, 0, 1, 6)
        );
    }
}
