//! The node types that the worker runs itself, one file each.
//!
//! `config` reads a node's configuration with errors that name key, value and what is allowed; `evaluator` runs what
//! users type without holding up the runtime; `templates` fills `{{ … }}` in a configuration. All else is a node type.

pub mod ai_prompt;
pub mod approval;
pub mod code;
pub mod condition;
pub mod config;
pub mod control;
pub mod delay;
pub mod evaluator;
pub mod http;
pub mod notification;
pub mod sub_workflow;
pub mod switch;
pub mod templates;
pub mod transform;
pub mod trigger;
pub mod variable;

#[cfg(test)]
pub(in crate::activities) mod testing;
