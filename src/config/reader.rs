//! Reads settings one by one, and keeps what was read and what was wrong.
//!
//! A wrong value is noted and answered with a stand-in, so that the reading goes on to the next problem. The stand-in
//! is never used: whoever finishes with a problem gets no configuration.

use std::fmt;
use std::time::Duration;

use super::parse;
use super::settings::{Kind, Setting};

/// A setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The environment variable.
    pub variable: String,
    /// Its value as an error may show it; `None` where it is unset or secret.
    pub value: Option<String>,
    /// What is wrong, or what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(
                f,
                "{} is {value}: allowed is {}",
                self.variable, self.message
            ),
            None => write!(f, "{}: {}", self.variable, self.message),
        }
    }
}

/// Every setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration is wrong: {only}"),
            several => {
                write!(f, "the configuration is wrong in {} places:", several.len())?;
                several
                    .iter()
                    .try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// A setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The environment variable.
    pub name: &'static str,
    /// The value in force, masked where it is secret; empty where there is none.
    pub value: String,
    /// Where the value came from.
    pub source: Source,
    /// What the setting does.
    pub help: &'static str,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The environment.
    Env,
    /// The table of settings.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Env => "env",
            Self::Default => "default",
        })
    }
}

pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    in_force: Vec<InForce>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            in_force: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The values in force in the order of the table, and the problems in the order of reading.
    pub(super) fn finish(mut self) -> (Vec<InForce>, Vec<Problem>) {
        let place = |name: &str| {
            super::settings::table()
                .iter()
                .position(|setting| setting.name == name)
        };
        self.in_force.sort_by_key(|row| place(row.name));
        (self.in_force, self.problems)
    }

    /// The text of a setting, and the note that it is in force. `None` where it is unset or empty and has no default.
    pub(super) fn optional_text(&mut self, setting: &Setting) -> Option<String> {
        let given = (self.lookup)(setting.name)
            .map(|value| {
                // A password may end with a space, but the line end of the file it was read from is not part of it.
                let value = value.trim_end_matches(['\r', '\n']);
                if setting.secret {
                    value.to_owned()
                } else {
                    value.trim().to_owned()
                }
            })
            .filter(|value| !value.trim().is_empty());
        let source = if given.is_some() {
            Source::Env
        } else {
            Source::Default
        };
        let value = given.or_else(|| setting.default.map(str::to_owned));
        let shown = match &value {
            None => String::new(),
            Some(_) if setting.secret => "***".to_owned(),
            Some(text) => text.clone(),
        };
        self.in_force.push(InForce {
            name: setting.name,
            value: shown,
            source,
            help: setting.help,
        });
        value
    }

    /// Replaces the value that [`Reader::optional_text`] noted for `setting`.
    pub(super) fn show(&mut self, setting: &Setting, value: String) {
        if let Some(row) = self
            .in_force
            .iter_mut()
            .rev()
            .find(|row| row.name == setting.name)
        {
            row.value = value;
        }
    }

    /// Notes a problem with `setting`.
    pub(super) fn wrong(&mut self, setting: &Setting, value: Option<String>, message: String) {
        let value = value.filter(|_| !setting.secret);
        self.problems.push(Problem {
            variable: setting.name.to_owned(),
            value,
            message,
        });
    }

    fn read<T: Default>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str, Kind) -> Option<T>,
    ) -> T {
        let text = self.optional_text(setting).unwrap_or_default();
        parse(&text, setting.kind).unwrap_or_else(|| {
            self.wrong(
                setting,
                Some(parse::show_wrong(&text)),
                setting.kind.allowed(),
            );
            T::default()
        })
    }

    pub(super) fn integer(&mut self, setting: &Setting) -> u32 {
        self.read(setting, parse::integer)
    }

    pub(super) fn number(&mut self, setting: &Setting) -> f64 {
        self.read(setting, parse::number)
    }

    pub(super) fn duration(&mut self, setting: &Setting) -> Duration {
        self.read(setting, parse::duration)
    }

    /// A length of time that may be unset.
    pub(super) fn optional_duration(&mut self, setting: &Setting) -> Option<Duration> {
        let text = self.optional_text(setting)?;
        let duration = parse::duration(&text, setting.kind);
        if duration.is_none() {
            let shown = parse::show_wrong(&text);
            self.wrong(setting, Some(shown), setting.kind.allowed());
        }
        duration
    }

    pub(super) fn flag(&mut self, setting: &Setting) -> bool {
        self.read(setting, |text, _| parse::flag(text))
    }

    /// One of the words of the setting, in any case.
    pub(super) fn choice<T: Default>(
        &mut self,
        setting: &Setting,
        parse: fn(&str) -> Option<T>,
    ) -> T {
        self.read(setting, |text, _| parse(&text.to_ascii_lowercase()))
    }

    /// Text that `check` accepts; its error is what would be right.
    pub(super) fn checked_text(
        &mut self,
        setting: &Setting,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> String {
        let text = self.optional_text(setting).unwrap_or_default();
        if let Err(allowed) = check(&text) {
            self.wrong(setting, Some(parse::show_wrong(&text)), allowed);
        }
        text
    }

    /// The text of the setting, else of a variable that is no setting of ours, else `last`.
    pub(super) fn text_or(&mut self, setting: &Setting, variable: &str, last: &str) -> String {
        self.optional_text(setting).unwrap_or_else(|| {
            let text = (self.lookup)(variable)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| last.to_owned());
            self.show(setting, text.clone());
            text
        })
    }
}
