//! A throw-away PostgreSQL: for `workflow-worker dev` and `demo`, for the tests and for the benchmarks.
//!
//! Nothing of it stays when its owner ends, even by `kill -9`. The owner need not be ready for that: a small shell
//! script (`supervisor.sh`) holds a pipe from it and cleans up when the pipe closes.
//!
//! Everything here blocks; asynchronous callers use `spawn_blocking`.

mod account;
mod binaries;
mod cluster;
pub mod loopback;
mod port;
mod supervisor;

pub use account::Account;
pub use cluster::{Cluster, ClusterError, Options, StopMode};
pub use port::free_port;
