//! The seven fields of a cron expression: their order, ranges and names.

/// The fields in croniter's order: seconds come after the weekday, and the year last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Minute,
    Hour,
    Day,
    Month,
    Weekday,
    Second,
    Year,
}

/// In the order in which they are written.
pub(super) const KINDS: [Kind; 7] = [
    Kind::Minute,
    Kind::Hour,
    Kind::Day,
    Kind::Month,
    Kind::Weekday,
    Kind::Second,
    Kind::Year,
];

/// Short names of the months, as croniter has them: January is 1.
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Short names of the weekdays: Sunday is 0.
pub(super) const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The last year that croniter takes in the field for the year.
const LAST_YEAR: u32 = 2099;

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day of month",
            Self::Month => "month",
            Self::Weekday => "day of week",
            Self::Second => "second",
            Self::Year => "year",
        }
    }

    /// The lowest and the highest value.
    pub(super) fn range(self) -> (u32, u32) {
        match self {
            Self::Minute | Self::Second => (0, 59),
            Self::Hour => (0, 23),
            Self::Day => (1, 31),
            Self::Month => (1, 12),
            Self::Weekday => (0, 6),
            Self::Year => (1970, LAST_YEAR),
        }
    }

    /// How many values there are.
    pub(super) fn size(self) -> usize {
        let (low, high) = self.range();
        usize::try_from(high - low + 1).unwrap_or(usize::MAX)
    }

    /// What may stand here, for messages. Other spellings exist; these are the usual ones.
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::Minute | Self::Second => "0 to 59",
            Self::Hour => "0 to 23",
            Self::Day => "1 to 31 or L",
            Self::Month => "1 to 12 or JAN to DEC",
            Self::Weekday => "0 to 7 (0 and 7 are Sunday) or SUN to SAT",
            Self::Year => "1970 to 2099",
        }
    }

    /// The value of a number or a name in lower case, wherever it lies.
    pub(super) fn number(self, text: &str) -> Option<u32> {
        text.parse().ok().or_else(|| self.named(text))
    }

    /// The value of a name in lower case.
    pub(super) fn named(self, name: &str) -> Option<u32> {
        let (names, first): (&[&str], u32) = match self {
            Self::Month => (&MONTHS, 1),
            Self::Weekday => (&WEEKDAYS, 0),
            _ => return None,
        };
        let at = names.iter().position(|known| *known == name)?;
        u32::try_from(at).ok().map(|at| at + first)
    }
}
