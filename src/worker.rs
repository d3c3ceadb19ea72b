//! Wiring: `Config` → [`Worker::build`] → [`Worker::run`].
//!
//! Order of start: schema, registration, heartbeat, writer, listener, scheduler, dispatcher. Stop is the reverse: scheduler
//! and dispatcher first (no more fires and claims, running nodes end or are handed back), then the writer when its last
//! record is answered, then the activity host, listener and heartbeat, and last the worker's own row.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::activities::native::code::Code;
use crate::activities::native::evaluator::Evaluator;
use crate::activities::native::http::{HttpLimits, http_client};
use crate::activities::outgoing::Outgoing;
use crate::activities::registry::{Registry, Services};
use crate::activities::remote::{self, HostProcess, Remote};
use crate::clock::DatabaseClock;
use crate::completion_mail::CompletionMails;
use crate::config::{Config, NodeSettings, process_variable};
use crate::dispatcher::{Dispatcher, Settings, Slots};
use crate::expr::Limits;
use crate::ids::Timestamp;
use crate::lease::{Heartbeat, Pulse};
use crate::retention::{Retention, Rhythm};
use crate::runner::Tools;
use crate::runner::graphs::Graphs;
use crate::scheduler::Scheduler;
use crate::store::facts::HostFacts;
use crate::store::migrate::{self, MigrateError};
use crate::store::workers::{Hearing, Identity, WorkerRow};
use crate::store::{Store, StoreError, with_causes};
use crate::telemetry::{Event, Telemetry};
use crate::wake::gate::Gate;
use crate::wake::listener::Listener;
use crate::wake::{Cause, Waker};
use crate::writer::{Writer, WriterHandle};

/// Without a heartbeat for so many intervals a worker is dead if its presence lock is free as well. With the default
/// interval of one second its executions run elsewhere within three.
const SILENT_BEATS: f64 = 1.8;
/// The database may be away for this long before a start is given up; the platform starts the process again.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Expressions that are evaluated at the same time. Each keeps a processor busy, so more would only slow the rest.
const EXPRESSION_THREADS: usize = 4;
/// How long the last statements may take at the end.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Why a worker did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The schema is not what it should be.
    #[error(transparent)]
    Schema(#[from] MigrateError),
    /// The database does not answer, or lacks something.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part could not be built.
    #[error("{0}")]
    Part(String),
}

impl StartError {
    /// Whether the same start may succeed a moment later.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Schema(MigrateError::Store(error)) | Self::Store(error) => error.is_retryable(),
            Self::Schema(MigrateError::Failed { cause, .. }) => cause.is_retryable(),
            Self::Schema(_) | Self::Part(_) => false,
        }
    }
}

/// A worker: everything constructed, nothing running.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    store: Store,
    /// One connection for the heartbeat, so that it never waits behind other work.
    heartbeat_store: Store,
    registry: Arc<Registry>,
    /// The activity host, if the worker starts it.
    host_process: Option<HostProcess>,
    outgoing: Outgoing,
    telemetry: Telemetry,
}

/// The node types under these settings. Connects to nothing and starts nothing: it is for those who look at workflows.
///
/// # Errors
/// Which part could not be built.
pub fn registry(settings: &NodeSettings) -> Result<Registry, StartError> {
    let limit = settings.node.timeout;
    let (remote, _process) = remote::connect(&settings.activities, limit, &Telemetry::default())
        .map_err(|error| StartError::Part(with_causes(&error)))?;
    Ok(Registry::native(&services(settings, remote)?))
}

/// What native activities share.
fn services(config: &NodeSettings, remote: Option<Remote>) -> Result<Services, StartError> {
    let limits = Limits {
        time: config.node.expression_timeout,
        memory_bytes: config.node.expression_memory_bytes,
        ..Limits::default()
    };
    Ok(Services {
        http: http_client().map_err(|error| StartError::Part(with_causes(&error)))?,
        http_limits: HttpLimits::default(),
        expressions: Evaluator::new(limits, EXPRESSION_THREADS),
        max_depth: config.node.max_depth,
        remote,
        outgoing: Outgoing::new(config.outgoing.clone())
            .map_err(|error| StartError::Part(with_causes(&error)))?,
        code: Code::new(config.code.clone()),
    })
}

/// What the parts have in common.
struct Shared {
    identity: watch::Receiver<Identity>,
    hearing: watch::Receiver<Hearing>,
    waker: Arc<Waker>,
    gate: Arc<Gate>,
    /// From the listener to the scheduler.
    schedules: Arc<Notify>,
    /// From the dispatcher to the scheduler.
    next_schedule: watch::Sender<Option<Timestamp>>,
    pulse: Arc<Pulse>,
    clock: Arc<DatabaseClock>,
}

impl Worker {
    /// Builds a worker. Connects to nothing.
    pub fn build(config: Config, telemetry: Telemetry) -> Result<Self, StartError> {
        let mut for_work = config.database.clone();
        for_work.pool_size = for_work.pool_size.saturating_sub(1).max(1);
        let mut for_heartbeat = config.database.clone();
        for_heartbeat.pool_size = 1;
        for_heartbeat.statement_timeout =
            for_heartbeat.statement_timeout.min(config.worker.lease / 3);
        let (remote, host_process) =
            remote::connect(&config.activities, config.node.timeout, &telemetry)
                .map_err(|error| StartError::Part(with_causes(&error)))?;
        let services = services(&NodeSettings::of(&config), remote)?;
        let registry = Registry::native(&services);
        let store = Store::new(&for_work)?;
        Ok(Self {
            heartbeat_store: Store::new(&for_heartbeat)?.with_clock(Arc::clone(store.clock())),
            store,
            registry: Arc::new(registry),
            host_process,
            outgoing: services.outgoing,
            config,
            telemetry,
        })
    }

    /// Runs until `stop` is cancelled, and then until everything is handed back.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StartError> {
        let facts = tokio::select! {
            facts = self.prepare() => facts?,
            () = stop.cancelled() => return Ok(()),
        };
        let (identity_sender, identity) = watch::channel(Identity::fresh());
        let (hearing_sender, hearing) = watch::channel(Hearing::Connecting);
        let shared = Shared {
            identity,
            hearing,
            waker: Arc::default(),
            gate: Arc::default(),
            schedules: Arc::default(),
            next_schedule: watch::Sender::new(None),
            pulse: Arc::default(),
            clock: Arc::clone(self.store.clock()),
        };
        let heartbeat = self.heartbeat(identity_sender, &shared);
        heartbeat.register().await?;
        let listener = self.listener(hearing_sender, &shared);
        let (writer, writer_handle) = Writer::new(self.store.clone(), self.telemetry.clone());
        let scheduler = self.scheduler(&shared);
        let dispatcher = self.dispatcher(writer_handle, &facts, &shared);

        let poll_interval = self.config.worker.poll_interval;
        self.telemetry.emit(Event::WorkerStarted { poll_interval });
        let background = CancellationToken::new();
        let mut parts = JoinSet::new();
        parts.spawn(heartbeat.run(background.clone()));
        parts.spawn(listener.run(background.clone()));
        parts.spawn(scheduler.run(stop.clone()));
        // Ends when the worker begins to drain.
        parts.spawn(self.retention().run(stop.clone()));
        let hosting = CancellationToken::new();
        let mut host = JoinSet::new();
        if let Some(process) = self.host_process.take() {
            host.spawn(process.run(hosting.clone()));
        }
        let mut mailing = JoinSet::new();
        let store = self.store.clone();
        if let Some(mails) = CompletionMails::new(store, &self.outgoing, self.telemetry.clone()) {
            mailing.spawn(mails.run(background.clone()));
        }
        let mut writing = JoinSet::new();
        writing.spawn(writer.run());
        // The first look comes at once, not when the listener is up.
        shared.waker.raise(Cause::Reconnected);
        dispatcher.run(stop).await;
        // The dispatcher has dropped the last handle to the writer.
        drop(tokio::time::timeout(STOP_LIMIT, writing.join_next()).await);
        hosting.cancel();
        drop(tokio::time::timeout(remote::STOP_LIMIT, host.join_next()).await);
        background.cancel();
        let ended = async { while parts.join_next().await.is_some() {} };
        drop(tokio::time::timeout(STOP_LIMIT, ended).await);
        // It bounds its own end.
        while mailing.join_next().await.is_some() {}
        let id = shared.identity.borrow().id;
        if let Ok(Err(error)) =
            tokio::time::timeout(STOP_LIMIT, self.heartbeat_store.deregister(id)).await
        {
            tracing::debug!(
                "the worker's row was not removed and will be buried by the others: {error}"
            );
        }
        self.telemetry.emit(Event::WorkerStopped);
        Ok(())
    }

    fn heartbeat(&self, identity: watch::Sender<Identity>, shared: &Shared) -> Heartbeat {
        let worker = &self.config.worker;
        let hostname = process_variable("HOSTNAME").unwrap_or_default();
        let row = WorkerRow {
            id: identity.borrow().id,
            name: worker.name.clone(),
            hostname: hostname.trim().to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            lease_seconds: worker.lease.as_secs_f64(),
            silence_seconds: worker.heartbeat_interval.as_secs_f64() * SILENT_BEATS,
            concurrency: i32::try_from(worker.concurrency).unwrap_or(i32::MAX),
        };
        Heartbeat {
            store: self.heartbeat_store.clone(),
            row,
            identity,
            hearing: shared.hearing.clone(),
            pulse: Arc::clone(&shared.pulse),
            interval: worker.heartbeat_interval,
            lease: worker.lease,
            telemetry: self.telemetry.clone(),
        }
    }

    fn listener(&self, hearing: watch::Sender<Hearing>, shared: &Shared) -> Listener {
        Listener {
            url: self.config.database.listener_url().clone(),
            store: self.store.clone(),
            waker: Arc::clone(&shared.waker),
            gate: Arc::clone(&shared.gate),
            schedules: Arc::clone(&shared.schedules),
            identity: shared.identity.clone(),
            hearing,
            shares_url: self.config.database.listen_url.is_none(),
            telemetry: self.telemetry.clone(),
        }
    }

    fn scheduler(&self, shared: &Shared) -> Scheduler {
        Scheduler {
            store: self.store.clone(),
            clock: Arc::clone(&shared.clock),
            changed: Arc::clone(&shared.schedules),
            polled: shared.next_schedule.subscribe(),
            defaults: self.config.schedules,
            telemetry: self.telemetry.clone(),
        }
    }

    fn retention(&self) -> Retention {
        Retention {
            store: self.store.clone(),
            database: self.config.database.clone(),
            config: self.config.retention,
            worker_name: self.config.worker.name.clone(),
            rhythm: Rhythm::default(),
            telemetry: self.telemetry.clone(),
        }
    }

    fn dispatcher(&self, writer: WriterHandle, facts: &HostFacts, shared: &Shared) -> Dispatcher {
        let worker = &self.config.worker;
        let tools = Tools {
            store: self.store.clone(),
            writer,
            registry: Arc::clone(&self.registry),
            graphs: Graphs::default(),
            clock: Arc::clone(&shared.clock),
            retry: self.config.retry,
            bounds: self.config.bounds,
            node_timeout: self.config.node.timeout,
            execution_timeout: self.config.execution_timeout,
            is_state_jsonb: facts.is_state_jsonb,
            telemetry: self.telemetry.clone(),
        };
        Dispatcher {
            store: self.store.clone(),
            waker: Arc::clone(&shared.waker),
            gate: Arc::clone(&shared.gate),
            identity: shared.identity.clone(),
            hearing: shared.hearing.clone(),
            slots: Slots::new(worker.concurrency, Arc::clone(&shared.waker)),
            tools: Arc::new(tools),
            pulse: Arc::clone(&shared.pulse),
            clock: Arc::clone(&shared.clock),
            next_schedule: shared.next_schedule.clone(),
            settings: Settings {
                poll_interval: worker.poll_interval,
                adopt_max_age: worker.adopt_max_age,
                grace_period: worker.grace_period,
            },
            telemetry: self.telemetry.clone(),
        }
    }

    /// Brings the schema up to date, or checks it, and learns what the database is like. Waits for a database that is
    /// just starting.
    async fn prepare(&self) -> Result<HostFacts, StartError> {
        let patience = async {
            let mut is_reported = false;
            loop {
                match self.try_prepare().await {
                    Err(error) if error.is_retryable() => {
                        if !is_reported {
                            is_reported = true;
                            self.telemetry.emit(Event::DatabaseLost {
                                part: "start",
                                error: error.to_string(),
                            });
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    other => return other,
                }
            }
        };
        match tokio::time::timeout(START_LIMIT, patience).await {
            Ok(result) => result,
            Err(_elapsed) => self.try_prepare().await,
        }
    }

    /// Has the events told that are set. It takes a lock on the platform's table, which may not be had now, or not by this
    /// role: no reason not to run.
    async fn set_events(&self) -> Result<(), StoreError> {
        let Some(events) = self.config.worker.events else {
            return Ok(());
        };
        match self.store.set_events(events).await {
            Err(error) if !error.is_ambiguous() => {
                tracing::warn!(
                    "WORKFLOW_WORKER_EVENTS={} could not be set and stays as it was: {error}; `workflow-worker events {}` \
                     tries it again",
                    events.as_str(),
                    events.as_str()
                );
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn try_prepare(&self) -> Result<HostFacts, StartError> {
        let database = &self.config.database;
        if database.auto_migrate {
            let applied = migrate::migrate(&database.url).await?;
            if !applied.is_empty() {
                tracing::info!("schema workflow_worker: applied migrations {applied:?}");
            }
        } else {
            migrate::check(&database.url).await?;
        }
        let facts = self.store.host_facts().await?;
        if let Some(problem) = facts.visibility_problem() {
            return Err(StartError::Part(problem));
        }
        self.store.warm_up().await?;
        self.set_events().await?;
        let max_age = self.config.worker.adopt_max_age;
        let executions = self.store.count_left_alone(max_age).await?;
        if executions > 0 {
            self.telemetry.emit(Event::LeftAlone {
                executions,
                max_age,
            });
        }
        Ok(facts)
    }
}
