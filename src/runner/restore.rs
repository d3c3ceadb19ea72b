//! From a claimed row to a running machine; and the ways on which there is nothing to run.

use std::sync::Arc;

use super::drive::Drive;
use super::graphs::{NoGraph, StoredGraph};
use super::session::{Look, News, Session};
use super::{Ended, Runner, replay};
use crate::engine::{Checkpoint, History, Machine, Origin, State, Step, WaitReason};
use crate::host::state_json::View;
use crate::host::state_json::{self, HostState};
use crate::host::status::{self, Disposition as HostDisposition, HostStatus};
use crate::ids::{ExecutionId, NodeId};
use crate::store::claim::{HostRow, RecordedStep, Replay};
use crate::store::{StoreError, with_causes};
use crate::telemetry::Event;

/// An execution whose workers died this often in a row while they held it is failed: it may well be what kills them.
const MAX_RESCUES: i32 = 10;

/// The key of `execution_data` under which a state is kept that cannot be read.
const UNREADABLE_STATE: &str = "unreadable_execution_state";

/// Why an execution cannot go on whose steps the retention has removed.
const HISTORY_IS_GONE: &str = "this execution cannot go on: it had stopped inside a loop, a try or a fan-out, and what it \
                               recorded there was removed because it was older than WORKFLOW_HISTORY_RETENTION_DAYS \
                               allows; replay it instead";

/// Why an execution cannot be taken up.
pub(super) enum Obstacle {
    /// Its own rows are broken. For its owner.
    Broken(String),
    /// The database did not answer.
    Store(StoreError),
}

impl From<StoreError> for Obstacle {
    fn from(error: StoreError) -> Self {
        match error {
            // A row that cannot be read will not be readable next time either.
            StoreError::Refused { message, .. } => Self::Broken(message),
            other => Self::Store(other),
        }
    }
}

/// Takes up a claimed execution and runs it as far as it goes.
pub(super) async fn take_up(runner: Runner) -> Ended {
    let Runner {
        tools,
        worker,
        claimed,
        interrupts,
        slot,
    } = runner;
    let Some(host) = claimed.host.clone() else {
        if let Err(error) = tools
            .store
            .forget(claimed.execution_id, claimed.fence)
            .await
        {
            tracing::debug!(
                "execution {} is gone, its rows are not: {error}",
                claimed.execution_id
            );
        }
        return Ended::Done;
    };
    let mut session = Session::new(tools, worker, claimed, &host, interrupts, slot);
    match status::disposition(
        &HostStatus::parse(&host.status),
        host.is_completed,
        host.has_next_retry,
    ) {
        HostDisposition::Runnable | HostDisposition::RetryDue | HostDisposition::Waiting => {}
        // It is ended although it is paused: nobody wants it any more.
        HostDisposition::Paused if session.claimed.cancel_reason.is_some() => {}
        HostDisposition::Paused => return session.park_as_found().await,
        HostDisposition::Final | HostDisposition::Unknown => return settle(session, &host).await,
    }
    if session.claimed.rescues >= MAX_RESCUES {
        let message = format!("its worker died {MAX_RESCUES} times in a row while running it");
        // It may be what it has recorded that kills them: that is left where it is.
        let view = shown_view(&session, &host);
        return session.fail_unrun(Some(&view), &message).await;
    }
    match restore(&mut session, &host).await {
        Ok(restored) => drive(session, restored, &host).await,
        Err(Obstacle::Broken(message)) => fail_shown(session, &host, &message).await,
        Err(Obstacle::Store(error)) => give_back(session, &error).await,
    }
}

async fn give_back(mut session: Session, error: &StoreError) -> Ended {
    tracing::debug!(
        "execution {} could not be loaded: {error}",
        session.claimed.execution_id
    );
    session.give_back().await
}

/// Fails an execution that cannot go on. Its row shows what was done.
async fn fail_shown(mut session: Session, host: &HostRow, message: &str) -> Ended {
    let view = match recovered_view(&session, host).await {
        Ok(Some(view)) => view,
        Ok(None) => shown_view(&session, host),
        Err(error) => return give_back(session, &error).await,
    };
    session.fail_unrun(Some(&view), message).await
}

async fn drive(session: Session, restored: Restored, host: &HostRow) -> Ended {
    let reason = session.claimed.cancel_reason.clone();
    let mut drive = restored.into_drive(session);
    match reason {
        Some(reason) => drive.terminate(&reason).await,
        None => {
            drive.announce(host);
            drive.warn_of_unknown_mocks();
            drive.run().await
        }
    }
}

/// Somebody has ended it. What it had done is shown with that, and it leaves the run queue.
async fn settle(mut session: Session, host: &HostRow) -> Ended {
    let (restored, view) = if session.claimed.rescues >= MAX_RESCUES {
        // What may have killed its workers is not taken up once more.
        (None, None)
    } else {
        match restore(&mut session, host).await {
            Ok(restored) => (Some(restored), None),
            Err(Obstacle::Broken(_)) => match recovered_view(&session, host).await {
                Ok(view) => (None, view),
                Err(error) => return give_back(session, &error).await,
            },
            Err(Obstacle::Store(error)) => return give_back(session, &error).await,
        }
    };
    let Look::Host(write) = session.look().await else {
        return Ended::LeaseLost;
    };
    match restored {
        Some(restored) => restored.into_drive(session).settle_over(&write).await,
        None => {
            session
                .settle((None, view.as_ref()), &write, News::default())
                .await
        }
    }
}

/// A running machine, and what goes with it.
struct Restored {
    machine: Machine,
    view: View,
    graph: Arc<StoredGraph>,
    /// A replay's: steps of its original that become its own with its first record.
    copied: Vec<Step>,
}

impl Restored {
    fn into_drive(self, session: Session) -> Drive {
        let mut drive = Drive::new(session, self.machine, self.view, self.graph);
        for step in self.copied {
            drive.report.add(step);
        }
        drive
    }
}

async fn restore(session: &mut Session, host: &HostRow) -> Result<Restored, Obstacle> {
    let graph = load_graph(session, host).await?;
    let state = state_json::read(host.execution_state.as_deref())
        .map_err(|error| Obstacle::Broken(error.to_string()))?;
    let general = graph.time_limit.or(session.tools.execution_timeout);
    session.time.set_general(general);
    let Some(text) = session.claimed.checkpoint.clone() else {
        session.take_over(&state).map_err(Obstacle::Broken)?;
        return begin(session, (host, &state), graph).await;
    };
    let checkpoint = Checkpoint::from_json(&text).map_err(|error| broken(&error))?;
    session.time.set_own(checkpoint.time_limit());
    session.take_over(&state).map_err(Obstacle::Broken)?;
    let recorded = session
        .tools
        .store
        .load_steps(session.claimed.execution_id)
        .await?;
    let mut trigger_data = None;
    let mut steps: Vec<Step> = Vec::with_capacity(recorded.len());
    for step in recorded {
        match step {
            RecordedStep::Input(input) => trigger_data = Some(input),
            RecordedStep::Step(step) => steps.push(step),
        }
    }
    // The input is recorded with the first checkpoint, and removed first. Without it the published view is all that there
    // is: enough to go on at a node, not inside an open one.
    if trigger_data.is_none() && checkpoint.has_open_nodes() {
        return Err(Obstacle::Broken(HISTORY_IS_GONE.to_owned()));
    }
    session.is_input_recorded = true;
    let mut view = View::new(
        &session.identity(host),
        trigger_data.unwrap_or_else(|| state.trigger_data(&graph.graph)),
    );
    view.adopt(&state);
    for step in &steps {
        view.apply(step);
    }
    session.has_new_data = view.merge_host(&state.execution_data);
    let mut machine = Machine::restore(
        Arc::clone(&graph.graph),
        Some(checkpoint),
        &Origin::default(),
        &History::from_steps(&steps),
        (session.tools.retry, session.tools.bounds),
    )
    .map_err(|error| broken(&error))?;
    retry_as_asked(&mut machine, host);
    Ok(Restored {
        machine,
        view,
        graph,
        copied: Vec::new(),
    })
}

/// A new execution, one that another worker has begun, or a replay.
async fn begin(
    session: &mut Session,
    (host, state): (&HostRow, &HostState),
    graph: Arc<StoredGraph>,
) -> Result<Restored, Obstacle> {
    let replay = match &session.claimed.replay {
        Some(replay) => Some(replay.clone()),
        // It came into the run queue when no trigger could see what it asks for.
        None => state
            .replay()
            .map_err(Obstacle::Broken)?
            .map(|(id, from)| Replay {
                original: ExecutionId(id),
                from,
            }),
    };
    let (view, copied, origin) = match replay {
        Some(replay) => {
            let (view, copied) = replay::begin(session, (host, state), &graph, &replay).await?;
            let origin = Origin {
                start_at: replay.from,
                retry_count: 0,
            };
            (view, copied, origin)
        }
        None => {
            let mut view = View::new(&session.identity(host), state.trigger_data(&graph.graph));
            view.adopt(state);
            let origin = Origin {
                start_at: begun_by_another(host, state),
                retry_count: u32::try_from(host.retry_count).unwrap_or(0),
            };
            (view, Vec::new(), origin)
        }
    };
    let machine = Machine::restore(
        Arc::clone(&graph.graph),
        None,
        &origin,
        &History::from_steps(&copied),
        (session.tools.retry, session.tools.bounds),
    )
    .map_err(|error| broken(&error))?;
    Ok(Restored {
        machine,
        view,
        graph,
        copied,
    })
}

/// Somebody may have had enough of waiting for a retry. It was parked as `failed`, so `running` is theirs, and means all
/// retries; a retry time that has come means the one that it is the time of.
fn retry_as_asked(machine: &mut Machine, host: &HostRow) {
    let waits_for_a_retry = matches!(
        machine.state(),
        State::Waiting {
            reason: WaitReason::Retry,
            ..
        }
    );
    if waits_for_a_retry && (host.status == "running" || host.is_retry_due) {
        machine.retry_now(host.status != "running");
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Obstacle {
    Obstacle::Broken(with_causes(error))
}

async fn load_graph(session: &Session, host: &HostRow) -> Result<Arc<StoredGraph>, Obstacle> {
    let tools = &session.tools;
    let loaded = match &session.claimed.graph_hash {
        Some(hash) => tools.graphs.by_hash(&tools.store, hash).await,
        None => {
            tools
                .graphs
                .of_workflow(
                    &tools.store,
                    host.workflow_id,
                    host.workflow_row_version.as_deref(),
                )
                .await
        }
    };
    loaded.map_err(|error| match error {
        NoGraph::Broken(message) => Obstacle::Broken(message),
        NoGraph::Store(error) => error.into(),
    })
}

/// The node at which an execution goes on that another worker has begun, and which has no checkpoint of ours.
fn begun_by_another(host: &HostRow, state: &HostState) -> Option<NodeId> {
    let current = host.current_node_id.as_deref()?;
    (!state.completed_node_ids.is_empty()).then(|| NodeId::from(current))
}

/// What the row shows of an execution that cannot be run, or, if that cannot be read, its text under one key, so that the
/// API can read the row and nothing is lost.
fn shown_view(session: &Session, host: &HostRow) -> View {
    let identity = session.identity(host);
    match state_json::read(host.execution_state.as_deref()) {
        Ok(state) => {
            let mut view = View::new(&identity, state.execution_data.clone());
            view.adopt(&state);
            view
        }
        Err(_unreadable) => {
            let text = host.execution_state.clone().unwrap_or_default();
            let data = [(UNREADABLE_STATE.to_owned(), text.into())];
            View::new(&identity, data.into_iter().collect())
        }
    }
}

/// The same with all that was recorded, of which the row may lack the last; `None` if there is nothing more, or it cannot be
/// read.
async fn recovered_view(session: &Session, host: &HostRow) -> Result<Option<View>, StoreError> {
    if session.claimed.checkpoint.is_none() {
        return Ok(None);
    }
    let id = session.claimed.execution_id;
    let recorded = match session.tools.store.load_steps(id).await {
        Ok(recorded) => recorded,
        // Nor will it be readable next time.
        Err(StoreError::Refused { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut view = shown_view(session, host);
    for step in recorded {
        if let RecordedStep::Step(step) = step {
            view.apply(&step);
        }
    }
    Ok(Some(view))
}

impl Drive {
    fn announce(&self, host: &HostRow) {
        let session = &self.session;
        let id = session.claimed.execution_id;
        let name = host.execution_name.clone();
        if session.is_out_of_time() {
            // It is taken up to be ended.
        } else if host.status == "failed" {
            session.tools.telemetry.emit(Event::Retrying { id, name });
        } else if session.claimed.checkpoint.is_none() {
            session
                .tools
                .telemetry
                .emit(Event::ExecutionStarted { id, name });
        }
    }
}
