//! Finds and ends everything that this process has started, however it was started.
//!
//! The host is a 'child subreaper': whoever loses its parent becomes its child, so each process that a program starts
//! stays among its descendants, also after `setsid` or a double fork.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How often it is looked for survivors. Each round kills all that there were, so more than a few are needed only
/// against a program that forks as fast as it can.
const ROUNDS: u32 = 1_000;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(2);

/// The living descendants of this process.
pub(super) fn living() -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((state, parent)) = state_and_parent(&stat)
            && state != "Z"
        {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![nix::unistd::getpid().as_raw()];
    while let Some(parent) = open.pop() {
        for id in children.remove(&parent).unwrap_or_default() {
            found.push(Pid::from_raw(id));
            open.push(id);
        }
    }
    found
}

/// The name, in parentheses, may hold anything.
fn state_and_parent(stat: &str) -> Option<(&str, i32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?, fields.next()?.parse().ok()?))
}

/// What these processes hold in memory, in bytes; pages that several share are counted once.
pub(super) fn memory_bytes(processes: &[Pid]) -> u64 {
    let kib: u64 = processes
        .iter()
        .filter_map(|id| fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .sum();
    kib.saturating_mul(1024)
}

/// Kills a process group, if it is still there.
pub(super) fn kill_group(leader: Pid) {
    for target in [Pid::from_raw(-leader.as_raw()), leader] {
        // That it is gone already is as good.
        kill(target, Signal::SIGKILL).ok();
    }
}

/// Kills whatever is left. The processes that this program waits for itself must have been waited for.
///
/// # Errors
/// How many could not be ended.
pub(super) fn end_all() -> Result<(), String> {
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        reap();
        left = living();
        if left.is_empty() {
            return Ok(());
        }
        for process in &left {
            kill(*process, Signal::SIGKILL).ok();
        }
        pause(PAUSE);
    }
    Err(format!("{} of its processes cannot be ended", left.len()))
}

/// Waits for those that have ended and have no other parent.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// The host has one thread and no runtime, so it may block.
fn pause(time: Duration) {
    let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    match nix::poll::poll(&mut [], millis) {
        // An early end does no harm.
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => tracing::debug!("poll: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        assert_eq!(state_and_parent("12 (a) Z 3 (b) S 7 1 1 0"), Some(("S", 7)));
        assert_eq!(state_and_parent(""), None);
    }
}
