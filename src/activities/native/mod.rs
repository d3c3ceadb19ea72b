//! The node types that the worker runs itself, one file each.
//!
//! `config` reads a node's configuration with errors that name key, value and what is allowed; `evaluator` runs what
//! users type without holding up the runtime. All else is a node type.

pub mod code;
pub mod condition;
pub mod config;
pub mod delay;
pub mod evaluator;
pub mod http;
pub mod switch;
pub mod trigger;
pub mod variable;

#[cfg(test)]
mod testing;
