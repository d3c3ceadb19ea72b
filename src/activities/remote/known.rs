//! The node types of the platform that live in its Python: what they are called and which keys they have.
//!
//! The keys are those that the builder writes and those that the platform's handlers read. A handler looks most of
//! them up in the execution's data too, so none is required here; the host says what is missing. A type that is not
//! here goes to the host all the same.

use crate::activities::spec::{Holds, Key, Spec, Timeout};

const REQUIREMENTS: Key = Key::new(
    "query_requirements",
    Holds::Object,
    "what the chosen way must be able to do",
);

const fn spec(about: &'static str, keys: &'static [Key]) -> Spec {
    Spec {
        about,
        keys,
        branches: &[],
        timeout: Timeout::Node,
        acts: true,
    }
}

static AGENT: Spec = spec(
    "Has an agent of the platform do a task.",
    &[
        Key::new("task", Holds::Text, "what is to be done"),
        Key::new("agent_id", Holds::Text, "the agent"),
        Key::new("agent_config", Holds::Object, "`framework`, `model`"),
        Key::new("framework", Holds::Text, "the agent's framework").or(&["agent_framework"]),
        Key::new("task_type", Holds::Text, "what kind of task it is"),
        Key::new("input_data", Holds::Any, "what the agent gets to know"),
    ],
);

static CONNECTOR: Spec = spec(
    "Calls an action of a connector.",
    &[
        Key::new("connector_slug", Holds::Text, "the connector").or(&["connector_id"]),
        Key::new("action", Holds::Text, "its action").or(&["action_id"]),
        Key::new("oauth_scopes", Holds::List, "what it may do"),
        Key::new("input_data", Holds::Any, "what the action gets"),
    ],
);

static RAG_SWITCH: Spec = spec(
    "Chooses how a question to an index is answered.",
    &[Key::new("index_id", Holds::Text, "the index"), REQUIREMENTS],
);

static OCR_SWITCH: Spec = spec(
    "Chooses how the text of a document is read.",
    &[
        Key::new("document_url", Holds::Text, "the document"),
        Key::new(
            "document_metadata",
            Holds::Object,
            "what is known of the document",
        ),
        REQUIREMENTS,
    ],
);

static SCRAPING: Spec = spec(
    "Reads a web page.",
    &[
        Key::new("url", Holds::Text, "the page"),
        Key::new(
            "engine",
            Holds::Text,
            "beautifulsoup, playwright, scrapy, crawl4ai or watercrawl",
        ),
        Key::new("selectors", Holds::Any, "CSS selectors by name"),
        Key::new(
            "scrape_requirements",
            Holds::Object,
            "what the engine must be able to do",
        ),
    ],
);

static BROWSER: Spec = spec(
    "Does something in a browser.",
    &[
        Key::new(
            "action_type",
            Holds::Text,
            "navigate, click, fill, screenshot or extract",
        ),
        Key::new("action_data", Holds::Object, "what the action needs"),
        Key::new("session_id", Holds::Text, "the session to go on with"),
        Key::new(
            "automation_requirements",
            Holds::Object,
            "what the browser must be able to do",
        ),
    ],
);

static STORAGE: Spec = spec(
    "Moves a file to or from a storage.",
    &[
        Key::new("operation", Holds::Text, "upload, download, list or delete"),
        Key::new("provider", Holds::Text, "s3, gcs, azure or local"),
        Key::new("file_path", Holds::Text, "bucket/path"),
        Key::new("file_data", Holds::Any, "what is uploaded"),
    ],
);

static SOCIAL: Spec = spec(
    "Looks at what is said on a network.",
    &[
        Key::new("operation", Holds::Text, "stream, digest or search"),
        Key::new("source", Holds::Text, "twitter, reddit, telegram or news"),
        Key::new("query", Holds::Object, "`keywords`, a list of texts"),
    ],
);

/// Of a type that only the host knows.
pub(super) static CUSTOM: Spec = spec("Whatever the activity host makes of it.", &[]);

static KNOWN: [(&str, &Spec); 9] = [
    ("agent", &AGENT),
    ("browser", &BROWSER),
    ("connector", &CONNECTOR),
    ("ocr_switch", &OCR_SWITCH),
    ("osint", &SOCIAL),
    ("rag_switch", &RAG_SWITCH),
    ("scraping", &SCRAPING),
    ("social_monitoring", &SOCIAL),
    ("storage", &STORAGE),
];

/// The node types of the platform that run on an activity host, by name.
pub fn known() -> &'static [(&'static str, &'static Spec)] {
    &KNOWN
}

/// The keys of a node type of the platform that runs on an activity host.
pub fn known_spec(node_type: &str) -> Option<&'static Spec> {
    KNOWN
        .iter()
        .find_map(|(name, spec)| (*name == node_type).then_some(*spec))
}
