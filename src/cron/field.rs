//! One field of a cron expression, read as croniter reads it: names, lists, ranges (also over the end of the cycle),
//! steps, `L`, `#`, `?`.
//!
//! The outcome is a set of values, so that what is left for the crates that find the times is a list that all crates
//! read the same way. Invariant: each value lies in its field's range.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::kind::{Kind, WEEKDAYS};

/// Which of a month's weekdays of one name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Nth {
    /// `5#2`: the second Friday.
    Number(u8),
    /// `L5`: the last Friday.
    Last,
}

/// A field that has been understood.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    /// As it was written, in lower case.
    pub(super) text: String,
    /// Contains `*` as an item: every value. Set by `collapse` as well.
    pub(super) any: bool,
    /// The values, without those that `any` stands for.
    pub(super) values: BTreeSet<u32>,
    /// `L` in the day of month: the last day.
    pub(super) last: bool,
    /// The weekdays with `#` or `L`, which are among `values` too.
    pub(super) nth: BTreeMap<u32, BTreeSet<Nth>>,
}

/// What is wrong with a field and what would be right, without the field's name.
type Refusal = String;

impl Field {
    /// Reads a field in lower case of an expression with so many `fields`.
    pub(super) fn parse(kind: Kind, text: &str, fields: usize) -> Result<Self, Refusal> {
        let mut field = Self {
            kind,
            text: text.to_owned(),
            any: false,
            values: BTreeSet::new(),
            last: false,
            nth: BTreeMap::new(),
        };
        if text.contains('?') {
            return field.question_mark();
        }
        if is_hashed(text) {
            return Err(
                "H and R stand for a time that is not known in advance, and another one wherever it is read; write the time"
                    .to_owned(),
            );
        }
        for item in text.split(',') {
            field.item(item, fields)?;
        }
        let of_no_order = field.values.iter().any(|day| !field.nth.contains_key(day));
        if !field.nth.is_empty() && of_no_order && field.count() != kind.size() {
            return Err(
                "weekdays with # or L cannot be mixed with others; give each weekday one, or none"
                    .to_owned(),
            );
        }
        Ok(field)
    }

    /// The field of an expression that does not have it.
    pub(super) fn absent(kind: Kind) -> Self {
        let is_second = kind == Kind::Second;
        Self {
            kind,
            text: if is_second { "0" } else { "*" }.to_owned(),
            any: !is_second,
            values: is_second.then_some(0).into_iter().collect(),
            last: false,
            nth: BTreeMap::new(),
        }
    }

    fn question_mark(mut self) -> Result<Self, Refusal> {
        if !matches!(self.kind, Kind::Day | Kind::Weekday) {
            return Err(
                "? may stand for the day of month or the day of week only; write *".to_owned(),
            );
        }
        if self.text != "?" {
            return Err("? stands alone; write * or leave it out".to_owned());
        }
        self.any = true;
        Ok(self)
    }

    /// How many items croniter counts when it looks whether a list is complete.
    fn count(&self) -> usize {
        self.values.len() + usize::from(self.last) + usize::from(self.any)
    }

    /// A list with as many items as there are values is `*`. A day field does so only beside a `*` in the `other` one:
    /// otherwise `1-31` beside a weekday would stop to mean 'either'.
    pub(super) fn collapse(&mut self, other: Option<&str>) {
        if self.count() == self.kind.size() && other.is_none_or(|other| other.contains('*')) {
            self.any = true;
            self.values.clear();
            self.last = false;
        }
    }

    /// Whether it is written to come round by itself: `*`, or with a step.
    pub(super) fn is_repeating(&self) -> bool {
        self.text.contains(['*', '/'])
    }

    fn item(&mut self, item: &str, fields: usize) -> Result<(), Refusal> {
        let (item, nth) = match self.kind {
            Kind::Weekday => split_nth(item)?,
            _ => (item, None),
        };
        if item == "*" {
            self.any = true;
            return Ok(());
        }
        if item == "l" && self.kind == Kind::Day {
            self.last = true;
            return Ok(());
        }
        let values = match item.split_once('/') {
            Some((range, step)) => self.range(range, step_of(step)?, fields)?,
            None if item.contains('-') => self.range(item, 1, fields)?,
            None => vec![self.value(item, fields)?],
        };
        for value in values {
            let (low, high) = self.kind.range();
            if !(low..=high).contains(&value) {
                return Err(self.out_of_range(value));
            }
            self.values.insert(value);
            if let Some(nth) = nth {
                self.nth.entry(value).or_default().insert(nth);
            }
        }
        Ok(())
    }

    /// The values of `*`, `a-b` or `a`, each `step`-th.
    fn range(&self, range: &str, step: u32, fields: usize) -> Result<Vec<u32>, Refusal> {
        let (min, max) = self.kind.range();
        let each = |low: u32, high: u32| {
            let step = usize::try_from(step).unwrap_or(usize::MAX);
            (low..=high).step_by(step).collect::<Vec<u32>>()
        };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((low, "l")) if self.kind == Kind::Day => (self.value(low, fields)?, max),
            Some((low, high)) => (self.value(low, fields)?, self.value(high, fields)?),
            // From the highest value on there is just that one.
            None => match self.value(range, fields)? {
                last if last == max => return Ok(vec![last]),
                low => (low, max),
            },
        };
        // What lies below the field is found among the values: a range over the end may name it and not reach it.
        if let Some(bound) = [low, high].into_iter().find(|bound| *bound > max) {
            return Err(self.out_of_range(bound));
        }
        if low == high {
            // Once round the cycle: SUN-SUN, and 0-7 among weekdays.
            return Ok(each(min, max));
        }
        if low < high {
            return Ok(each(low, high));
        }
        // Over the end of the cycle, where the step goes on counting unless its next value is the first one.
        let mut values = each(low, max);
        let left = values.last().map_or(0, |last| max - last);
        let goes_past_the_end = u64::from(step) > u64::from(left) + 1;
        let skipped = if goes_past_the_end { step - left } else { 0 };
        values.extend(each(min.saturating_add(skipped), high));
        Ok(values)
    }

    /// A number or a name.
    fn value(&self, text: &str, fields: usize) -> Result<u32, Refusal> {
        if text.is_empty() {
            return Err("an item of a list, or an end of a range or step, is missing".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.kind.named(text).ok_or_else(|| self.no_value(text));
        }
        let value: u32 = text
            .parse()
            .map_err(|_too_big| format!("{text} is too big; {} are right", self.kind.allowed()))?;
        Ok(match (self.kind, value, fields) {
            (Kind::Weekday, 7, _) => 0,
            // As croniter before 7.0 has it, with six fields only.
            (Kind::Day, 0, 6) => 1,
            _ => value,
        })
    }

    fn out_of_range(&self, value: u32) -> Refusal {
        format!("{value} is out of range; {} are right", self.kind.allowed())
    }

    fn no_value(&self, text: &str) -> Refusal {
        let allowed = self.kind.allowed();
        let hint = match self.kind {
            Kind::Weekday if text == "l" => "; the last Friday of a month is L5",
            Kind::Weekday if text.ends_with('l') => "; L comes first: the last Friday is L5",
            Kind::Weekday if text.contains('#') => {
                "; the second Friday is 5#2, and before # a range takes names: MON-FRI#2"
            }
            Kind::Day if text.contains('w') => "; W, the nearest working day, is not supported",
            Kind::Day if text == "l" => "; L begins no range and takes no step",
            Kind::Month | Kind::Weekday => "; names have three letters",
            _ => "",
        };
        let mut shown = String::new();
        for character in text.chars().take(20) {
            shown.extend(character.escape_debug());
        }
        format!("\"{shown}\" is no value of this field; {allowed} are right{hint}")
    }

    /// The values as the crates read them: `*`, `*/15`, `9-17`, `1,3-5`, or names.
    pub(super) fn list(&self, name: impl Fn(u32) -> String) -> String {
        let values: Vec<u32> = self.values.iter().copied().collect();
        if self.any || (values.len() == self.kind.size() && self.kind != Kind::Year) {
            return "*".to_owned();
        }
        if let Some(step) = self.step(&values) {
            return format!("*/{step}");
        }
        let mut text = String::new();
        for run in values.chunk_by(|one, next| one + 1 == *next) {
            let separator = if text.is_empty() { "" } else { "," };
            // Writing into a string cannot fail.
            let _always = match run {
                [first, _, .., last] => {
                    write!(text, "{separator}{}-{}", name(*first), name(*last))
                }
                _ => {
                    let names: Vec<String> = run.iter().map(|value| name(*value)).collect();
                    write!(text, "{separator}{}", names.join(","))
                }
            };
        }
        text
    }

    /// The step, if these are all values that `*/step` has. Years do not begin at the same one everywhere, and weekdays
    /// with a step read badly.
    fn step(&self, values: &[u32]) -> Option<u32> {
        let (min, max) = self.kind.range();
        let [first, second, _, ..] = values else {
            return None;
        };
        let step = second - first;
        let is_all = matches!(self.kind, Kind::Year | Kind::Weekday)
            || step < 2
            || !values
                .iter()
                .copied()
                .eq((min..=max).step_by(usize::try_from(step).unwrap_or(usize::MAX)));
        (!is_all).then_some(step)
    }
}

/// `5#2` → (`5`, 2nd); `l5` → (`5`, last); else as it is.
fn split_nth(item: &str) -> Result<(&str, Option<Nth>), Refusal> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(day) = item.strip_prefix('l').filter(|day| is_number(day)) {
        return Ok((day, Some(Nth::Last)));
    }
    let Some((days, number)) = item.rsplit_once('#') else {
        return Ok((item, None));
    };
    let is_range_of_names = days
        .split_once('-')
        .is_some_and(|(low, high)| WEEKDAYS.contains(&low) && WEEKDAYS.contains(&high));
    let is_word = !days.is_empty() && days.chars().all(char::is_alphanumeric);
    if !is_number(number) || !(is_range_of_names || is_word) {
        return Ok((item, None));
    }
    match number.parse() {
        Ok(nth @ 1..=5) => Ok((days, Some(Nth::Number(nth)))),
        _ => Err(format!(
            "#{number} is out of range; a month has a 1st to a 5th weekday of each name, and L5 is \
             the last Friday"
        )),
    }
}

fn step_of(text: &str) -> Result<u32, Refusal> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(format!("the step \"{text}\" is no whole number"));
    }
    // A step beyond the end of every field is as good as any other.
    match text.parse().unwrap_or(u32::MAX) {
        0 => Err("the step 0 goes nowhere; 1 or more is right".to_owned()),
        step => Ok(step),
    }
}

/// Jenkins' `H` and croniter's `R`, alone, with a range or with a step.
fn is_hashed(text: &str) -> bool {
    text.strip_prefix(['h', 'r'])
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['(', '/']))
}
