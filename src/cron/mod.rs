//! Cron: expression + zone + instant → next instant (pure).

use std::str::FromStr;

use chrono::Utc;
use chrono_tz::Tz;
use thiserror::Error;

use crate::ids::Timestamp;

/// A cron expression that has been understood.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: croner::Cron,
    zone: Tz,
}

/// An expression or a zone that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct BadCron(String);

impl Schedule {
    /// Reads an expression of the platform's dialect. `zone` is an IANA name; `None` is UTC.
    ///
    /// # Errors
    /// What is wrong with which field, or that there is no such zone.
    pub fn parse(expression: &str, zone: Option<&str>) -> Result<Self, BadCron> {
        let zone = zone.unwrap_or("UTC");
        Ok(Self {
            cron: croner::Cron::from_str(expression).map_err(|error| BadCron(error.to_string()))?,
            zone: Tz::from_str(zone).map_err(|error| BadCron(error.to_string()))?,
        })
    }

    /// The first fire after `instant`; `None` if there is none.
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let local = instant.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.with_timezone(&Utc))
    }
}
