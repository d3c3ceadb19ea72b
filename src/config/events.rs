//! Which changes of executions are told to others.

/// Which changes of executions are told to others (`docs/sql.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// None.
    Off,
    /// Their ends.
    Ends,
    /// Each change of their status.
    All,
}

impl Events {
    /// The word for it in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ends => "ends",
            Self::All => "all",
        }
    }

    /// Unset is nothing to be set.
    pub(super) fn parse(text: &str) -> Option<Option<Self>> {
        match text {
            "" => Some(None),
            "off" => Some(Some(Self::Off)),
            "ends" => Some(Some(Self::Ends)),
            "all" => Some(Some(Self::All)),
            _ => None,
        }
    }
}
