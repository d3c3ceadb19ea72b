//! Waiting on facts. The only place that sleeps.

use std::fmt::Display;
use std::time::Duration;

use workflow_worker::clock;

/// How long a fact may take that should be there in milliseconds, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The time between two looks.
const BETWEEN: Duration = Duration::from_millis(10);

/// Looks until `probe` answers with the fact; fails with what it last saw instead.
pub(crate) async fn wait_until<T, E: Display>(
    what: &str,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let started = clock::monotonic();
    loop {
        match probe().await {
            Ok(fact) => return fact,
            Err(seen) => give_up_after(timeout, started.elapsed(), what, &seen),
        }
        pause(BETWEEN).await;
    }
}

/// [`wait_until`] where nothing is asynchronous.
pub(crate) fn wait_until_blocking<T, E: Display>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    let started = clock::monotonic();
    loop {
        match probe() {
            Ok(fact) => return fact,
            Err(seen) => give_up_after(timeout, started.elapsed(), what, &seen),
        }
        pause_blocking(BETWEEN);
    }
}

/// For what must take its time, such as a slow server. Never to wait for something.
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of a test, not one of a runtime"
)]
fn pause_blocking(time: Duration) {
    std::thread::sleep(time);
}

fn give_up_after(timeout: Duration, waited: Duration, what: &str, seen: &impl Display) {
    assert!(
        waited < timeout,
        "{what}: not within {timeout:?}; last seen: {seen}"
    );
}
