//! From times on a wall clock to instants, where clocks change.
//!
//! A **gap** is what a wall clock leaves out when it is put forward, a **fold** what it shows twice when it is put back.
//! Two kinds of rule, as Vixie's cron has them:
//!
//! - *Times of day* happen once per day in which they are meant: in a gap at the first instant after it, in a fold the
//!   first time that the clock shows them.
//! - *Repeating* rules (in every hour, or at minutes written with `*` or a step) follow the time that really passes: they
//!   fire at each instant whose clock shows a time of theirs, in a fold both times. What a gap leaves out is made
//!   up for at its end, unless the rule fires anyway before the clock, had it not been changed, would have shown that
//!   time: so no interval gets longer by more than a fold, and none is doubled.
//!
//! Both give strictly increasing instants, and no rule loses a day.

use chrono::{MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use crate::ids::Timestamp;

/// Times fall on whole seconds: one before a time is 'from it on'.
const TICK: TimeDelta = TimeDelta::seconds(1);

/// A range that the wall clock shows twice: `start` up to, and without, `end`.
#[derive(Clone, Copy, Debug)]
struct Fold {
    start: NaiveDateTime,
    end: NaiveDateTime,
    /// When it is shown for the second time.
    second: Timestamp,
}

/// The first instant after `after` at which a wall clock in `zone` shows a time of `next`, which finds the first one after
/// another.
pub(super) fn next_after(
    after: Timestamp,
    zone: Tz,
    is_repeating: bool,
    next: impl Fn(NaiveDateTime) -> Option<NaiveDateTime>,
) -> Option<Timestamp> {
    if zone == Tz::UTC {
        return next(after.naive_utc()).map(|time| time.and_utc());
    }
    let local = after.with_timezone(&zone).naive_local();
    let fold = fold_at(local, zone);
    if !is_repeating {
        // What is shown for the second time has been.
        let from = match fold {
            Some(fold) if after >= fold.second => fold.end - TICK,
            _ => local,
        };
        return next(from).and_then(|time| first_instant(time, zone));
    }
    if let Some(fold) = fold {
        let within = |from| next(from).filter(|time| *time < fold.end);
        let found = if after >= fold.second {
            within(local).and_then(|time| second_instant(time, zone))
        } else {
            within(local)
                .and_then(|time| first_instant(time, zone))
                .or_else(|| within(fold.start - TICK).and_then(|time| second_instant(time, zone)))
        };
        if found.is_some() {
            return found;
        }
        return next((fold.end - TICK).max(local))
            .and_then(|time| shown_after_gaps(time, zone, next));
    }
    next(local).and_then(|time| shown_after_gaps(time, zone, next))
}

/// The first instant of a repeating rule whose next time is `time`.
fn shown_after_gaps(
    mut time: NaiveDateTime,
    zone: Tz,
    next: impl Fn(NaiveDateTime) -> Option<NaiveDateTime>,
) -> Option<Timestamp> {
    while let Some((begin, end, instant)) = gap_at(time, zone) {
        match next(end - TICK) {
            Some(later) if later - time <= end - begin => time = later,
            _ => return Some(instant),
        }
    }
    first_instant(time, zone)
}

/// When the clock shows `time` for the first time; the end of the gap, if it never does.
fn first_instant(time: NaiveDateTime, zone: Tz) -> Option<Timestamp> {
    match zone.from_local_datetime(&time) {
        MappedLocalTime::Single(instant) | MappedLocalTime::Ambiguous(instant, _) => {
            Some(instant.with_timezone(&Utc))
        }
        MappedLocalTime::None => gap_at(time, zone).map(|(_, _, instant)| instant),
    }
}

fn second_instant(time: NaiveDateTime, zone: Tz) -> Option<Timestamp> {
    zone.from_local_datetime(&time)
        .latest()
        .map(|instant| instant.with_timezone(&Utc))
}

/// The gap that `time` falls into: its first time, the first one after it, and when that is shown.
fn gap_at(time: NaiveDateTime, zone: Tz) -> Option<(NaiveDateTime, NaiveDateTime, Timestamp)> {
    let gap = GapInfo::new(&time, &zone)?;
    let (begin, _) = gap.begin?;
    let end = gap.end?;
    Some((begin, end.naive_local(), end.with_timezone(&Utc)))
}

/// The fold that `time` falls into.
fn fold_at(time: NaiveDateTime, zone: Tz) -> Option<Fold> {
    let MappedLocalTime::Ambiguous(first, second) = zone.from_local_datetime(&time) else {
        return None;
    };
    let offset = |seconds: i64| {
        let instant = Utc.timestamp_opt(seconds, 0).single()?;
        let offset = zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
        Some(offset.local_minus_utc())
    };
    let (mut before, mut after) = (first.timestamp(), second.timestamp());
    let (old, new) = (offset(before)?, offset(after)?);
    // The clock is put back somewhere in between.
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if offset(middle)? == new {
            after = middle;
        } else {
            before = middle;
        }
    }
    let second = Utc.timestamp_opt(after, 0).single()?;
    let shown = |offset: i32| second.naive_utc() + TimeDelta::seconds(i64::from(offset));
    Some(Fold {
        start: shown(new),
        end: shown(old),
        second,
    })
}

#[cfg(test)]
mod tests;
