//! Cron: expression + zone + instant → next instant (pure).
//!
//! The dialect is croniter's, which the platform uses; `docs/schedules.md` describes it. What is here is a front end: it
//! reads the fields (`field`), settles what they mean together (`rule`), and has the crates `cron` and `croner`
//! find the times (`finder`); `zone` puts them on the line of time where clocks change.
//!
//! Invariants: `next_after` is strictly later than its argument, falls on a whole second, and takes a bounded time; an
//! expression that can never fire is refused when it is read.

mod explain;
mod field;
mod finder;
mod kind;
mod rule;
#[cfg(test)]
mod tests;
mod zone;

use std::str::FromStr;

use chrono::{Datelike, TimeDelta};
use chrono_tz::Tz;
use thiserror::Error;

pub use self::explain::Explanation;
use self::finder::Finder;
use self::rule::Rule;
use crate::ids::Timestamp;

/// A cron expression that has been understood.
#[derive(Clone, Debug)]
pub struct Schedule {
    rule: Rule,
    finder: Finder,
    zone: Tz,
}

/// An expression or a zone that cannot be understood. The text names the field, the value and what would be right.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct BadCron(String);

impl BadCron {
    fn about(expression: &str, what: &str) -> Self {
        // A column holds 100 characters; what is longer comes from elsewhere.
        let shown: String = expression.chars().take(120).collect();
        Self(format!("the cron expression {shown:?} is refused: {what}"))
    }
}

impl Schedule {
    /// Reads an expression of the platform's dialect. `zone` is an IANA name; `None` is UTC.
    ///
    /// # Errors
    /// What is wrong with which field, that the expression never fires, or that there is no such zone.
    pub fn parse(expression: &str, zone: Option<&str>) -> Result<Self, BadCron> {
        let zone = match zone {
            None => Tz::UTC,
            Some(name) => Tz::from_str(name).map_err(|_unknown| {
                BadCron(format!(
                    "there is no time zone {name:?}; an IANA name such as \"Europe/Berlin\" is right"
                ))
            })?,
        };
        let rule = Rule::parse(expression)?;
        let finder = Finder::new(&rule, expression)?;
        Ok(Self { rule, finder, zone })
    }

    /// The first fire after `instant`; `None` if there is none within 50 years, or before 2101.
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        // Far from all times there are none either, and calendars come to their ends.
        let instant = instant.max(Timestamp::UNIX_EPOCH - TimeDelta::days(2));
        if instant.year() > finder::LAST_YEAR + 1 {
            return None;
        }
        zone::next_after(instant, self.zone, self.rule.is_repeating(), |local| {
            self.finder.next_after(local)
        })
    }

    /// The zone on whose wall clock the expression is read.
    pub fn zone(&self) -> Tz {
        self.zone
    }
}
