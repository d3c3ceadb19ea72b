//! A whole cron expression in croniter's dialect, and what its two day fields mean together.
//!
//! The rules of croniter that others do not share are all here and in `field`: five fields, six with the seconds last,
//! seven with the year after them; both days given mean either; a weekday with `#` or `L` overrides the day of month.

use super::BadCron;
use super::field::Field;
use super::kind::{KINDS, Kind};

/// The short forms and what they stand for. croniter knows no other one.
pub(super) const SHORT_FORMS: [(&str, &str); 7] = [
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// An expression that has been understood, field by field.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) minute: Field,
    pub(super) hour: Field,
    pub(super) day: Field,
    pub(super) month: Field,
    pub(super) weekday: Field,
    pub(super) second: Field,
    pub(super) year: Field,
    /// How many fields were written: 5, 6 or 7.
    pub(super) fields: usize,
}

/// Which days one part of a rule takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Days {
    Every,
    OfMonth,
    OfWeek,
    /// Days that are both.
    OfBoth,
}

impl Rule {
    /// Reads an expression.
    pub(super) fn parse(expression: &str) -> Result<Self, BadCron> {
        let lower = expression.to_lowercase();
        let text = SHORT_FORMS
            .iter()
            .find(|(short, _)| *short == lower)
            .map_or(lower.as_str(), |(_, long)| long);
        let texts: Vec<&str> = text
            .split(is_space)
            .filter(|part| !part.is_empty())
            .collect();
        if !(5..=KINDS.len()).contains(&texts.len()) {
            return Err(wrong_number(expression, &texts));
        }
        let mut fields = KINDS.into_iter().enumerate().map(|(at, kind)| {
            let Some(text) = texts.get(at) else {
                return Ok(Field::absent(kind));
            };
            Field::parse(kind, text, texts.len()).map_err(|refusal| {
                let name = kind.name();
                BadCron::about(
                    expression,
                    &format!("field {}, the {name}, is \"{text}\": {refusal}", at + 1),
                )
            })
        });
        let mut next = || {
            fields
                .next()
                .unwrap_or_else(|| Ok(Field::absent(Kind::Year)))
        };
        let mut rule = Self {
            minute: next()?,
            hour: next()?,
            day: next()?,
            month: next()?,
            weekday: next()?,
            second: next()?,
            year: next()?,
            fields: texts.len(),
        };
        rule.collapse();
        Ok(rule)
    }

    fn collapse(&mut self) {
        for field in [
            &mut self.minute,
            &mut self.hour,
            &mut self.month,
            &mut self.second,
            &mut self.year,
        ] {
            field.collapse(None);
        }
        self.day.collapse(Some(&self.weekday.text));
        self.weekday.collapse(Some(&self.day.text));
    }

    /// The fields in the order in which they are written.
    pub(super) fn all(&self) -> [&Field; 7] {
        [
            &self.minute,
            &self.hour,
            &self.day,
            &self.month,
            &self.weekday,
            &self.second,
            &self.year,
        ]
    }

    /// The parts that the rule's times come from: the next time is the earliest of theirs. With `#` or `L` in the day of
    /// week each of them must have one: croniter asks for both, and fails if one of them does.
    pub(super) fn parts(&self) -> &'static [Days] {
        let has_order = !self.weekday.nth.is_empty();
        match (self.day.any, self.weekday.any, has_order) {
            // The day of month has no say, but must meet such a weekday at all.
            (false, false, true) => &[Days::OfBoth, Days::OfWeek],
            (false, true, true) => &[Days::OfBoth],
            (true, _, true) | (true, false, false) => &[Days::OfWeek],
            (false, false, false) => &[Days::OfMonth, Days::OfWeek],
            (false, true, false) => &[Days::OfMonth],
            (true, true, false) => &[Days::Every],
        }
    }

    /// Whether it comes round by itself rather than at times of day: in every hour, or at minutes that are written with
    /// `*` or a step. What that means when clocks change stands in `zone`.
    pub(super) fn is_repeating(&self) -> bool {
        self.hour.any || self.minute.is_repeating()
    }
}

/// Python's `str.split`, which knows four more separators than `char::is_whitespace`.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn wrong_number(expression: &str, texts: &[&str]) -> BadCron {
    let forms = || {
        let names: Vec<&str> = SHORT_FORMS.iter().map(|(short, _)| *short).collect();
        names.join(", ")
    };
    let what = match texts {
        [] => "it is empty; five fields are right: minute, hour, day of month, month, day of week"
            .to_owned(),
        ["@reboot"] => format!("@reboot names no time; the short forms are {}", forms()),
        [first, ..] if first.starts_with('@') => format!(
            "there is no such short form; they are {}, without anything around them",
            forms()
        ),
        _ => format!(
            "it has {} of the fields minute, hour, day of month, month, day of week, second, year; \
             the first five, six or all seven are right",
            texts.len()
        ),
    };
    BadCron::about(expression, &what)
}
