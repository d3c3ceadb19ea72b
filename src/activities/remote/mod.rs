//! Node types that something else runs: the platform's own Python, or anybody's program.
//!
//! The worker hands node, configuration and data as JSON over HTTP to an **activity host** and gets the result, an
//! error, or the word that the result will come by a signal; `docs/remote-activities.md` is the protocol. A host is
//! reached at an address, or is a child process that the worker starts and watches ([`HostProcess`]). Each type that
//! no native activity serves goes there.
//!
//! `protocol` is what is said, `http` one call, `process` the child process, `known` the platform's types.

pub mod hosted_code;
mod http;
mod known;
mod output;
mod process;
mod protocol;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

pub use http::{Endpoint, EndpointError};
pub use known::{known, known_spec};
pub use process::{HostProcess, STOP_LIMIT};
pub use protocol::{COMPLETION_SIGNAL, Health, PROTOCOL};

use crate::activities::native::config;
use crate::activities::{Activity, Context, Failure, Node, Outcome, Running, Spec};
use crate::config::{ActivityConfig, ActivityHost};
use crate::telemetry::Telemetry;
use protocol::Request;

/// The longest `timeout_seconds` of a node: a week, as for the setting.
const LONGEST_TIMEOUT: f64 = 7.0 * 86_400.0;

/// Runs nodes on an activity host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    endpoint: Endpoint,
    /// `WORKFLOW_NODE_TIMEOUT_SECONDS`: the deadline of a node that sets none.
    node_timeout: Duration,
    /// `WORKFLOW_ACTIVITY_TYPES`: types that go to the host even if there is a native activity.
    types: Arc<[String]>,
}

/// The activity host of a configuration, and the supervisor of its process if the worker starts it. Starts nothing.
///
/// # Errors
/// See [`EndpointError`].
pub fn connect(
    config: &ActivityConfig,
    node_timeout: Duration,
    telemetry: &Telemetry,
) -> Result<(Option<Remote>, Option<HostProcess>), EndpointError> {
    let token = config.token.as_ref();
    let (endpoint, process) = match &config.host {
        None => return Ok((None, None)),
        Some(ActivityHost::At(url)) => (Endpoint::new(url, token)?, None),
        Some(ActivityHost::Command(command)) => {
            let process = HostProcess::new(command.clone(), token, telemetry.clone())?;
            (process.endpoint(), Some(process))
        }
    };
    let remote = Remote {
        endpoint,
        node_timeout,
        types: config.types.clone().into(),
    };
    Ok((Some(remote), process))
}

impl Remote {
    /// The activity of a node type whose keys are those of `spec`.
    pub fn activity(&self, spec: &'static Spec) -> RemoteActivity {
        RemoteActivity {
            remote: self.clone(),
            spec,
        }
    }

    /// The activity of a type of which nothing is known here.
    pub fn custom(&self) -> RemoteActivity {
        self.activity(&known::CUSTOM)
    }

    /// The types that are to go to the host even if there is a native activity.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// How the host is.
    ///
    /// # Errors
    /// Why it cannot be used, as a sentence.
    pub async fn health(&self) -> Result<Health, String> {
        self.endpoint.health().await
    }

    /// Runs a node on the host. Dropping the future drops the call.
    ///
    /// # Errors
    /// What the host reports, or why it cannot be called.
    pub async fn run(&self, node: &Node, context: &Context) -> Result<Outcome, Failure> {
        let own = config::number(&node.config, "timeout_seconds", 0.001, LONGEST_TIMEOUT)?
            .map(Duration::from_secs_f64);
        let timeout = own.unwrap_or(self.node_timeout);
        let after = |time| context.now + TimeDelta::from_std(time).unwrap_or_default();
        let request = Request::new(node, context, after(timeout), timeout);
        let answer = self.endpoint.call(&request, context.now).await?;
        // The limit of the setting is for one attempt; a node that waits for a signal is none.
        let until = after(own.unwrap_or(timeout));
        answer.into_outcome(
            &context.idempotency_key,
            context.now,
            (until, own.is_some()),
        )
    }
}

/// One node type that runs on the host.
#[derive(Clone, Debug)]
pub struct RemoteActivity {
    remote: Remote,
    spec: &'static Spec,
}

impl Activity for RemoteActivity {
    fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// Whatever the type: it leaves the worker.
    fn acts(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(self.remote.run(node, context))
    }
}
