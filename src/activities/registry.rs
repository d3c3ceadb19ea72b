//! Which activity runs which node type: one line per type.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Activity;
use super::native::code::Code;
use super::native::condition::Condition;
use super::native::delay::Delay;
use super::native::evaluator::Evaluator;
use super::native::http::{HttpLimits, HttpRequest};
use super::native::switch::Switch;
use super::native::trigger::Trigger;
use super::native::variable::{GetVariable, SetVariable};

/// What the native activities share.
#[derive(Clone, Debug)]
pub struct Services {
    /// Made by [`http_client`](super::native::http::http_client).
    pub http: reqwest::Client,
    /// The bounds of `http_request`.
    pub http_limits: HttpLimits,
    /// Runs what users type.
    pub expressions: Evaluator,
    /// Runs their programs.
    pub code: Code,
}

/// The activities by node type. Built once; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    activities: BTreeMap<&'static str, Arc<dyn Activity>>,
}

impl Registry {
    /// The node types that the worker runs itself.
    pub fn native(services: &Services) -> Self {
        let mut registry = Self::default();
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
        registry.add(&["code"], services.code.clone());
        registry.add(&["set_variable"], SetVariable);
        registry.add(&["get_variable"], GetVariable);
        registry.add(
            &["delay", "wait"],
            Delay {
                expressions: expressions(),
            },
        );
        registry
    }

    /// Has an activity run these node types, instead of any that ran them before.
    pub fn add(&mut self, types: &[&'static str], activity: impl Activity + 'static) {
        let activity: Arc<dyn Activity> = Arc::new(activity);
        for node_type in types {
            self.activities.insert(node_type, Arc::clone(&activity));
        }
    }

    /// The activity of a node type.
    pub fn get(&self, node_type: &str) -> Option<Arc<dyn Activity>> {
        self.activities.get(node_type).cloned()
    }

    /// The node types, sorted.
    pub fn types(&self) -> impl Iterator<Item = &'static str> {
        self.activities.keys().copied()
    }

    /// What a user reads whose node has a type that nobody runs.
    pub fn unknown_type(&self, node_type: &str) -> String {
        let known: Vec<&str> = self.types().collect();
        format!(
            "no activity for node type {node_type:?}; known types: {}",
            known.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activities::native::code::testing;
    use crate::activities::native::http::http_client;
    use crate::expr::Limits;

    #[test]
    fn an_unknown_type_is_answered_with_the_known_ones() {
        let registry = Registry::native(&Services {
            http: http_client().unwrap(),
            http_limits: HttpLimits::default(),
            expressions: Evaluator::new(Limits::default(), 1),
            code: testing::code(),
        });
        assert!(registry.get("if").is_some());
        assert!(registry.get("frobnicate").is_none());
        assert_eq!(
            registry.unknown_type("frobnicate"),
            "no activity for node type \"frobnicate\"; known types: code, condition, delay, get_variable, http_request, \
             if, set_variable, switch, trigger, wait"
        );
    }
}
