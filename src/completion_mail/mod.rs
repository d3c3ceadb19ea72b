//! Mails to a workflow's owner when an execution has completed or finally failed.
//!
//! They never delay or break an execution: this part listens to the events that follow the last commit of an execution,
//! as tests do, and works them off on its own. The promise is **at most once** per end: a mail is lost if the worker dies
//! before it is sent, if it fails three times, or if more than `MOST_WAITING` wait; the last two are logged.
//!
//! Nothing is sent where mail is not configured, where the platform has no table `emailtemplate` (some of its
//! installations have none), or no active template with slug `workflow-completed` or `workflow-failed`.

mod template;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::activities::outgoing::{Mail, Mailer, Outgoing};
use crate::activities::{Failure, FailureKind};
use crate::clock;
use crate::ids::ExecutionId;
use crate::store::{Store, StoreError};
use crate::telemetry::{Event, Telemetry};
use template::{Letter, Words};

/// Ends whose mails wait. Beyond it the newest are dropped: a mail server that is away for long must not fill memory.
const MOST_WAITING: usize = 1_000;
/// Mails that are sent at the same time.
const AT_ONCE: usize = 4;
/// The longest attempt to send one.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(30);
/// Waits between the attempts; a longer wait that the server asks for is heeded up to [`LONGEST_WAIT`].
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long what waits may take when the worker stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// The part that sends them.
#[derive(Debug)]
pub struct CompletionMails {
    events: broadcast::Receiver<Arc<Event>>,
    desk: Desk,
}

#[derive(Debug)]
struct Desk {
    store: Store,
    mailer: Mailer,
    telemetry: Telemetry,
    project_name: String,
    frontend_host: String,
}

/// The end of an execution.
#[derive(Debug)]
struct Ended {
    id: ExecutionId,
    /// The failure; `None` if it has completed.
    error: Option<String>,
}

impl Ended {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::ExecutionCompleted { id, .. } => Some(Self {
                id: *id,
                error: None,
            }),
            Event::ExecutionFailed { id, error, .. } => Some(Self {
                id: *id,
                error: Some(error.clone()),
            }),
            _ => None,
        }
    }

    fn slug(&self) -> &'static str {
        if self.error.is_some() {
            "workflow-failed"
        } else {
            "workflow-completed"
        }
    }
}

impl CompletionMails {
    /// The part, if mails are wanted and can be sent. Says what is missing where somebody has begun to set mail up.
    pub fn new(store: Store, outgoing: &Outgoing, telemetry: Telemetry) -> Option<Self> {
        let config = &outgoing.config;
        if !config.completion_mails {
            return None;
        }
        if let Some(variable) = outgoing.mailer.missing() {
            if config.mail.is_begun() {
                telemetry.emit(Event::MailOff { variable });
            }
            return None;
        }
        Some(Self {
            events: telemetry.subscribe(),
            desk: Desk {
                store,
                mailer: outgoing.mailer.clone(),
                telemetry,
                project_name: config.project_name.clone(),
                frontend_host: config.frontend_host.clone(),
            },
        })
    }

    /// Sends mails until `stop` is cancelled, and then what waits, within three seconds.
    pub async fn run(self, stop: CancellationToken) {
        let Self { mut events, desk } = self;
        let mut waiting = VecDeque::new();
        let mut sending = FuturesUnordered::new();
        loop {
            while sending.len() < AT_ONCE
                && let Some(ended) = waiting.pop_front()
            {
                sending.push(desk.deliver(ended));
            }
            // Each branch may be dropped: an event stays in the channel, and a mail in `sending`.
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => desk.take(&mut waiting, &event),
                    Err(RecvError::Lagged(events)) => {
                        desk.telemetry.emit(Event::MailsDropped { at_most: events });
                    }
                    Err(RecvError::Closed) => break,
                },
                Some(()) = sending.next() => {}
                () = stop.cancelled() => break,
            }
        }
        while let Ok(event) = events.try_recv() {
            desk.take(&mut waiting, &event);
        }
        let mut left = waiting.len() + sending.len();
        let rest = async {
            while left > 0 {
                while sending.len() < AT_ONCE
                    && let Some(ended) = waiting.pop_front()
                {
                    sending.push(desk.deliver(ended));
                }
                sending.next().await;
                left -= 1;
            }
        };
        if tokio::time::timeout(STOP_LIMIT, rest).await.is_err() {
            let at_most = u64::try_from(left).unwrap_or(u64::MAX);
            desk.telemetry.emit(Event::MailsDropped { at_most });
        }
    }
}

impl Desk {
    fn take(&self, waiting: &mut VecDeque<Ended>, event: &Event) {
        let Some(ended) = Ended::of(event) else {
            return;
        };
        if waiting.len() < MOST_WAITING {
            waiting.push_back(ended);
        } else {
            self.telemetry.emit(Event::MailsDropped { at_most: 1 });
        }
    }

    async fn deliver(&self, ended: Ended) {
        let mut waits = WAITS.into_iter();
        loop {
            let attempt = tokio::time::timeout(ATTEMPT_LIMIT, self.attempt(&ended)).await;
            let failure = match attempt {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure,
                Err(_elapsed) => Failure::retryable(format!("not sent within {ATTEMPT_LIMIT:?}")),
            };
            let next = waits
                .next()
                .filter(|_| failure.kind != FailureKind::Permanent);
            let Some(wait) = next else {
                self.telemetry.emit(Event::MailFailed {
                    id: ended.id,
                    error: failure.message,
                });
                return;
            };
            let asked = failure.retry_after.unwrap_or_default().min(LONGEST_WAIT);
            tokio::time::sleep(wait.max(asked)).await;
        }
    }

    async fn attempt(&self, ended: &Ended) -> Result<(), Failure> {
        let execution = self.store.load_ended_execution(ended.id).await;
        let Some(execution) = execution.map_err(|error| unread(&error))? else {
            return Ok(());
        };
        if !execution.has_templates {
            return Ok(());
        }
        let slug = ended.slug();
        let template = self.store.load_mail_template(slug).await;
        let Some(template) = template.map_err(|error| unread(&error))? else {
            return Ok(());
        };
        let words = Words {
            user_name: execution
                .owner_name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| execution.owner_email.clone()),
            workflow_name: execution.workflow_name,
            execution_id: ended.id.to_string(),
            duration: execution.seconds.map(template::duration),
            execution_url: format!("{}/workflows?execution_id={}", self.frontend_host, ended.id),
            error_message: ended.error.clone(),
            project_name: self.project_name.clone(),
        };
        let letter = Letter::write(slug, &template, &words).map_err(Failure::permanent)?;
        let ended_at = execution.completed_at.unwrap_or_default();
        let mail = Mail {
            to: execution.owner_email,
            subject: letter.subject,
            text: letter.text,
            html: letter.html,
            key: format!("{}:{slug}:{ended_at}", ended.id),
            date: clock::now(),
        };
        self.mailer.send(&mail).await.map(drop)
    }
}

fn unread(error: &StoreError) -> Failure {
    let message = format!("its owner and template cannot be read: {error}");
    if error.is_retryable() {
        Failure::retryable(message)
    } else {
        Failure::permanent(message)
    }
}
