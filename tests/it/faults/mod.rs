//! Harnesses for the claims: nothing is lost, nothing is recorded twice. Each states its law in its first line and names
//! the instants that it hits.

mod kill;
mod restart;
