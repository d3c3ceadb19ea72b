//! What an expression means in words, and where others would read it differently.
//!
//! The words are croner's, for the expression as it was understood here. Each note is a rule of its own: it looks at the
//! rule and says nothing if it does not apply.

use std::str::FromStr;

use chrono_tz::Tz;

use super::Schedule;
use super::finder::croner_pattern;
use super::kind::Kind;
use super::rule::{Days, Rule};

/// An expression in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// One sentence.
    pub meaning: String,
    /// What may surprise: each a sentence or two.
    pub notes: Vec<String>,
}

/// Looks at a rule for something that surprises.
type Note = fn(&Rule) -> Option<String>;

const NOTES: &[Note] = &[
    seconds_come_last,
    both_days,
    order_overrides_the_day,
    uneven_step,
    whole_cycle,
    short_months,
    weekday_numbers,
    lost_by_older_releases,
    step_from_the_last,
];

impl Schedule {
    /// What the expression means, and what may surprise about it.
    pub fn explain(&self) -> Explanation {
        let pattern = croner_pattern(&self.rule);
        let words = match croner::Cron::from_str(&pattern) {
            Ok(cron) => cron.describe(),
            Err(error) => format!("There are no words for {pattern}: {error}."),
        };
        let clock = match self.zone {
            Tz::UTC => "in UTC".to_owned(),
            zone => format!("on the clock of {zone}"),
        };
        let mut notes: Vec<String> = NOTES.iter().filter_map(|note| note(&self.rule)).collect();
        if self.zone != Tz::UTC {
            notes.push(when_clocks_change(&self.rule).to_owned());
        }
        Explanation {
            meaning: format!("{} ({clock})", words.trim_end_matches('.')),
            notes,
        }
    }
}

fn seconds_come_last(rule: &Rule) -> Option<String> {
    let second = &rule.second.text;
    match rule.fields {
        6 => Some(format!(
            "the sixth field, \"{second}\", is the second. Quartz, Spring and others have the seconds first and would read \
             all fields differently"
        )),
        7 => Some(format!(
            "the sixth field, \"{second}\", is the second and the seventh, \"{}\", the year. Quartz, Spring and others have \
             the seconds first and would read all fields differently",
            rule.year.text
        )),
        _ => None,
    }
}

fn both_days(rule: &Rule) -> Option<String> {
    if rule.parts() != [Days::OfMonth, Days::OfWeek] {
        return None;
    }
    let (day, weekday) = (&rule.day.text, &rule.weekday.text);
    let vixie = if [day, weekday].iter().any(|text| text.starts_with('*')) {
        "; where a day field begins with *, Vixie's cron wants both"
    } else {
        ""
    };
    Some(format!(
        "either is enough: a day of month \"{day}\", or a day of week \"{weekday}\". Some, like the crate cron and systemd, \
         want both{vixie}"
    ))
}

fn order_overrides_the_day(rule: &Rule) -> Option<String> {
    (rule.parts() == [Days::OfBoth, Days::OfWeek]).then(|| {
        format!(
            "beside # or L in the day of week, the day of month \"{}\" has no say: so does croniter",
            rule.day.text
        )
    })
}

fn uneven_step(rule: &Rule) -> Option<String> {
    let fields = [&rule.minute, &rule.hour, &rule.day, &rule.second];
    let field = fields.into_iter().find(|field| {
        let step = field
            .text
            .strip_prefix("*/")
            .and_then(|step| step.parse::<u32>().ok());
        let (low, high) = field.kind.range();
        // Months end on different days, so that no step of days is even.
        step.is_some_and(|step| {
            step > 1 && (field.kind == Kind::Day || (high - low + 1) % step != 0)
        })
    })?;
    let cycle = match field.kind {
        Kind::Minute => "hour",
        Kind::Hour => "day",
        Kind::Day => "month",
        _ => "minute",
    };
    Some(format!(
        "\"{}\" begins anew each {cycle}, so that the last interval of the {cycle} is a different one",
        field.text
    ))
}

fn whole_cycle(rule: &Rule) -> Option<String> {
    let is_cycle = |item: &str| {
        let range = item.split('/').next().unwrap_or_default();
        range.split_once('-').is_some_and(|(low, high)| low == high)
    };
    rule.all().into_iter().find_map(|field| {
        let item = field.text.split(',').find(|item| is_cycle(item))?;
        Some(format!(
            "\"{item}\" goes once round, as in croniter: it is each {}, not one",
            field.kind.name()
        ))
    })
}

fn short_months(rule: &Rule) -> Option<String> {
    let latest = rule
        .day
        .values
        .last()
        .filter(|_| rule.parts().contains(&Days::OfMonth))?;
    let first = rule.day.values.first()?;
    (*first > 28).then(|| {
        let days = if first == latest {
            "that day"
        } else {
            "those days"
        };
        format!("months without {days} have no such fire; the last day of each month is L")
    })
}

fn weekday_numbers(rule: &Rule) -> Option<String> {
    let uses_days = !matches!(rule.parts(), [Days::Every] | [Days::OfMonth]);
    let text = &rule.weekday.text;
    // The digits after # and / count something else.
    let is_number = text.split(',').any(|item| {
        let day = item.split(['#', '/']).next().unwrap_or_default();
        day.contains(|character: char| character.is_ascii_digit())
    });
    (uses_days && is_number).then(|| {
        format!(
            "in the day of week \"{text}\", 0 and 7 are Sunday and 1 is Monday; Quartz and the crate cron count from 1 = \
             Sunday"
        )
    })
}

/// croniter 6.0 and older leave out days: see `docs/schedules.md`.
fn lost_by_older_releases(rule: &Rule) -> Option<String> {
    let days = &rule.day;
    let in_month = |month: u32| rule.month.any || rule.month.values.contains(&month);
    let has = |day: u32| days.values.contains(&day);
    if !rule.parts().contains(&Days::OfMonth) {
        return None;
    }
    // From the last day of February that it takes, it jumps to where its 30th or 31st would be.
    let jumps_to_the_2nd = has(1) && !has(29) && (has(31) || (has(30) && !has(28)));
    let jumps_to_the_3rd = has(2) && has(31) && ![28, 29, 30].into_iter().any(has);
    let skips_early = in_month(2) && in_month(3) && (jumps_to_the_2nd || jumps_to_the_3rd);
    let skips_last = days.last && [29, 30, 31].into_iter().any(has);
    (skips_early || skips_last).then(|| {
        "croniter before 6.1 leaves out some of these times, around the end of short months; they fire here".to_owned()
    })
}

/// croniter 6 goes on with the whole cycle: see `docs/schedules.md`.
fn step_from_the_last(rule: &Rule) -> Option<String> {
    rule.all().into_iter().find_map(|field| {
        let (_, high) = field.kind.range();
        let item = field.text.split(',').find(|item| {
            item.split_once('/')
                .and_then(|(from, _)| field.kind.number(from))
                .is_some_and(|from| from == high)
        })?;
        let step = item.split('/').next_back().unwrap_or_default();
        Some(format!(
            "\"{item}\" is {high} only; croniter before 7.0 reads it as */{step}"
        ))
    })
}

fn when_clocks_change(rule: &Rule) -> &'static str {
    if rule.is_repeating() {
        "when clocks change it goes on with the time that really passes: it fires in both hours of a repeated one, and a \
         skipped time is made up for only where the wait would be longer than without the change"
    } else {
        "when clocks change, a skipped time fires at the first instant after it, and a repeated one fires the first time only"
    }
}
