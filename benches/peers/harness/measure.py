"""The scenarios, the same code for every competitor."""

import concurrent.futures
import contextlib
import dataclasses
import random
import time

import psycopg

from .program import Failed, Peer, Program

# Not measured: caches fill, plans are made, code is compiled.
WARM_UP = 3
# A worker that has just said that it is ready has connections to open and queries to prepare. A peer that needs longer
# until it is what its settings say has `settle_seconds`.
SETTLE_SECONDS = 0.5
# Until a program is ready, at most.
START_SECONDS = 60
# Between an execution and the next, at least: longer than any worker here stays busy after one.
PAUSE_SECONDS = 0.05
# For the commit of the last batch, after the last handler has begun.
LAST_COMMIT_SECONDS = 15
# A peer that polls so rarely that a hundred samples would take minutes is measured in several lanes: each has a database, a
# worker and a producer of its own and one execution at a time. Nearly all of the time all of them only wait.
LANES, LANES_FROM_POLL_SECONDS = 4, 0.5
# The queue with which the search for a peer's speed begins, how much longer the next one may be, and how long one must have
# lasted to be believed.
FIRST_TRIAL, TRIAL_GROWTH, TRIAL_SECONDS = 200, 10, 1.0
# A peer that takes a batch at each poll needs some polls, or the one before the first handler makes it look faster.
POLLS = 5


@dataclasses.dataclass
class Sizes:
    """How much is measured, per round."""

    wake: int
    five: int
    drain_seconds: float
    longest_drain: int
    latency_seconds: float
    patience: float
    concurrency: int
    longest_settle: float


def lanes(facts: dict) -> int:
    """How many databases the latency of a peer with this setting is measured on at the same time."""
    return LANES if facts["poll_seconds"] >= LANES_FROM_POLL_SECONDS else 1


def latency(peer: Peer, setting: str, urls: list, steps: int, count: int, sizes: Sizes) -> dict:
    """Milliseconds from the enqueuing of one execution to the start of its last step, one at a time, idle worker.

    `from_call` from the moment when the producer calls, `from_commit` from when the call has returned. The pause between
    two is random over the peer's polling interval: at a fixed one each would meet the same phase of it.
    """
    each = -(-count // len(urls))
    with concurrent.futures.ThreadPoolExecutor(len(urls)) as pool:
        running = [pool.submit(_lane, peer, setting, url, steps, each, sizes) for url in urls]
        parts = [lane.result() for lane in running]
    return {since: [sample for part in parts for sample in part[since]] for since in parts[0]}


def _lane(peer: Peer, setting: str, url: str, steps: int, count: int, sizes: Sizes) -> dict:
    facts = peer.settings[setting]
    found = {"from_call": [], "from_commit": []}
    with contextlib.ExitStack() as stack:
        worker = producer = stack.enter_context(peer.worker(url, setting, steps, sizes.concurrency, 0))
        if not facts.get("in_process"):
            producer = stack.enter_context(peer.producer(url, setting, steps))
            producer.expect("ready", seconds=START_SECONDS)
        worker.expect("ready", seconds=START_SECONDS)
        time.sleep(min(facts.get("settle_seconds", SETTLE_SECONDS), sizes.longest_settle))
        _sample(producer, worker, count, facts, sizes, found)
    if facts.get("in_process"):
        del found["from_commit"]
    return found


def _sample(producer: Program, worker: Program, count: int, facts: dict, sizes: Sizes, found: dict) -> None:
    end = time.monotonic() + sizes.latency_seconds
    number = -WARM_UP
    while number < count and (time.monotonic() < end or not found["from_call"]):
        if time.monotonic() > end:
            # A peer that polls so rarely is not cold, it is slow: the one that comes is its sample.
            number = max(number, 0)
        time.sleep(PAUSE_SECONDS + random.uniform(0, facts["poll_seconds"]))
        job = f"job{number + WARM_UP}"
        producer.send(f"one {job}")
        before, after = map(int, producer.expect("committed", job, seconds=60))
        (started,) = map(int, worker.expect("started", job, seconds=60))
        if number >= 0:
            found["from_call"].append((started - before) / 1e6)
            found["from_commit"].append((started - after) / 1e6)
        number += 1


def size_of(peer: Peer, setting: str, steps: int, sizes: Sizes, run) -> int:
    """How many executions keep the peer busy for `drain_seconds`, found by short drains; `run` makes one of a given size."""
    patience = TRIAL_SECONDS + 2 + 2 * peer.settings[setting]["poll_seconds"]
    count, rate = FIRST_TRIAL, 0.0
    while count <= sizes.longest_drain:
        found = run(count, patience)
        rate = found["rate"] / steps
        if found["stopped_after"] or count / rate >= TRIAL_SECONDS:
            break
        count = min(round(rate * 2 * TRIAL_SECONDS) + 1, count * TRIAL_GROWTH)
    seconds = max(sizes.drain_seconds, POLLS * peer.settings[setting]["poll_seconds"])
    return min(max(round(rate * seconds), 1), sizes.longest_drain)


def drain(peer: Peer, setting: str, url: str, steps: int, count: int, concurrency: int, patience: float, settle) -> dict:
    """Steps per second of a queue that was full before the worker started.

    From the start of the first step, so that the start of a process does not count, until the database has no unfinished
    execution left: what a worker still has to commit does count. When the time is up first, the steps until then count.
    """
    with peer.producer(url, setting, steps) as producer:
        producer.expect("ready", seconds=START_SECONDS)
        producer.send(f"many {count}")
        producer.expect("enqueued", seconds=600)
    settle()
    with psycopg.connect(url, autocommit=True) as connection:
        with peer.worker(url, setting, steps, concurrency, count * steps) as worker:
            worker.expect("ready", seconds=START_SECONDS)
            all_ran = worker.wait_for("handled", seconds=patience) is not None
            if all_ran:
                _await_end(connection, peer)
            end = time.time_ns()
            worker.send("report")
            first, done = map(int, worker.expect("report", seconds=60))
        failed = connection.execute(peer.failed).fetchone()[0]
    if failed:
        raise Failed(f"{peer.name} {setting}: {failed} of {count} jobs failed; see {peer.log(setting)}")
    if done == 0:
        raise Failed(f"{peer.name} {setting}: nothing ran in {patience:.0f} s; see {peer.log(setting)}")
    return {"rate": done / ((end - first) / 1e9), "count": count, "stopped_after": None if all_ran else done}


def _await_end(connection, peer: Peer) -> None:
    deadline = time.monotonic() + LAST_COMMIT_SECONDS
    while connection.execute(peer.pending).fetchone()[0]:
        if time.monotonic() > deadline:
            raise Failed(f"{peer.name}: all steps ran, but {LAST_COMMIT_SECONDS} s later not all are recorded")
        time.sleep(0.002)
