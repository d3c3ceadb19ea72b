//! Why an expression has no result, in words for the person who typed it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest part of a source text that an error carries, in characters.
const EXCERPT_CHARS: usize = 200;

/// What kind of trouble it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ErrorKind {
    /// It cannot be read.
    Syntax,
    /// It was read, and failed: an unknown name, a wrong type, a value that JSON cannot hold.
    Runtime,
    /// It ran longer than `limits.time`.
    Timeout,
    /// It wanted more than `limits.memory_bytes`.
    Memory,
    /// It nested or recursed too deeply.
    Depth,
    /// Its text, its result or its work is larger than allowed.
    TooLarge,
    /// A placeholder `${path}` names nothing.
    MissingValue,
    /// The engine broke down over it.
    Crashed,
    /// `condition_type` is none of ours.
    UnknownLanguage,
}

/// A place in the source text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// An evaluation that gave no result. Its text leaves out the source: who shows it also knows the node's key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", At(*position))]
pub struct ExprError {
    /// What kind.
    pub kind: ErrorKind,
    /// What is wrong; the engine's own words where it has any.
    pub message: String,
    /// The source text, cut to 200 characters.
    pub excerpt: String,
    /// Where, if known.
    pub position: Option<Position>,
    /// Which item of a list it was evaluated for, from 0.
    #[serde(default)]
    pub item: Option<usize>,
}

impl ExprError {
    /// An error without a position.
    pub fn new(kind: ErrorKind, message: impl Into<String>, source: &str) -> Self {
        Self {
            kind,
            message: message.into(),
            excerpt: excerpt(source),
            position: None,
            item: None,
        }
    }

    /// The same error, at a place.
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// The same error, for an item of a list.
    pub fn for_item(self, item: usize) -> Self {
        Self {
            item: Some(item),
            ..self
        }
    }

    /// The same error, with the text that it is about.
    pub fn with_source(mut self, source: &str) -> Self {
        self.excerpt = excerpt(source);
        self
    }
}

/// The first 200 characters of a source text, with `…` if there are more.
pub fn excerpt(source: &str) -> String {
    let source = source.trim();
    match source.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", source.get(..end).unwrap_or_default()),
        None => source.to_owned(),
    }
}

/// Line and column of a byte offset.
pub fn position_of(source: &str, offset: usize) -> Position {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

struct At(Option<Position>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Position { line: 1, column }) => write!(f, " (at column {column})"),
            Some(Position { line, column }) => write!(f, " (at line {line}, column {column})"),
            None => Ok(()),
        }
    }
}
