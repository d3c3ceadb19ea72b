//! From a rule to its times, on a calendar without time zone.
//!
//! The crate `cron` finds the times wherever its language can say what is meant; `croner` those of days with `L` or
//! `#`. Both get lists that the front end has made, written in their own order of fields.
//!
//! Bounds: a search ends with the year 2100, where `cron` ends, and 50 years after its beginning, as croniter's does.

use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Utc};
use croner::parser::CronParser;

use super::BadCron;
use super::field::{Field, Nth};
use super::kind::WEEKDAYS;
use super::rule::{Days, Rule};

/// croniter looks no further ahead.
const YEARS_AHEAD: i32 = 50;

/// The last year that the crate `cron` knows.
pub(super) const LAST_YEAR: i32 = 2100;

/// Finds the times of a rule.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    parts: Vec<Part>,
    /// Whether there is no time where one of the parts has none.
    needs_all: bool,
}

/// One list of times.
#[derive(Clone, Debug)]
enum Part {
    Cron(Box<cron::Schedule>),
    Croner(Box<croner::Cron>),
}

impl Finder {
    /// # Errors
    /// The rule has no time at all, in no year.
    pub(super) fn new(rule: &Rule, expression: &str) -> Result<Self, BadCron> {
        let needs_all = !rule.weekday.nth.is_empty();
        let mut parts = Vec::new();
        let mut without_times = None;
        for days in rule.parts() {
            let part = Part::new(rule, *days).map_err(|error| {
                BadCron::about(expression, &format!("it is not understood: {error}"))
            })?;
            let may_meet = *days != Days::OfBoth || can_meet(rule);
            if may_meet && part.next_after(beginning()).is_some() {
                parts.push(part);
            } else {
                without_times.get_or_insert(*days);
            }
        }
        match without_times {
            Some(days) if needs_all || parts.is_empty() => {
                Err(BadCron::about(expression, &never(rule, days)))
            }
            _ => Ok(Self { parts, needs_all }),
        }
    }

    /// The first time after `local`, on a calendar without time zone.
    pub(super) fn next_after(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        if local.year() > LAST_YEAR {
            return None;
        }
        let from = local.max(beginning());
        let latest = from.year() + YEARS_AHEAD;
        let mut first: Option<NaiveDateTime> = None;
        for part in &self.parts {
            match part.next_after(from).filter(|next| next.year() <= latest) {
                Some(next) => {
                    let earlier = first.map_or(next, |first| first.min(next));
                    first = Some(earlier);
                }
                None if self.needs_all => return None,
                None => {}
            }
        }
        first
    }
}

/// A second before the first time that there is.
fn beginning() -> NaiveDateTime {
    DateTime::<Utc>::UNIX_EPOCH.naive_utc() - chrono::TimeDelta::seconds(1)
}

impl Part {
    fn new(rule: &Rule, days: Days) -> Result<Self, String> {
        let day = match days {
            Days::OfMonth | Days::OfBoth => day_list(&rule.day),
            Days::Every | Days::OfWeek => "*".to_owned(),
        };
        let needs_weekday = matches!(days, Days::OfWeek | Days::OfBoth);
        let is_for_croner =
            (needs_weekday && !rule.weekday.nth.is_empty()) || (day != "*" && rule.day.last);
        if is_for_croner {
            let weekday = if needs_weekday {
                croner_weekdays(&rule.weekday)
            } else {
                "*".to_owned()
            };
            let parser = CronParser::builder()
                .dom_and_dow(days == Days::OfBoth)
                .build();
            let pattern = pattern(rule, &day, &weekday, "1970-2100");
            let found = parser
                .parse(&pattern)
                .map_err(|error| format!("{pattern}: {error}"))?;
            return Ok(Self::Croner(Box::new(found)));
        }
        let weekday = if needs_weekday {
            rule.weekday.list(weekday_name)
        } else {
            "*".to_owned()
        };
        let pattern = pattern(rule, &day, &weekday, "*");
        let found =
            cron::Schedule::from_str(&pattern).map_err(|error| format!("{pattern}: {error}"))?;
        Ok(Self::Cron(Box::new(found)))
    }

    fn next_after(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let after = local.and_utc();
        let next = match self {
            Self::Cron(schedule) => schedule.after(&after).next()?,
            Self::Croner(cron) => cron.find_next_occurrence(&after, false).ok()?,
        };
        Some(next.naive_utc())
    }
}

/// The whole rule as croner writes it, for `describe`: the seconds first.
pub(super) fn croner_pattern(rule: &Rule) -> String {
    let (day, weekday) = match rule.parts() {
        [Days::OfMonth, Days::OfWeek] => (day_list(&rule.day), croner_weekdays(&rule.weekday)),
        [Days::OfBoth] => (
            day_list(&rule.day),
            format!("+{}", croner_weekdays(&rule.weekday)),
        ),
        [Days::OfMonth] => (day_list(&rule.day), "*".to_owned()),
        [Days::Every] => ("*".to_owned(), "*".to_owned()),
        _ => ("*".to_owned(), croner_weekdays(&rule.weekday)),
    };
    pattern(rule, &day, &weekday, "*")
}

/// The order of fields that both crates share.
fn pattern(rule: &Rule, day: &str, weekday: &str, every_year: &str) -> String {
    let number = |value: u32| value.to_string();
    let year = match rule.year.list(number) {
        all if all == "*" => every_year.to_owned(),
        years => years,
    };
    format!(
        "{} {} {} {day} {} {weekday} {year}",
        rule.second.list(number),
        rule.minute.list(number),
        rule.hour.list(number),
        rule.month.list(number),
    )
}

fn day_list(day: &Field) -> String {
    let list = day.list(|value| value.to_string());
    match (day.last, list.as_str()) {
        (false, _) | (true, "*") => list,
        (true, "") => "L".to_owned(),
        (true, _) => format!("{list},L"),
    }
}

/// By name: the crate `cron` counts weekdays from 1.
fn weekday_name(day: u32) -> String {
    usize::try_from(day)
        .ok()
        .and_then(|at| WEEKDAYS.get(at))
        .map(|name| name.to_uppercase())
        .unwrap_or_default()
}

fn croner_weekdays(weekday: &Field) -> String {
    if weekday.nth.is_empty() {
        return weekday.list(|day| day.to_string());
    }
    let items: Vec<String> = weekday
        .nth
        .iter()
        .flat_map(|(day, orders)| {
            orders.iter().map(move |order| match order {
                Nth::Number(number) => format!("{day}#{number}"),
                Nth::Last => format!("{day}#L"),
            })
        })
        .collect();
    items.join(",")
}

/// Whether days of the month that the rule names can have the order that it names: the second Friday is one of the 8th to
/// the 14th. Spares a search through all years where the answer is no.
fn can_meet(rule: &Rule) -> bool {
    rule.weekday.nth.values().flatten().any(|nth| {
        let (low, high) = match nth {
            Nth::Number(number) => (u32::from(*number) * 7 - 6, u32::from(*number) * 7),
            Nth::Last => (22, 31),
        };
        (rule.day.last && high >= 28) || rule.day.values.range(low..=high).next().is_some()
    })
}

/// Why a part of the rule has no time.
fn never(rule: &Rule, days: Days) -> String {
    let (day, month) = (&rule.day.text, &rule.month.text);
    let in_year = match rule.fields {
        7 => format!(" in the year \"{}\"", rule.year.text),
        _ => String::new(),
    };
    let exists = rule.day.any
        || rule.day.last
        || rule.day.values.iter().any(|day| {
            // A leap year, in which each month has all days that it ever has.
            let months = if rule.month.any {
                (1..=12).collect()
            } else {
                rule.month.values.clone()
            };
            months
                .iter()
                .any(|month| NaiveDate::from_ymd_opt(2000, *month, *day).is_some())
        });
    if days == Days::OfBoth {
        return format!(
            "it never fires: no day of month \"{day}\" is ever a \"{}\"{in_year}; with # or L in the day of week, write \
             * as the day of month",
            rule.weekday.text
        );
    }
    let in_year = if exists { in_year } else { String::new() };
    format!("it never fires: there is no day of month \"{day}\" in the month \"{month}\"{in_year}")
}

#[cfg(test)]
impl Finder {
    /// The crates that find the times of the parts.
    pub(super) fn crates(&self) -> Vec<&'static str> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Cron(_) => "cron",
                Part::Croner(_) => "croner",
            })
            .collect()
    }
}
