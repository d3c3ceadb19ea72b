//! Which activity runs which node type: one line per type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::native::ai_prompt::AiPrompt;
use super::native::approval::{HumanApproval, WaitForSignal};
use super::native::code::Code;
use super::native::condition::Condition;
use super::native::control::attempt::{Catch, Finally, Try};
use super::native::control::loops::{LeaveLoop, Loop};
use super::native::delay::Delay;
use super::native::evaluator::Evaluator;
use super::native::http::{HttpLimits, HttpRequest};
use super::native::notification::Notification;
use super::native::sub_workflow::SubWorkflow;
use super::native::switch::Switch;
use super::native::templates;
use super::native::transform::filter::Filter;
use super::native::transform::map::Map;
use super::native::transform::merge::Merge;
use super::native::transform::reduce::Reduce;
use super::native::transform::split::Split;
use super::native::trigger::Trigger;
use super::native::variable::{GetVariable, SetVariable};
use super::outgoing::Outgoing;
use super::remote::hosted_code::HostedCode;
use super::remote::{self, Remote};
use super::{Activity, Context, Failure, Node, Spec};

/// What the native activities share.
#[derive(Clone, Debug)]
pub struct Services {
    /// Made by [`http_client`](super::native::http::http_client).
    pub http: reqwest::Client,
    /// The bounds of `http_request`.
    pub http_limits: HttpLimits,
    /// Runs what users type.
    pub expressions: Evaluator,
    /// `WORKFLOW_MAX_SUB_WORKFLOW_DEPTH`.
    pub max_depth: u32,
    /// Runs their programs.
    pub code: Code,
    /// AI providers, mail, webhooks.
    pub outgoing: Outgoing,
    /// Runs what the worker does not run itself, if there is an activity host.
    pub remote: Option<Remote>,
}

/// The activities by node type. Built once; cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    activities: BTreeMap<&'static str, Arc<dyn Activity>>,
    /// The types that the worker runs itself.
    own: BTreeSet<&'static str>,
    /// Runs every other type.
    fallback: Option<Arc<dyn Activity>>,
    /// For the templates in configurations.
    expressions: Evaluator,
}

impl Registry {
    /// The node types that the worker runs itself; with an activity host, all others too.
    pub fn native(services: &Services) -> Self {
        let mut registry = Self {
            activities: BTreeMap::new(),
            own: BTreeSet::new(),
            fallback: None,
            expressions: services.expressions.clone(),
        };
        let expressions = || services.expressions.clone();
        registry.add(&["trigger"], Trigger);
        registry.add(
            &["http_request"],
            HttpRequest {
                client: services.http.clone(),
                limits: services.http_limits,
            },
        );
        registry.add(
            &["condition", "if"],
            Condition {
                expressions: expressions(),
            },
        );
        registry.add(
            &["switch"],
            Switch {
                expressions: expressions(),
            },
        );
        registry.add(&["set_variable"], SetVariable);
        registry.add(&["get_variable"], GetVariable);
        registry.add(
            &["delay", "wait"],
            Delay {
                expressions: expressions(),
            },
        );
        registry.add(
            &["code"],
            HostedCode {
                code: services.code.clone(),
                remote: services.remote.clone(),
            },
        );
        registry.add(
            &["ai_prompt", "ai-prompt"],
            AiPrompt {
                outgoing: services.outgoing.clone(),
            },
        );
        registry.add(
            &["notification"],
            Notification {
                outgoing: services.outgoing.clone(),
            },
        );
        registry.add_steering(services);
        registry.add_transforms(services);
        if let Some(remote) = &services.remote {
            registry.go_remote(remote);
        }
        registry
    }

    /// Nodes that say where and when it goes on.
    fn add_steering(&mut self, services: &Services) {
        let expressions = || services.expressions.clone();
        self.add(
            &["loop", "for", "while", "repeat"],
            Loop {
                expressions: expressions(),
            },
        );
        self.add(&["break", "continue"], LeaveLoop);
        self.add(&["try"], Try);
        self.add(
            &["catch"],
            Catch {
                code: services.code.clone(),
            },
        );
        self.add(
            &["finally"],
            Finally {
                code: services.code.clone(),
            },
        );
        self.add(&["human_approval"], HumanApproval);
        self.add(&["wait_for_signal"], WaitForSignal);
        self.add(
            &["sub_workflow", "sub-workflow"],
            SubWorkflow {
                expressions: expressions(),
                max_depth: services.max_depth,
            },
        );
    }

    /// Nodes that compute with the data.
    fn add_transforms(&mut self, services: &Services) {
        let expressions = || services.expressions.clone();
        self.add(
            &["map"],
            Map {
                expressions: expressions(),
            },
        );
        self.add(
            &["filter"],
            Filter {
                expressions: expressions(),
            },
        );
        self.add(
            &["reduce"],
            Reduce {
                expressions: expressions(),
            },
        );
        self.add(
            &["merge"],
            Merge {
                expressions: expressions(),
            },
        );
        self.add(
            &["split"],
            Split {
                expressions: expressions(),
            },
        );
    }

    /// Sends to an activity host what it is to run, and all that nothing else runs.
    fn go_remote(&mut self, remote: &Remote) {
        for (node_type, activity) in &mut self.activities {
            if remote.types().iter().any(|name| name == node_type) {
                // The keys stay what they are: templates are resolved as for the native activity.
                *activity = Arc::new(remote.activity(activity.spec()));
                self.own.remove(node_type);
            }
        }
        for (node_type, spec) in remote::known() {
            self.activities
                .entry(node_type)
                .or_insert_with(|| Arc::new(remote.activity(spec)));
        }
        self.fallback = Some(Arc::new(remote.custom()));
    }

    /// Has an activity run these node types, instead of any that ran them before.
    pub fn add(&mut self, types: &[&'static str], activity: impl Activity + 'static) {
        let activity: Arc<dyn Activity> = Arc::new(activity);
        for node_type in types {
            self.activities.insert(node_type, Arc::clone(&activity));
            self.own.insert(node_type);
        }
    }

    /// The activity of a node type.
    pub fn get(&self, node_type: &str) -> Option<Arc<dyn Activity>> {
        self.activities
            .get(node_type)
            .or(self.fallback.as_ref())
            .cloned()
    }

    /// What a node type says of itself; also of those of the platform that need an activity host where there is none.
    pub fn spec(&self, node_type: &str) -> Option<&'static Spec> {
        let here = self.get(node_type).map(|activity| activity.spec());
        here.or_else(|| remote::known_spec(node_type))
    }

    /// The node with the templates of its configuration filled, as its activity is to see it.
    ///
    /// # Errors
    /// As [`templates::filled`].
    pub async fn fill(
        &self,
        activity: &dyn Activity,
        node: Node,
        context: &Context,
    ) -> Result<Node, Failure> {
        templates::filled(&self.expressions, activity.spec(), node, context).await
    }

    /// Whether the worker runs the node type itself.
    pub fn is_own(&self, node_type: &str) -> bool {
        self.own.contains(node_type)
    }

    /// Every node type with a name that is known here and what it says of itself, sorted; also those of the platform
    /// that need an activity host where there is none.
    pub fn catalogue(&self) -> Vec<(&'static str, &'static Spec)> {
        let mut all: BTreeMap<&'static str, &'static Spec> =
            remote::known().iter().copied().collect();
        for (node_type, activity) in &self.activities {
            all.insert(node_type, activity.spec());
        }
        all.into_iter().collect()
    }

    /// The node types, sorted.
    pub fn types(&self) -> impl Iterator<Item = &'static str> {
        self.activities.keys().copied()
    }

    /// What a user reads whose node has a type that nobody runs.
    pub fn unknown_type(&self, node_type: &str) -> String {
        const NO_HOST: &str = "an activity host, and none is configured: set WORKFLOW_ACTIVITY_URL or \
                               WORKFLOW_ACTIVITY_COMMAND";
        if remote::known_spec(node_type).is_some() {
            return format!("node type {node_type:?} runs on {NO_HOST}");
        }
        let known: Vec<&str> = self.types().collect();
        format!(
            "no activity for node type {node_type:?}; known types: {}; any other runs on {NO_HOST}",
            known.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activities::native::code::testing;
    use crate::activities::native::http::http_client;
    use crate::config::{ActivityConfig, ActivityHost, ActivityUrl, OutgoingConfig};
    use crate::expr::Limits;
    use crate::telemetry::Telemetry;

    fn registry(remote: Option<Remote>) -> Registry {
        Registry::native(&Services {
            http: http_client().unwrap(),
            http_limits: HttpLimits::default(),
            expressions: Evaluator::new(Limits::default(), 1),
            max_depth: 5,
            code: testing::code(),
            outgoing: Outgoing::new(OutgoingConfig::default()).unwrap(),
            remote,
        })
    }

    fn remote(types: &[&str]) -> Option<Remote> {
        let config = ActivityConfig {
            host: ActivityUrl::parse("http://127.0.0.1:1").map(ActivityHost::At),
            token: None,
            types: types.iter().map(|name| (*name).to_owned()).collect(),
        };
        let limit = std::time::Duration::from_secs(1);
        remote::connect(&config, limit, &Telemetry::default())
            .unwrap()
            .0
    }

    /// Whether an activity host runs the type.
    fn is_remote(registry: &Registry, node_type: &str) -> bool {
        format!("{:?}", registry.get(node_type).unwrap()).starts_with("RemoteActivity")
    }

    #[test]
    fn an_unknown_type_is_answered_with_the_known_ones() {
        let registry = registry(None);
        assert!(registry.get("if").is_some());
        assert!(registry.get("frobnicate").is_none());
        assert!(registry.spec("frobnicate").is_none());
        let message = registry.unknown_type("frobnicate");
        let known: Vec<_> = registry.types().collect();
        assert_eq!(
            message,
            format!(
                "no activity for node type \"frobnicate\"; known types: {}; any other runs on an activity host, and \
                 none is configured: set WORKFLOW_ACTIVITY_URL or WORKFLOW_ACTIVITY_COMMAND",
                known.join(", ")
            )
        );
        assert!(message.contains("condition, continue"), "{message}");
    }

    #[test]
    fn without_a_host_a_type_of_the_platform_says_what_it_needs() {
        let registry = registry(None);
        assert!(registry.get("agent").is_none());
        assert_eq!(
            registry.unknown_type("agent"),
            "node type \"agent\" runs on an activity host, and none is configured: set WORKFLOW_ACTIVITY_URL or \
             WORKFLOW_ACTIVITY_COMMAND"
        );
        assert!(registry.spec("agent").unwrap().key("task").is_some());
    }

    #[test]
    fn a_host_runs_what_the_worker_does_not_run_itself() {
        let registry = registry(remote(&[]));
        for node_type in ["agent", "connector", "osint", "frobnicate"] {
            assert!(is_remote(&registry, node_type), "{node_type}");
        }
        for node_type in ["http_request", "if", "trigger"] {
            assert!(!is_remote(&registry, node_type), "{node_type}");
        }
        assert!(registry.types().any(|name| name == "rag_switch"));
        let keys = registry.get("agent").unwrap().spec();
        assert!(keys.key("task").is_some());
    }

    #[test]
    fn a_type_can_be_sent_to_the_host_and_keeps_its_keys() {
        let registry = registry(remote(&["switch"]));
        assert!(is_remote(&registry, "switch"));
        assert!(!is_remote(&registry, "if"));
        let switch = registry.get("switch").unwrap().spec();
        assert!(switch.is_program("switch_expression"));
    }
}
