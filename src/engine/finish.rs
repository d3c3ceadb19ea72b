//! What follows when a command has ended, an answer has come, or a time.

use std::mem;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::event::{Awaited, FailureKind, NodeResult};
use crate::engine::frame::{Exit, Raised};
use crate::engine::token::{Token, TokenState};
use crate::engine::{
    Dropped, Ended, Faulty, IllegalEvent, Machine, StepStatus, Times, TokenId, branch, run_again,
};
use crate::ids::Timestamp;

impl Machine {
    pub(super) fn finish(
        &mut self,
        id: TokenId,
        result: NodeResult,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let (waiting_since, place) = match self.tokens.get(id) {
            Some(Token {
                state: TokenState::Running,
                waiting_since,
                place,
                ..
            }) => (*waiting_since, *place),
            Some(_) | None => return Err(IllegalEvent::NotInFlight { token: id }),
        };
        let times = Times {
            started_at: waiting_since.unwrap_or(times.started_at),
            ..times
        };
        match result {
            NodeResult::Success { output, branch } => match &*self.graph.at(place).node_type {
                "try" => self.open_try(id, times),
                "break" | "continue" => self.leave_loop(id, output, times),
                _ => self.succeed(id, output, branch.as_deref(), times),
            },
            NodeResult::Failure {
                kind,
                message,
                output,
                error_type,
                retry_after,
            } => {
                let faulty = Faulty {
                    kind,
                    message,
                    output,
                    error_type,
                    retry_after,
                };
                self.fail(id, faulty, times)
            }
            NodeResult::SleepUntil { at, output } => {
                let (since, output) = (times.started_at, Arc::new(output));
                self.tokens.set(id, |token| {
                    token.state = TokenState::Sleeping { at, since, output }
                });
                Ok(())
            }
            NodeResult::RecheckAt { at } => {
                self.tokens.set(id, |token| {
                    token.waiting_since = Some(times.started_at);
                    token.state = TokenState::Rechecking { at };
                });
                Ok(())
            }
            NodeResult::Iterate(rounds) => self.iterate(id, rounds, times),
            NodeResult::Await { wait, until } => {
                let (wait, since) = (Arc::new(wait), times.started_at);
                self.tokens.set(id, |token| {
                    token.state = TokenState::Awaiting { wait, since, until }
                });
                Ok(())
            }
        }
    }

    /// What a node awaited has come.
    pub(super) fn answer(
        &mut self,
        id: TokenId,
        result: NodeResult,
        now: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let awaited = self.tokens.get(id).and_then(|token| token.state.awaited());
        let Some((_, since)) = awaited else {
            return Err(IllegalEvent::NotInFlight { token: id });
        };
        self.tokens
            .set(id, |token| token.state = TokenState::Running);
        self.finish(
            id,
            result,
            Times {
                started_at: since,
                now,
            },
        )
    }

    pub(super) fn succeed(
        &mut self,
        id: TokenId,
        output: Map<String, Value>,
        branch: Option<&str>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let exits = self.ways_on(id, branch);
        self.tokens.set(id, |token| token.failure = None);
        let ended = (StepStatus::Success, Ended::with(output));
        self.end_visit(id, ended, exits, times)
    }

    /// A visit has ended: its step, and on to where it leads.
    pub(super) fn end_visit(
        &mut self,
        id: TokenId,
        (status, ended): (StepStatus, Ended),
        exits: Vec<Exit>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let runs_branches = exits.len() > 1
            && self
                .tokens
                .get(id)
                .is_some_and(|token| self.graph.options(token.place).fan_out.is_some());
        if runs_branches {
            self.record(id, status, ended, times)?;
            let entries = exits.into_iter().map(|exit| exit.to).collect();
            return self.open_group(id, entries, times);
        }
        self.record_end(id, status, ended, &exits, times)?;
        self.pass(id, exits);
        Ok(())
    }

    /// Where a token goes from its node.
    pub(super) fn ways_on(&self, id: TokenId, branch: Option<&str>) -> Vec<Exit> {
        let Some(token) = self.tokens.get(id) else {
            return Vec::new();
        };
        let around = self.loops_around(token.frame);
        branch::taken(&self.graph, token.place, branch, |place| {
            around.contains(&place)
        })
        .into_iter()
        .map(|to| Exit { to, error: None })
        .collect()
    }

    /// A `break` or a `continue`.
    pub(super) fn leave_loop(
        &mut self,
        id: TokenId,
        output: Map<String, Value>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Ok(());
        };
        let frame = token.frame;
        let node_type = Arc::clone(&self.graph.at(token.place).node_type);
        let label = output
            .get("loop_label")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .trim()
            .to_owned();
        let Some(target) = self.loop_named(id, &label) else {
            let message = if label.is_empty() {
                format!("{node_type} stands in no loop")
            } else {
                format!("{node_type} stands in no loop that is labelled \"{label}\"")
            };
            return self.fail(id, Faulty::permanent("LoopError", message), times);
        };
        self.record(id, StepStatus::Success, Ended::with(output), times)?;
        let raised = if &*node_type == "break" {
            Raised::Break(target)
        } else {
            Raised::Continue(target)
        };
        self.raise(frame, raised, times)
    }

    /// Does what is due. A failed execution does nothing more by itself. A wait for an answer ends only if `expires`:
    /// whoever says that its time is over has looked whether the answer is there.
    pub(super) fn wake_due(&mut self, now: Timestamp, expires: bool) -> Result<(), IllegalEvent> {
        while let Some(id) = self.first_due(now, expires) {
            let mut was = TokenState::Ready;
            self.tokens.set(id, |token| {
                was = mem::replace(&mut token.state, TokenState::Ready);
            });
            match was {
                TokenState::Sleeping { since, output, .. } => {
                    let output = Arc::unwrap_or_clone(output);
                    let times = Times {
                        started_at: since,
                        now,
                    };
                    self.succeed(id, output, None, times)?;
                    self.settle_frames(times)?;
                }
                TokenState::Retrying { .. } => self.tokens.set(id, run_again),
                TokenState::Awaiting { wait, since, .. } => {
                    let times = Times {
                        started_at: since,
                        now,
                    };
                    self.expire(id, &wait, times)?;
                    self.settle_frames(times)?;
                }
                TokenState::Rechecking { .. }
                | TokenState::Joining
                | TokenState::Ready
                | TokenState::Running
                | TokenState::Failed
                | TokenState::Open => {}
            }
        }
        Ok(())
    }

    /// Nobody answered in time.
    pub(super) fn expire(
        &mut self,
        id: TokenId,
        wait: &Arc<Awaited>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Ok(());
        };
        let place = token.place;
        let mut output = match &**wait {
            Awaited::Signal { .. } => Map::new(),
            Awaited::Child { output, .. } => output.clone(),
        };
        output.insert("status".to_owned(), "timeout".into());
        self.dropped.push(Dropped {
            token: id,
            node: token.node.clone(),
            awaited: Some(Arc::clone(wait)),
        });
        let exits = branch::on_timeout(&self.graph, place);
        if !exits.is_empty() {
            let exits: Vec<Exit> = exits
                .into_iter()
                .map(|to| Exit { to, error: None })
                .collect();
            let ended = Ended::with(output);
            self.record_end(id, StepStatus::Success, ended, &exits, times)?;
            self.pass(id, exits);
            return Ok(());
        }
        let waited = (times.now - times.started_at).num_milliseconds();
        #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
        let seconds = (waited as f64 / 1000.0).round();
        let faulty = Faulty {
            kind: FailureKind::Expired,
            message: format!("timed out after {seconds} seconds"),
            output,
            error_type: "TimeoutError".into(),
            retry_after: None,
        };
        self.fail(id, faulty, times)
    }

    /// When an execution goes on that had failed, whoever was asked was told that it is over, and so were the executions
    /// that it had started: they are asked and started afresh.
    pub(super) fn ask_again(&mut self) {
        let waiting: Vec<_> = self.awaiting().collect();
        for wait in waiting {
            self.dropped.push(Dropped {
                token: wait.token,
                node: wait.node,
                awaited: Some(wait.wait),
            });
            self.tokens.set(wait.token, run_again);
        }
    }

    /// Somebody wants it to go on that had failed: what it has used of its budget counts no more.
    pub(super) fn renew_retries(&mut self) {
        self.budget_used = 0;
        let all: Vec<TokenId> = self.tokens.iter().map(|(id, _)| id).collect();
        for id in all {
            self.tokens.set(id, |token| token.used = 0);
        }
    }

    /// Makes every node that waits for a re-check ready for it.
    pub(super) fn recheck_all(&mut self) {
        let waiting: Vec<TokenId> = self
            .tokens
            .iter()
            .filter(|(_, token)| matches!(token.state, TokenState::Rechecking { .. }))
            .map(|(id, _)| id)
            .collect();
        for id in waiting {
            self.tokens.set(id, |token| token.state = TokenState::Ready);
        }
    }
}
