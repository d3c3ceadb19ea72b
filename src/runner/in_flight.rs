//! The nodes of one execution that run, and those that have just ended.
//!
//! A node that only computes is polled once, in place, since most of them are ready then: that costs no task and no
//! hand-over between threads. Whatever is not ready gets a task of its own, so that it goes on while its execution
//! records or looks, and so does everything that acts. Who starts several at once starts them all before it takes the
//! first result.
//!
//! What is computed in place keeps its thread for a [`STRETCH`] at most, and the node that is under way then.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::perform::Performed;
use crate::clock;
use crate::engine::{Event as EngineEvent, TokenId};

/// How long nodes may be run in place before others have the thread: far longer than most workflows compute altogether,
/// far shorter than anybody would notice.
const STRETCH: Duration = Duration::from_millis(1);

/// A node in flight.
#[derive(Debug)]
struct Task {
    /// `None`: it was run in place, and has ended.
    abort: Option<AbortHandle>,
    /// Whether it can be seen from outside.
    acts: bool,
    /// Tells what the node may have set going.
    cancel: CancellationToken,
}

impl Task {
    fn stop(&self) {
        self.cancel.cancel();
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }
}

/// The nodes of one execution that run. They are aborted when this is dropped.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    spawned: JoinSet<Performed>,
    /// What has ended and is not taken.
    ended: VecDeque<Performed>,
    /// All of both by token: how each is stopped alone. What has ended and is not here was cancelled.
    tasks: HashMap<TokenId, Task>,
    /// Until when nodes are run in place: from the first on, since the execution last waited.
    in_place_until: Option<Instant>,
}

impl InFlight {
    /// Starts a node.
    pub(super) fn start(
        &mut self,
        token: TokenId,
        work: impl Future<Output = Performed> + Send + 'static,
        acts: bool,
        cancel: CancellationToken,
    ) {
        let abort = if acts || !self.may_run_in_place() {
            Some(self.spawned.spawn(work))
        } else {
            self.run_in_place(Box::pin(work))
        };
        let task = Task {
            abort,
            acts,
            cancel,
        };
        self.tasks.insert(token, task);
    }

    fn may_run_in_place(&mut self) -> bool {
        let now = clock::monotonic();
        now < *self.in_place_until.get_or_insert(now + STRETCH)
    }

    /// The waker of this one poll does nothing: a future that is not ready is polled again at once, by its task, and
    /// keeps the waker of its last poll.
    fn run_in_place<W>(&mut self, mut work: W) -> Option<AbortHandle>
    where
        W: Future<Output = Performed> + Send + Unpin + 'static,
    {
        match (&mut work).now_or_never() {
            Some(performed) => {
                self.ended.push_back(performed);
                None
            }
            None => Some(self.spawned.spawn(work)),
        }
    }

    /// The execution has waited for something, so that others had their turn.
    pub(super) fn note_wait(&mut self) {
        self.in_place_until = None;
    }

    /// Whether there is nothing to wait for and nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.spawned.is_empty() && self.ended.is_empty()
    }

    /// Whether there is something to take without a wait.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Whether one of them can be seen from outside.
    pub(super) fn any_acts(&self) -> bool {
        self.tasks.values().any(|task| task.acts)
    }

    /// Waits until one of the tasks has ended; [`next_ended`](Self::next_ended) has it then. Safe to drop: what has
    /// ended stays.
    pub(super) async fn wait(&mut self) {
        self.note_wait();
        if let Some(joined) = self.spawned.join_next().await {
            self.keep(joined);
        }
    }

    /// The next that has ended by now, and whether it acts. Without those that were cancelled when they had just ended.
    pub(super) fn next_ended(&mut self) -> Option<(Performed, bool)> {
        loop {
            while let Some(joined) = self.spawned.try_join_next() {
                self.keep(joined);
            }
            let performed = self.ended.pop_front()?;
            let EngineEvent::NodeFinished { token, .. } = &performed.event else {
                continue;
            };
            if let Some(task) = self.tasks.remove(token) {
                return Some((performed, task.acts));
            }
        }
    }

    fn keep(&mut self, joined: Result<Performed, JoinError>) {
        match joined {
            Ok(performed) => self.ended.push_back(performed),
            Err(error) if error.is_cancelled() => {}
            // `perform` catches panics, so this is the runtime going down.
            Err(error) => tracing::debug!("a node's task ended without a result: {error}"),
        }
    }

    /// Stops one that is no longer wanted.
    pub(super) fn stop(&mut self, token: TokenId) {
        if let Some(task) = self.tasks.remove(&token) {
            task.stop();
        }
    }

    /// Stops them all. What they would have brought is lost.
    pub(super) fn stop_all(&mut self) {
        for task in self.tasks.values() {
            task.stop();
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::activities::native::code::testing;
    use crate::activities::native::evaluator::Evaluator;
    use crate::activities::native::http::{HttpLimits, http_client};
    use crate::activities::outgoing::Outgoing;
    use crate::activities::registry::{Registry, Services};
    use crate::activities::{Activity, Context, Node, Outcome, Running, Spec};
    use crate::config::OutgoingConfig;
    use crate::engine::{FailureKind, NodeResult};
    use crate::expr::Limits;
    use crate::ids::{ExecutionId, Timestamp};
    use crate::runner::perform::{Call, perform};

    /// Does what its node's `does` says.
    #[derive(Debug)]
    struct Scripted;

    impl Activity for Scripted {
        fn spec(&self) -> &'static Spec {
            crate::activities::native::variable::SetVariable.spec()
        }

        fn run<'a>(&'a self, node: &'a Node, _context: &'a Context) -> Running<'a> {
            Box::pin(async move {
                match node.config.get("does").and_then(|does| does.as_str()) {
                    Some("panic") => panic!("a bug"),
                    Some("hang") => std::future::pending::<()>().await,
                    _ => {}
                }
                Ok(Outcome::Done {
                    output: node.config.as_ref().clone(),
                    branch: None,
                })
            })
        }
    }

    fn work(token: u32, does: &str) -> impl Future<Output = Performed> + Send + 'static {
        let mut registry = Registry::native(&Services {
            http: http_client().unwrap(),
            http_limits: HttpLimits::default(),
            expressions: Evaluator::new(Limits::default(), 1),
            max_depth: 5,
            code: testing::code(),
            outgoing: Outgoing::new(OutgoingConfig::default()).unwrap(),
            remote: None,
        });
        registry.add(&["scripted"], Scripted);
        let config = json!({ "does": does });
        let call = Call {
            token: TokenId(token),
            node: Node {
                id: "n".into(),
                node_type: "scripted".into(),
                config: Arc::new(config.as_object().unwrap().clone()),
            },
            context: Context {
                execution_id: ExecutionId(uuid::Uuid::nil()),
                visit: 1,
                attempt: 1,
                idempotency_key: String::new(),
                data: Arc::default(),
                trigger_data: Arc::default(),
                variables: Arc::default(),
                locals: Arc::default(),
                round: 0,
                depth: 0,
                now: Timestamp::UNIX_EPOCH,
                waiting_since: None,
                cancelled: CancellationToken::new(),
            },
            limit: Duration::from_secs(7),
        };
        perform(Arc::new(registry), call)
    }

    /// With a stretch that does not end while the test runs.
    fn unhurried() -> InFlight {
        InFlight {
            in_place_until: Some(clock::monotonic() + Duration::from_secs(3_600)),
            ..InFlight::default()
        }
    }

    fn start(in_flight: &mut InFlight, token: u32, does: &str, acts: bool) {
        let cancel = CancellationToken::new();
        in_flight.start(TokenId(token), work(token, does), acts, cancel);
    }

    fn next(in_flight: &mut InFlight) -> Option<(u32, NodeResult)> {
        let (performed, _) = in_flight.next_ended()?;
        match performed.event {
            EngineEvent::NodeFinished { token, result, .. } => Some((token.0, result)),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn nodes_that_are_ready_at_once_cost_no_task_and_end_in_their_order() {
        let mut in_flight = unhurried();
        for token in 0..5 {
            start(&mut in_flight, token, "", false);
        }
        let runtime = tokio::runtime::Handle::current();
        assert_eq!(runtime.metrics().num_alive_tasks(), 0);
        for token in 0..5 {
            let (ended, result) = next(&mut in_flight).unwrap();
            assert_eq!(ended, token);
            assert!(matches!(result, NodeResult::Success { .. }), "{result:?}");
        }
        assert!(in_flight.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_not_ready_goes_on_as_a_task_and_its_time_ends() {
        let mut in_flight = InFlight::default();
        start(&mut in_flight, 1, "hang", false);
        assert!(!in_flight.has_ended() && !in_flight.is_empty());
        in_flight.wait().await;
        let (_, result) = next(&mut in_flight).unwrap();
        assert!(
            matches!(&result, NodeResult::Failure { kind: FailureKind::TimedOut, message, .. }
                if message == "timed out after 7 seconds"),
            "{result:?}"
        );
        assert!(in_flight.is_empty());
    }

    #[tokio::test]
    async fn a_panic_in_place_fails_its_node_alone() {
        let mut in_flight = unhurried();
        start(&mut in_flight, 1, "panic", false);
        start(&mut in_flight, 2, "", false);
        let (token, result) = next(&mut in_flight).unwrap();
        assert!(
            matches!(&result, NodeResult::Failure { kind: FailureKind::Permanent, message, .. }
                if token == 1 && message == "internal error in scripted: a bug"),
            "{result:?}"
        );
        let (token, result) = next(&mut in_flight).unwrap();
        assert!(token == 2 && matches!(result, NodeResult::Success { .. }));
    }

    #[tokio::test]
    async fn what_acts_gets_a_task_and_so_does_what_comes_after_a_stretch() {
        let mut in_flight = InFlight::default();
        start(&mut in_flight, 1, "", true);
        in_flight.in_place_until = Some(clock::monotonic());
        start(&mut in_flight, 2, "", false);
        assert!(!in_flight.has_ended());
        assert_eq!(in_flight.spawned.len(), 2);
        assert!(in_flight.any_acts());
        in_flight.wait().await;
        assert!(in_flight.has_ended() && in_flight.in_place_until.is_none());
    }

    #[tokio::test]
    async fn what_is_stopped_brings_no_result() {
        let mut in_flight = unhurried();
        start(&mut in_flight, 1, "", false);
        start(&mut in_flight, 2, "", false);
        start(&mut in_flight, 3, "hang", false);
        in_flight.stop(TokenId(1));
        in_flight.stop(TokenId(3));
        assert_eq!(next(&mut in_flight).unwrap().0, 2);
        in_flight.wait().await;
        assert!(next(&mut in_flight).is_none() && in_flight.is_empty());
        start(&mut in_flight, 4, "", false);
        in_flight.stop_all();
        assert!(in_flight.is_empty() && next(&mut in_flight).is_none());
    }
}
