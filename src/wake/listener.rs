//! The LISTEN session: connect, prove that notifications arrive, reconnect.
//!
//! `LISTEN` needs a session. A transaction pooler accepts it and then never delivers, so the listener proves itself:
//! another connection notifies it, and it waits for the echo, at start, after each reconnect and periodically. Without
//! an echo the worker runs on polling alone, and says so once. The connection is its own, outside the pool, opens no
//! transaction and is drained all the time: a slow listener would pin the xmin horizon and fill the server's queue.
//! Each (re)connect raises [`Cause::Reconnected`], because notifications in the gap are lost.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use postgres_types::Type;
use tokio::sync::{Notify, watch};
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::{Cause, Waker};
use crate::config::DatabaseUrl;
use crate::ids::WorkerId;
use crate::store::connect::{RawConnection, connect};
use crate::store::workers::{Hearing, Identity};
use crate::store::{Store, StoreError, with_causes};
use crate::telemetry::{Event, Telemetry};

/// The channel of the triggers (`sql/migrations/0003_triggers.sql`).
const CHANNEL: &str = "workflow_worker";
/// How long an echo may take.
const ECHO_LIMIT: Duration = Duration::from_secs(5);
/// How often the connection is looked at, by a bare Sync that opens no transaction.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Every so many checks, the whole path is proven by an echo.
const CHECKS_PER_ECHO: u32 = 6;
/// Without an echo, how long until LISTEN is tried again.
const RETRY_WITHOUT_ECHO: Duration = Duration::from_secs(60);

/// The listener's parts.
#[derive(Debug)]
pub struct Listener {
    /// Where to connect; a direct or session-mode URL.
    pub url: DatabaseUrl,
    /// Another way into the database, for the echo.
    pub store: Store,
    /// Whom to wake.
    pub waker: Arc<Waker>,
    /// Who says on this session whether the worker may sleep.
    pub gate: Arc<Gate>,
    /// Told when a schedule was changed, an execution that one waits for has ended, or either may have been missed.
    pub schedules: Arc<Notify>,
    /// Who this is; a new identity needs a new presence lock.
    pub identity: watch::Receiver<Identity>,
    /// Tells the heartbeat.
    pub hearing: watch::Sender<Hearing>,
    /// Whether `url` is also the URL of the queries: then no echo means a transaction pooler there as well.
    pub shares_url: bool,
    /// Where events go.
    pub telemetry: Telemetry,
}

/// Why a session ended.
enum Ended {
    Lost(StoreError),
    NoEcho,
    NewIdentity,
}

impl Listener {
    /// Listens until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = reconnect_backoff();
        let mut is_outage_reported = false;
        loop {
            let ended = tokio::select! {
                ended = self.session(&mut backoff, &mut is_outage_reported) => ended,
                () = stop.cancelled() => return,
            };
            let pause = match ended {
                Ended::NewIdentity => Duration::ZERO,
                Ended::NoEcho => {
                    self.without_echo();
                    RETRY_WITHOUT_ECHO
                }
                Ended::Lost(error) => {
                    self.hearing.send_replace(Hearing::Connecting);
                    if !is_outage_reported {
                        is_outage_reported = true;
                        self.telemetry.emit(Event::ListenerLost {
                            error: error.to_string(),
                        });
                    }
                    // Supabase shuts a client out for minutes after repeated failed logins.
                    let least = if matches!(error, StoreError::Login { .. }) {
                        30
                    } else {
                        0
                    };
                    backoff
                        .next_backoff()
                        .unwrap_or_default()
                        .max(Duration::from_secs(least))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn without_echo(&self) {
        if self.shares_url {
            self.store.set_named_statements(false);
        }
        let before = self.hearing.send_replace(Hearing::PollingOnly);
        if before != Hearing::PollingOnly {
            self.telemetry.emit(Event::PollingOnly);
        }
    }

    async fn session(
        &mut self,
        backoff: &mut ExponentialBackoff,
        is_outage_reported: &mut bool,
    ) -> Ended {
        let worker = self.identity.borrow_and_update().id;
        let echo_channel = format!("{CHANNEL}_echo_{}", worker.0.simple());
        let connected = tokio::time::timeout(
            Duration::from_secs(15),
            connect(&self.url, "workflow-worker listener"),
        );
        let (client, connection) = match connected.await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Ended::Lost(error),
            Err(_elapsed) => {
                return Ended::Lost(StoreError::Unavailable(
                    "no connection within 15 s".to_owned(),
                ));
            }
        };
        let client = Arc::new(client);
        let echo = Echo::default();
        let (waker, schedules) = (Arc::clone(&self.waker), Arc::clone(&self.schedules));
        let recipients = Recipients {
            waker: &waker,
            schedules: &schedules,
            echo_channel: &echo_channel,
            echo: &echo,
        };
        let gate = Arc::clone(&self.gate);
        // Both in one task: the socket is drained whatever the other side waits for.
        let ended = tokio::select! {
            error = drain(connection, &recipients) => Ended::Lost(error),
            ended = self.control(&client, worker, &echo_channel, &echo, (backoff, is_outage_reported)) => ended,
        };
        gate.lend(None);
        ended
    }

    async fn control(
        &mut self,
        client: &Arc<Client>,
        worker: WorkerId,
        echo_channel: &str,
        echo: &Echo,
        (backoff, is_outage_reported): (&mut ExponentialBackoff, &mut bool),
    ) -> Ended {
        if let Err(error) = client
            .batch_execute(&format!("LISTEN {CHANNEL}; LISTEN {echo_channel}"))
            .await
        {
            return Ended::Lost(error.into());
        }
        match self.hears_echo(echo_channel, echo).await {
            Ok(true) => {}
            Ok(false) => return Ended::NoEcho,
            Err(error) => return Ended::Lost(error),
        }
        let presence_key = match take_presence(client, worker).await {
            Ok(key) => key,
            Err(error) => return Ended::Lost(error),
        };
        backoff.reset();
        *is_outage_reported = false;
        let before = self
            .hearing
            .send_replace(Hearing::Listening { presence_key });
        if !matches!(before, Hearing::Listening { .. }) {
            self.telemetry.emit(Event::Listening);
        }
        self.gate.lend(Some(Arc::clone(client)));
        self.waker.raise(Cause::Reconnected);
        self.schedules.notify_one();
        let mut checks: u32 = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
                changed = self.identity.changed() => {
                    // An error means that the heartbeat is gone: the worker is stopping.
                    return if changed.is_ok() { Ended::NewIdentity } else {
                        Ended::Lost(StoreError::Unavailable("the worker stops".to_owned()))
                    };
                }
            }
            checks = checks.wrapping_add(1);
            match tokio::time::timeout(ECHO_LIMIT, client.check_connection()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Ended::Lost(error.into()),
                Err(_elapsed) => {
                    return Ended::Lost(StoreError::Unavailable(
                        "the listener's connection is silent".to_owned(),
                    ));
                }
            }
            if checks.is_multiple_of(CHECKS_PER_ECHO) {
                match self.hears_echo(echo_channel, echo).await {
                    // The pool cannot reach the database: that says nothing about this connection.
                    Ok(true) | Err(_) => {}
                    Ok(false) => {
                        return Ended::Lost(StoreError::Unavailable(
                            "notifications no longer arrive".to_owned(),
                        ));
                    }
                }
            }
        }
    }

    /// Notifies the echo channel through the pool, and waits. Through the pool, because a pooler would hand a
    /// notification of this very connection back with the answer, and prove nothing.
    async fn hears_echo(&self, echo_channel: &str, echo: &Echo) -> Result<bool, StoreError> {
        echo.came.store(false, Ordering::Release);
        self.store
            .query_text("SELECT pg_notify($1, '')", &[(&echo_channel, Type::TEXT)])
            .await?;
        let heard = async {
            while !echo.came.load(Ordering::Acquire) {
                echo.notify.notified().await;
            }
        };
        Ok(tokio::time::timeout(ECHO_LIMIT, heard).await.is_ok())
    }
}

#[derive(Default)]
struct Echo {
    came: AtomicBool,
    notify: Notify,
}

/// Whom a notification is for.
struct Recipients<'a> {
    waker: &'a Waker,
    schedules: &'a Notify,
    echo_channel: &'a str,
    echo: &'a Echo,
}

impl Recipients<'_> {
    fn deliver(&self, channel: &str, payload: &str) {
        if channel == self.echo_channel {
            self.echo.came.store(true, Ordering::Release);
            self.echo.notify.notify_one();
            return;
        }
        match payload {
            "interrupt" => self.waker.raise(Cause::Interrupt),
            "limits" => self.waker.raise(Cause::Limits),
            "schedule" => self.schedules.notify_one(),
            _ => self.waker.raise(Cause::Notified),
        }
    }
}

/// Reads the socket for ever and turns notifications into flags. Returns when the connection has ended.
async fn drain(mut connection: RawConnection, recipients: &Recipients<'_>) -> StoreError {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                recipients.deliver(notification.channel(), notification.payload());
            }
            Some(Ok(_notice)) => {}
            Some(Err(error)) => return error.into(),
            None => {
                return StoreError::Unavailable(
                    "the server closed the listener's connection".to_owned(),
                );
            }
        }
    }
}

/// The session-level lock by which the others see that this process lives. `None` if somebody holds it, which a fresh
/// random identity makes all but impossible.
async fn take_presence(client: &Client, worker: WorkerId) -> Result<Option<i64>, StoreError> {
    let key = presence_key(worker);
    let rows = client
        .query_typed("SELECT pg_try_advisory_lock($1)", &[(&key, Type::INT8)])
        .await?;
    Ok(rows
        .first()
        .is_some_and(|row| row.get::<_, bool>(0))
        .then_some(key))
}

/// The key of a worker's presence lock.
pub fn presence_key(worker: WorkerId) -> i64 {
    worker.0.as_u64_pair().1.cast_signed()
}

fn reconnect_backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(50))
        .with_max_interval(Duration::from_secs(10))
        .with_max_elapsed_time(None)
        .build()
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(error) => write!(f, "Lost({})", with_causes(error)),
            Self::NoEcho => f.write_str("NoEcho"),
            Self::NewIdentity => f.write_str("NewIdentity"),
        }
    }
}
