//! Ports on 127.0.0.1 for servers that are stopped and started again.
//!
//! They lie below those that the kernel gives to outgoing connections: one of those could take the port while the
//! server restarts, even a client that tries to reach the server.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{Ipv4Addr, TcpListener};

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// How many are tried before it is given up.
const ATTEMPTS: u32 = 100;

/// A port that nobody listens on at this moment.
///
/// # Errors
/// Every port that was tried is taken.
pub fn free_port() -> io::Result<u16> {
    (0..ATTEMPTS)
        .map(|_| random())
        .find(|port| is_free(*port))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{ATTEMPTS} ports from {FIRST} on are taken"),
            )
        })
}

pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The keys of a `RandomState` come from the operating system.
fn random() -> u16 {
    let number = RandomState::new().hash_one(0_u8) % u64::from(COUNT);
    FIRST + u16::try_from(number).unwrap_or_default()
}
