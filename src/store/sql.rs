//! The statements of `sql/queries/`, one constant per file, with the types of their parameters.
//!
//! Types are named here and not asked of the server, so that a statement costs one round trip and works unnamed behind
//! a transaction pooler. `tests/it/sql_files.rs` prepares each of them against a fresh schema.

use postgres_types::Type;

/// One statement and the types of its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The file's name, for logs and deadlines.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// The types of `$1 … $n`.
    pub types: &'static [Type],
}

macro_rules! statements {
    ($($name:ident = $file:literal [$($type:ident),*];)*) => {
        $(
            #[doc = concat!("`sql/queries/", $file, ".sql`")]
            pub const $name: Statement = Statement {
                name: $file,
                text: include_str!(concat!("../../sql/queries/", $file, ".sql")),
                types: &[$(Type::$type),*],
            };
        )*
        /// Every statement that can be prepared on any database, which is all but [`ON_OPTIONAL_TABLES`].
        pub const ALL: &[Statement] = &[$($name),*];
    };
}

statements! {
    CLAIM = "claim" [UUID, INT8, TIMESTAMP];
    HOST_FACTS = "host_facts" [];
    NEXT_DUE = "next_due" [UUID, FLOAT8, TIMESTAMP];
    ADMIT = "admit" [TEXT_ARRAY, TEXT];
    FORGET_USES = "forget_uses" [];
    LOAD_STEPS = "load_steps" [UUID_ARRAY];
    LOAD_WORKFLOW_GRAPH = "load_workflow_graph" [UUID];
    LOAD_GRAPH = "load_graph" [BYTEA];
    LOAD_SIGNALS = "load_signals" [UUID];
    LOAD_CHILDREN = "load_children" [UUID_ARRAY];
    LOAD_WORKFLOW_FACTS = "load_workflow_facts" [UUID];
    LOAD_ORIGINAL = "load_original" [UUID];
    LOAD_HOST_ROW = "load_host_row" [UUID, INT8];
    RECORD = "record" [
        UUID,
        UUID_ARRAY, INT8_ARRAY, INT4_ARRAY, INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, BYTEA_ARRAY, TEXT_ARRAY,
        TIMESTAMPTZ_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TIMESTAMP_ARRAY,
        UUID_ARRAY, INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
        TEXT_ARRAY, TIMESTAMPTZ_ARRAY, TIMESTAMPTZ_ARRAY, TEXT_ARRAY, BOOL_ARRAY,
        UUID_ARRAY, UUID_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TIMESTAMP_ARRAY, BOOL_ARRAY,
        BYTEA_ARRAY, TEXT_ARRAY,
        UUID_ARRAY, UUID_ARRAY, TEXT_ARRAY, TEXT_ARRAY, UUID_ARRAY, UUID_ARRAY,
        UUID_ARRAY, UUID_ARRAY, TEXT_ARRAY, UUID_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, INT4_ARRAY, BOOL_ARRAY,
        UUID_ARRAY, UUID_ARRAY
    ];
    WAS_RECORDED = "was_recorded" [UUID, UUID_ARRAY, INT8_ARRAY, INT4_ARRAY];
    FORGET = "forget" [UUID, INT8];
    INTERRUPTS = "interrupts" [UUID];
    REGISTER_WORKER = "register_worker" [UUID, TEXT, TEXT, INT4, TEXT, FLOAT8, FLOAT8, INT4, INT8];
    HEARTBEAT = "heartbeat" [UUID, INT4, BOOL, INT8, TEXT];
    RESCUE = "rescue" [UUID_ARRAY, INT8];
    BURY_WORKERS = "bury_workers" [UUID_ARRAY];
    DEREGISTER_WORKER = "deregister_worker" [UUID];
    RELEASE = "release" [UUID, UUID_ARRAY, INT8_ARRAY];
    COUNT_LEFT_ALONE = "count_left_alone" [FLOAT8];
    FAIL_LEFT_ALONE = "fail_left_alone" [FLOAT8, TEXT, INT8];
    REPAIR = "repair" [FLOAT8, FLOAT8, INT8];
    REPAIR_PARKED = "repair_parked" [INT8];
    REPAIR_WAITING = "repair_waiting" [INT8];
    LOAD_DUE_SCHEDULES = "load_due_schedules" [INT8];
    FIRE_SCHEDULES = "fire_schedules" [
        UUID_ARRAY, INT8_ARRAY, TIMESTAMP_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TEXT_ARRAY, UUID_ARRAY,
        UUID_ARRAY, UUID_ARRAY, TEXT_ARRAY, TEXT_ARRAY
    ];
    LOAD_ENDED_EXECUTION = "load_ended_execution" [UUID];
    SET_EVENTS = "set_events" [TEXT];
    PRUNE_BEGIN = "prune_begin" [FLOAT8, FLOAT8, TEXT];
    PRUNE_CUTOFF = "prune_cutoff" [FLOAT8];
    PRUNE_END = "prune_end" [INT8, INT8, TEXT];
    PRUNE_HISTORY = "prune_history" [TIMESTAMPTZ, INT8, INT8, INT8];
    COUNT_HISTORY = "count_history" [TIMESTAMPTZ, TEXT, UUID, INT8];
    PRUNE_HOST = "prune_host" [TIMESTAMPTZ, INT8, INT8, INT8];
    COUNT_HOST = "count_host" [TIMESTAMPTZ, TEXT, UUID, INT8];
    PRUNE_ORPHANS = "prune_orphans" [UUID, INT8, INT8, BOOL];
    PRUNE_GRAPHS = "prune_graphs" [INT8, INT8];
    COUNT_GRAPHS = "count_graphs" [];
    PRUNE_FACTS = "prune_facts" [];
}

/// `sql/queries/load_mail_template.sql`
pub const LOAD_MAIL_TEMPLATE: Statement = Statement {
    name: "load_mail_template",
    text: include_str!("../../sql/queries/load_mail_template.sql"),
    types: &[Type::TEXT],
};

/// Statements on tables that some installations of the platform lack; asked only where the table is there.
pub const ON_OPTIONAL_TABLES: &[Statement] = &[LOAD_MAIL_TEMPLATE];
