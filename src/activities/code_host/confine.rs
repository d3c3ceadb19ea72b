//! What a program is bounded by, beyond what the host watches: namespaces, resource limits, the death of its parent.
//!
//! The host enters the namespaces, where it may; the interpreter's process sets its own limits in [`exec`] and then
//! becomes the interpreter. So no code runs between fork and exec, and the host itself has no limits.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};

use super::protocol::Bounds;

/// Open files of one process.
const DESCRIPTORS: u64 = 256;
/// The largest file that a program may write.
const FILE_BYTES: u64 = 256 << 20;
/// The kernel counts threads too, and refuses where the host would end the program and say why. So its limit is the
/// higher one: it holds until the host looks.
const TASKS_PER_PROCESS: u64 = 4;
/// Seconds on the processor beyond the time limit, after which the kernel ends a process that nobody else has ended.
const CPU_MARGIN: u64 = 2;

/// Bounds this process and becomes the program. `bounds` is JSON; `isolated` says that it has a user namespace of its
/// own, whose processes are counted on their own.
///
/// # Errors
/// If a bound cannot be set or the program cannot be started; otherwise it does not return.
pub fn exec(bounds: &str, isolated: bool, argv: &[String]) -> io::Result<()> {
    let bounds: Bounds = serde_json::from_str(bounds)?;
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::other("there is no program"))?;
    nix::unistd::setsid()?;
    #[cfg(target_os = "linux")]
    {
        // If the host is killed, so is this.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        nix::sys::prctl::set_no_new_privs()?;
        if isolated {
            let tasks = u64::from(bounds.processes).saturating_mul(TASKS_PER_PROCESS);
            at_most(Resource::RLIMIT_NPROC, tasks)?;
        }
    }
    at_most(Resource::RLIMIT_CORE, 0)?;
    at_most(Resource::RLIMIT_NOFILE, DESCRIPTORS)?;
    at_most(Resource::RLIMIT_FSIZE, FILE_BYTES)?;
    let seconds = bounds
        .time_ms
        .div_ceil(1000)
        .saturating_mul(processors())
        .saturating_add(CPU_MARGIN);
    at_most(Resource::RLIMIT_CPU, seconds)?;
    at_most(Resource::RLIMIT_AS, bounds.memory_bytes)?;
    Err(Command::new(program).args(arguments).exec())
}

/// A process with threads may use all processors within its time.
fn processors() -> u64 {
    std::thread::available_parallelism()
        .ok()
        .and_then(|processors| u64::try_from(processors.get()).ok())
        .unwrap_or(1)
}

fn at_most(resource: Resource, value: u64) -> nix::Result<()> {
    setrlimit(resource, value, value)
}

/// Enters namespaces of our own: user, processes and IPC, and an empty network if there is to be none. Says whether
/// it did. This process must have one thread.
///
/// # Errors
/// If there is to be no network and the system does not allow that.
#[cfg(target_os = "linux")]
pub(super) fn isolate(network: bool) -> Result<bool, String> {
    use nix::sched::{CloneFlags, unshare};

    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    if !network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    match unshare(flags) {
        Ok(()) => {
            // The same ids inside as outside. Without the maps, files have no names for their owners, and no more.
            for (file, content) in [
                ("uid_map", format!("{user} {user} 1")),
                ("setgroups", "deny".to_owned()),
                ("gid_map", format!("{group} {group} 1")),
            ] {
                drop(std::fs::write(format!("/proc/self/{file}"), content));
            }
            Ok(true)
        }
        Err(_) if network => Ok(false),
        Err(error) => Err(format!(
            "WORKFLOW_CODE_NETWORK is false, but this system gives programs no network namespace ({error})"
        )),
    }
}

/// There are none on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn isolate(network: bool) -> Result<bool, String> {
    if network {
        return Ok(false);
    }
    Err("WORKFLOW_CODE_NETWORK is false, but this system has no network namespaces".to_owned())
}

/// Closes this process's `/proc` entries, its environment among them, to other processes of the same user, so that
/// programs do not find there what they were not given. It does not bind root.
///
/// # Errors
/// If the system refuses.
pub fn conceal() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}
