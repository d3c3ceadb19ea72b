//! What a node type says of itself: its configuration keys, and how its time is bounded.
//!
//! One table serves four readers: templates are resolved in every text of a configuration but those that hold an
//! expression or code, `workflow-worker nodes` lists the keys, `workflow-worker lint` checks them before anything runs,
//! and `perform` knows whose `timeout_seconds` it is.

/// What a node type says of itself.
#[derive(Debug)]
pub struct Spec {
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Its keys, the required ones first.
    pub keys: &'static [Key],
    /// The branches that its result can name, if it is a node that decides; `["*"]` if the configuration names them.
    pub branches: &'static [&'static str],
    /// Whose `timeout_seconds` it is.
    pub timeout: Timeout,
    /// Whether a run of it can be seen outside the worker (a call, a program, a message). Such a node starts only after
    /// everything before it is recorded; the others, which only compute, may be recorded together with what comes next,
    /// because nobody can tell whether they have run once or twice.
    pub acts: bool,
}

/// A configuration key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// Whether the node fails without it, or without one of `or`.
    pub is_required: bool,
    /// Other names of the same thing, older or used by other clients.
    pub or: &'static [&'static str],
    /// What it means, with unit and default.
    pub about: &'static str,
}

/// What a key holds. Texts, objects and lists may hold templates at any depth; expressions and code never do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// A text.
    Text,
    /// A number, or a text that holds one.
    Number,
    /// True or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An object.
    Object,
    /// A list.
    List,
    /// Any JSON.
    Any,
    /// An expression: evaluated, never a template.
    Expression,
    /// A program: run, never a template.
    Code,
}

/// The keys that any node may have, whatever its type. A type whose own key has one of these names gives it its own
/// meaning.
pub static COMMON: &[Key] = &[
    Key::new(
        "retries",
        Holds::Number,
        "how often a failed attempt is tried again; default: as often as the execution's budget allows",
    ),
    Key::new(
        "retry_delay",
        Holds::Number,
        "seconds before the first retry; later ones wait longer",
    ),
    Key::new(
        "continue_on_error",
        Holds::Flag,
        "when its retries are used up, go on as if it had succeeded, with the error in its output; default false",
    ),
    Key::new(
        "timeout_seconds",
        Holds::Number,
        "how long an attempt may take; default WORKFLOW_NODE_TIMEOUT_SECONDS",
    ),
    Key::new(
        "parallel",
        Holds::Flag,
        "false: the branches behind the node run one after the other; default true",
    ),
    Key::new(
        "parallel_limit",
        Holds::Number,
        "how many branches behind the node run at a time; default all",
    ),
    Key::new(
        "parallel_wait_mode",
        Holds::Choice(&["all", "any", "n_of_m"]),
        "how many branches must end before it goes on; the others are cancelled then; default all",
    ),
    Key::new(
        "parallel_wait_n",
        Holds::Number,
        "n_of_m: how many branches to wait for",
    ),
    Key::new(
        "parallel_aggregation",
        Holds::Choice(&["merge", "array", "first", "last"]),
        "what <node>_parallel_result becomes; default merge",
    ),
    Key::new(
        "sequential",
        Holds::Flag,
        "true: the branches behind the node run one after the other; default false",
    ),
    Key::new(
        "personalization",
        Holds::Text,
        "<node>.<field>: the value that expressions and templates see as personalization",
    ),
];

impl Holds {
    /// What it is, in words.
    pub fn in_words(self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Object => "an object".to_owned(),
            Self::List => "a list".to_owned(),
            Self::Any => "any JSON".to_owned(),
            Self::Expression => "an expression".to_owned(),
            Self::Code => "code".to_owned(),
        }
    }

    /// Whether the text under the key is read by an interpreter, so that no template may be put into it.
    pub fn is_program(self) -> bool {
        matches!(self, Self::Expression | Self::Code)
    }
}

/// Whose `timeout_seconds` it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timeout {
    /// The node's: an attempt that takes longer is cancelled and fails as timed out.
    Node,
    /// The activity's own, which gives it a meaning of its own (an approval that nobody answers, a program's limit).
    Own,
}

impl Key {
    /// A key that may be absent.
    pub const fn new(name: &'static str, holds: Holds, about: &'static str) -> Self {
        Self {
            name,
            holds,
            is_required: false,
            or: &[],
            about,
        }
    }

    /// The same, required.
    pub const fn required(self) -> Self {
        Self {
            is_required: true,
            ..self
        }
    }

    /// The same, with other names.
    pub const fn or(self, or: &'static [&'static str]) -> Self {
        Self { or, ..self }
    }
}

impl Spec {
    /// The key of that name, be it an older name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys
            .iter()
            .find(|key| key.name == name || key.or.contains(&name))
    }

    /// Whether the texts under that key are a program's.
    pub fn is_program(&self, key: &str) -> bool {
        self.key(key).is_some_and(|key| key.holds.is_program())
    }
}
