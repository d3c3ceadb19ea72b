//! What an expression means in words, and where others would read it differently.

use super::Schedule;
use super::field::{Field, Kind};
use super::finder::croner_pattern;
use super::rule::Days;

/// An expression in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// One sentence.
    pub meaning: String,
    /// What may surprise: each a sentence or two.
    pub notes: Vec<String>,
}
impl Schedule {
    /// What the expression means, and what may surprise about it.
    pub fn explain(&self) -> Explanation {
        let pattern = croner_pattern(&self.rule);
        let meaning = format!("{} = {:?}", pattern, pattern.parse::<croner::Cron>().map(|c| c.describe()));
        Explanation { meaning, notes: vec![] }
    }
}
