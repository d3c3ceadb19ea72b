//! What can be found: one rule per code. `docs/lint.md` has the same table, which a test compares.

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The node, or the whole workflow, fails, or never does what it is drawn for.
    Error,
    /// It runs, and perhaps not as it is meant.
    Warning,
    /// How it is read.
    Info,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A kind of finding.
#[derive(PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its stable name.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it says, in a sentence.
    pub about: &'static str,
}

macro_rules! rules {
    ($($severity:ident { $($name:ident $code:literal $about:literal)* })*) => {
        $($(
            #[doc = $about]
            pub(super) static $name: Rule = Rule { code: $code, severity: Severity::$severity, about: $about };
        )*)*
        /// All rules, the worst first.
        pub static RULES: &[&Rule] = &[$($(&$name,)*)*];
    };
}

rules! {
    Error {
        UNREADABLE "unreadable" "The document is no JSON, or a node or edge lacks what each must have."
        UNKNOWN_EDGE_END "unknown-edge-end" "An edge starts or ends at a node that does not exist."
        DUPLICATE_NODE "duplicate-node" "Two nodes have the same id."
        CYCLE "cycle" "A path leads back to its start, and no loop node is on it that could end it."
        TANGLED_TRY "tangled-try" "Too many ways lead from a try through others to tell which catch and finally belong to it."
        TOO_MANY_CONTAINERS "too-many-containers" "There are more loops and tries than can be read in reasonable time."
        UNKNOWN_TYPE "unknown-type" "Nobody runs this type of node."
        MISSING_KEY "missing-key" "A required key is not set."
        WRONG_VALUE "wrong-value" "A key holds a value that the node cannot use."
        BAD_OPTION "bad-option" "One of the keys that any node may have holds a value that cannot be used."
        BAD_TEMPLATE "bad-template" "A template cannot be read."
        BAD_EXPRESSION "bad-expression" "An expression cannot be read."
        BAD_CODE "bad-code" "A program cannot be read."
        BREAK_OUTSIDE_LOOP "break-outside-loop" "A break or continue stands in no loop."
        UNKNOWN_LOOP "unknown-loop" "A break or continue names a loop that is not around it."
        CATCH_WITHOUT_TRY "catch-without-try" "A catch or finally belongs to no try."
        ENDLESS_RECURSION "endless-recursion" "The workflow starts itself as a sub-workflow, in any case."
    }
    Warning {
        NO_NODES "no-nodes" "There is nothing to run."
        UNLABELLED_BRANCHES "unlabelled-branches" "An edge of a node that decides has no label: it is taken whatever is decided."
        UNKNOWN_BRANCH "unknown-branch" "An edge of a node that decides has a label that the node never chooses."
        LABEL_WITHOUT_EFFECT "label-without-effect" "An edge has a label, and its node takes all its edges."
        BRANCH_WITHOUT_EDGE "branch-without-edge" "The node can choose a branch that no edge has: the path ends there."
        UNREACHABLE_NODE "unreachable-node" "No path leads from the start to the node."
        SEVERAL_TRIGGERS "several-triggers" "There are several triggers, and executions start at one of them only."
        UNKNOWN_ENTRY "unknown-entry" "`entry_node_id` names no node."
        REPEATED_EDGE "repeated-edge" "An edge is drawn twice."
        MISTYPED_KEY "mistyped-key" "A key is not known, and one that is known is nearly the same."
        ODD_VALUE "odd-value" "A key holds a value of another kind than expected, and the worker does not read it itself."
        EMPTY_LOOP "empty-loop" "A loop repeats nothing."
        LOOP_TAKES_ALL "loop-takes-all" "A loop repeats all that follows it, since nothing says where its body ends."
        TOO_MANY_AWAITED "too-many-awaited" "`parallel_wait_n` is larger than the number of branches."
        READS_LATER_NODE "reads-later-node" "A value is read from a node that cannot have run before."
        UNKNOWN_NODE "unknown-node" "A value is read from a node that does not exist."
        RECURSION "recursion" "The workflow starts itself as a sub-workflow, if it gets there."
    }
    Info {
        ENTRY "entry" "Where an execution starts."
        LOOP "loop" "What a loop repeats, and what follows it."
        TRY "try" "What is tried, what runs after an error, what runs in any case, and what follows."
        JOIN "join" "The node waits for all of several nodes that can still come."
    }
}
