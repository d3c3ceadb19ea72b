//! What the worker does with the times of schedules that passed while no worker ran.

use std::time::Duration;

use super::reader::Reader;
use super::{settings, to_usize};

/// What happens to missed times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// One fire stands for all of them, as with the platform's earlier worker.
    #[default]
    Coalesce,
    /// Each is a fire of its own, oldest first, up to a bound; one more stands for the rest.
    CatchUp,
    /// Those that are late by more than the grace do not fire.
    Skip,
}

impl Missed {
    /// Reads the word of a setting or of the database.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "coalesce" => Some(Self::Coalesce),
            "catch_up" => Some(Self::CatchUp),
            "skip" => Some(Self::Skip),
            _ => None,
        }
    }
}

/// How schedules fire that have no policies of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// What happens to missed times.
    pub missed: Missed,
    /// The most missed times of one schedule that fire each for itself.
    pub max_catch_up: usize,
    /// How late a fire may be under [`Missed::Skip`].
    pub grace: Duration,
}

/// Reads them.
pub(super) fn read(reader: &mut Reader<'_>) -> ScheduleConfig {
    ScheduleConfig {
        missed: reader.choice(&settings::SCHEDULE_MISSED, Missed::parse),
        max_catch_up: to_usize(reader.integer(&settings::SCHEDULE_MAX_CATCH_UP)),
        grace: reader.duration(&settings::SCHEDULE_GRACE),
    }
}
