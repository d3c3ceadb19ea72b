//! The rules of the engine as scripts: what is asked for after what has happened, and that nothing else is.
//! `graphs` holds what is a graph, `restarts` what survives, `laws` what holds for any graph and order.

mod containers;
mod graphs;
mod laws;
mod programs;
mod restarts;
mod rules;
mod script;
