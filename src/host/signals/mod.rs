//! Which rows of `workflowsignal` answer which waits (pure).
//!
//! Rows are taken in the order in which they were received, so the same rows always give the same result. A row answers
//! one wait at most, a wait is answered by one row at most, and what is a request never answers. A row of any shape is
//! taken as it is: what it does not say clearly is not an answer.
//!
//! | row | becomes |
//! | --- | --- |
//! | a decision, for an open request, one of its options | an answer; the row and the request are processed |
//! | a decision that is none of the options | a refusal; the row is processed, the request stays open |
//! | the same, written into the request's own row | a refusal; the row stays, and is refused again if it changes |
//! | a decision for a request that is over, or a second one | late; processed, and nothing more |
//! | a decision from before any request that it could be for | early: kept, and taken by the next request |
//! | any other type that somebody waits for | an answer, early or not |
//! | anything else | left as it is |

mod decision;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::engine::SignalWait;
use crate::ids::{NodeId, Timestamp};
use decision::{Given, Message};

type Object = Map<String, Value>;

/// The types of an answer to an approval; one may stand for another.
const APPROVAL_TYPES: [&str; 3] = ["human_approval", "human_input", "approval_response"];

/// A row of `workflowsignal`.
#[derive(Clone, PartialEq, Debug)]
pub struct SignalRow {
    /// `id`.
    pub id: Uuid,
    /// `signal_type`.
    pub signal_type: String,
    /// `signal_data`; any JSON, `null` for SQL NULL.
    pub data: Value,
    /// `received_at`: when it was made, by the clock of whoever made it.
    pub received_at: Timestamp,
    /// `processed`.
    pub is_processed: bool,
}

/// A node that waits for a signal.
#[derive(Clone, Debug)]
pub struct OpenWait<'a> {
    /// The node.
    pub node: NodeId,
    /// The id of its request's row, whether there is one or not.
    pub request_id: Uuid,
    /// Since when it waits.
    pub since: Timestamp,
    /// For what.
    pub wait: &'a SignalWait,
    /// The last refusal of what was written into the request's own row, so that it is told once.
    pub refused: Option<String>,
}

/// The end of a wait.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// Which of the waits.
    pub wait: usize,
    /// One of its options, as the wait spells it; `None` if it has none.
    pub decision: Option<String>,
    /// What came with it. Data that are no object are found under `value`.
    pub data: Object,
    /// The row's `signal_type`.
    pub signal_type: String,
    /// The rows that are dealt with: the answer and the request.
    pub consumed: Vec<Uuid>,
}

/// A decision that cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Which of the waits it was for; that goes on.
    pub wait: usize,
    /// For the log: the decision, who made it, and the options.
    pub text: String,
    /// The row that is dealt with; `None` if it is the request's own, which stays open.
    pub consumed: Option<Uuid>,
}

/// What the signals of an execution come to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Matched {
    /// In the order in which they were received; of each wait one at most.
    pub answers: Vec<Answer>,
    /// In the same order.
    pub refusals: Vec<Refusal>,
    /// Rows that come too late for the request that they are for: to be marked processed, and nothing more.
    pub late: Vec<Uuid>,
}

/// Finds the answers to `waits` among `rows` (all that are not processed, and all requests).
pub fn match_signals(waits: &[OpenWait<'_>], rows: &[SignalRow]) -> Matched {
    let mut rows: Vec<&SignalRow> = rows.iter().collect();
    rows.sort_by_key(|row| (row.received_at, row.id));
    let mut matching = Matching {
        waits,
        rows: &rows,
        answered: HashSet::new(),
        matched: Matched::default(),
    };
    for row in rows.iter().copied().filter(|row| !row.is_processed) {
        matching.take(row);
    }
    matching.matched
}

struct Matching<'a> {
    waits: &'a [OpenWait<'a>],
    /// In the order in which they were received.
    rows: &'a [&'a SignalRow],
    answered: HashSet<usize>,
    matched: Matched,
}

/// For which wait a row is.
enum Target {
    Open(usize),
    /// For one that is over.
    Late,
    /// For none.
    None,
}

impl Matching<'_> {
    fn take(&mut self, row: &SignalRow) {
        let own = self.waits.iter().position(|wait| wait.request_id == row.id);
        let (message, target) = match own.and_then(|index| Some((index, self.waits.get(index)?))) {
            Some((index, wait)) => {
                let message = Message::of_request(&row.data, wait.wait.request.as_ref());
                if message.given.is_none() {
                    return;
                }
                // Somebody was faster with a row of their own.
                let target = if self.answered.contains(&index) {
                    Target::None
                } else {
                    Target::Open(index)
                };
                (message, target)
            }
            None => {
                let message = Message::of(&row.data);
                let target = self.target(row, &message);
                (message, target)
            }
        };
        match target {
            Target::Open(index) => self.answer(index, row, message),
            Target::Late => self.matched.late.push(row.id),
            Target::None => {}
        }
    }

    /// For which wait a row is that is no request of ours.
    fn target(&self, row: &SignalRow, message: &Message) -> Target {
        let accepting: Vec<usize> = self.accepting(row, message);
        if let Some(request) = message.request_id {
            if let Some(index) = self.open_request(request) {
                return match accepting.contains(&index) {
                    true if self.answered.contains(&index) => Target::Late,
                    true => Target::Open(index),
                    false => Target::None,
                };
            }
            if self.is_over(request) {
                return Target::Late;
            }
            // What a foreign system calls its request is nothing that we know; in an answer to an approval it is.
            if is_approval(&row.signal_type) && message.given.is_some() {
                return Target::None;
            }
        }
        let of_node: Vec<usize> = accepting
            .iter()
            .copied()
            .filter(|index| self.is_at(*index, message.node_id.as_deref()))
            .collect();
        let meant = match &message.node_id {
            None => accepting,
            // As above.
            Some(_) if of_node.is_empty() && !is_approval(&row.signal_type) => accepting,
            Some(_) => of_node,
        };
        self.oldest_open(row, message, &meant)
    }

    /// The waits that a row may answer by its type and correlation, oldest first.
    fn accepting(&self, row: &SignalRow, message: &Message) -> Vec<usize> {
        let mut accepting: Vec<(Timestamp, usize)> = self
            .waits
            .iter()
            .enumerate()
            .filter(|(_, open)| accepts(open.wait, row, message))
            .map(|(index, open)| (open.since, index))
            .collect();
        accepting.sort_unstable();
        accepting.into_iter().map(|(_, index)| index).collect()
    }

    fn oldest_open(&self, row: &SignalRow, message: &Message, meant: &[usize]) -> Target {
        let Some(index) = meant
            .iter()
            .copied()
            .find(|index| !self.answered.contains(index))
        else {
            // All that it could be for have just been answered: it is a second answer, unless it is older than they.
            let is_second = is_approval(&row.signal_type)
                && meant
                    .iter()
                    .filter_map(|index| self.waits.get(*index))
                    .any(|open| !open.wait.options.is_empty() && open.since <= row.received_at);
            return if is_second {
                Target::Late
            } else {
                Target::None
            };
        };
        match self.waits.get(index) {
            Some(open) if self.is_late(row, message, open) => Target::Late,
            _ => Target::Open(index),
        }
    }

    /// Whether a row that names no request was made for an earlier one than that of `open`.
    fn is_late(&self, row: &SignalRow, message: &Message, open: &OpenWait<'_>) -> bool {
        !open.wait.options.is_empty()
            && row.received_at < open.since
            && self.rows.iter().any(|earlier| {
                earlier.is_processed
                    && earlier.received_at <= row.received_at
                    && earlier.id != open.request_id
                    && is_of_kind(open.wait, &earlier.signal_type)
                    && Message::of(&earlier.data).is_request_of(message.node_id.as_deref())
            })
    }

    fn open_request(&self, request: Uuid) -> Option<usize> {
        self.waits
            .iter()
            .position(|open| open.request_id == request)
    }

    fn is_over(&self, request: Uuid) -> bool {
        self.rows
            .iter()
            .any(|row| row.id == request && row.is_processed)
    }

    fn is_at(&self, index: usize, node: Option<&str>) -> bool {
        self.waits
            .get(index)
            .is_some_and(|open| Some(open.node.as_str()) == node)
    }

    fn answer(&mut self, index: usize, row: &SignalRow, message: Message) {
        let Some(open) = self.waits.get(index) else {
            return;
        };
        let is_own = open.request_id == row.id;
        let decision = if open.wait.options.is_empty() {
            None
        } else {
            let Some(given) = &message.given else { return };
            match given.among(&open.wait.options) {
                Some(option) => Some(option.to_owned()),
                None => {
                    let text = refusal_text(given, &message, &open.wait.options);
                    if !is_own || open.refused.as_ref() != Some(&text) {
                        self.matched.refusals.push(Refusal {
                            wait: index,
                            text,
                            consumed: (!is_own).then_some(row.id),
                        });
                    }
                    return;
                }
            }
        };
        let mut consumed = vec![row.id];
        if !is_own && open.wait.request.is_some() {
            consumed.push(open.request_id);
        }
        self.answered.insert(index);
        self.matched.answers.push(Answer {
            wait: index,
            decision,
            data: message.data,
            signal_type: row.signal_type.clone(),
            consumed,
        });
    }
}

/// Whether a row that is not the wait's own request may end it.
fn accepts(wait: &SignalWait, row: &SignalRow, message: &Message) -> bool {
    let is_meant = match &wait.correlation_id {
        Some(wanted) => message.correlation_id.as_ref() == Some(wanted),
        None => true,
    };
    let says_something = if wait.options.is_empty() {
        // Somebody else's request is no answer to this one.
        !(is_approval(&row.signal_type) && message.given.is_none() && message.is_request)
    } else {
        message.given.is_some()
    };
    is_meant && says_something && is_of_kind(wait, &row.signal_type)
}

fn is_of_kind(wait: &SignalWait, signal_type: &str) -> bool {
    signal_type == wait.signal_type
        || (!wait.options.is_empty() && is_approval(&wait.signal_type) && is_approval(signal_type))
}

fn is_approval(signal_type: &str) -> bool {
    APPROVAL_TYPES.contains(&signal_type)
}

fn refusal_text(given: &Given, message: &Message, options: &[String]) -> String {
    let by = message
        .by
        .as_ref()
        .map_or_else(String::new, |by| format!(" by {by}"));
    format!(
        "Signal refused: {given}{by} is not one of the options: {}",
        options.join(", ")
    )
}
