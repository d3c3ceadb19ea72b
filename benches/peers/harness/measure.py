"""The scenarios, the same code for every competitor."""

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


@dataclasses.dataclass
class Sizes:
    """How much is measured, per round."""

    wake: int
    five: int
    drain: int
    five_drain: int
    latency_seconds: float
    drain_seconds: float
    concurrency: int
    longest_settle: float


def latency(peer: Peer, setting: str, url: str, steps: int, count: int, sizes: Sizes) -> dict:
    """Milliseconds from the enqueuing of one execution to the start of its last step, one at a time, idle worker.

    `from_call` from the moment when the producer calls, `from_commit` from when the call has returned. The pause between
    two is random over the peer's polling interval: at a fixed one each would meet the same phase of it.
    """
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


def drain(peer: Peer, setting: str, url: str, steps: int, count: int, sizes: Sizes, settle) -> dict:
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
        with peer.worker(url, setting, steps, sizes.concurrency, count * steps) as worker:
            worker.expect("ready", seconds=START_SECONDS)
            all_ran = worker.wait_for("handled", seconds=sizes.drain_seconds) is not None
            if all_ran:
                _await_end(connection, peer)
            end = time.time_ns()
            worker.send("report")
            first, done = map(int, worker.expect("report", seconds=60))
        failed = connection.execute(peer.failed).fetchone()[0]
    if failed:
        raise Failed(f"{peer.name} {setting}: {failed} of {count} jobs failed; see {peer.log(setting)}")
    if done == 0:
        raise Failed(f"{peer.name} {setting}: nothing ran in {sizes.drain_seconds:.0f} s; see {peer.log(setting)}")
    return {"rate": done / ((end - first) / 1e9), "stopped_after": None if all_ran else done}


def _await_end(connection, peer: Peer) -> None:
    deadline = time.monotonic() + LAST_COMMIT_SECONDS
    while connection.execute(peer.pending).fetchone()[0]:
        if time.monotonic() > deadline:
            raise Failed(f"{peer.name}: all steps ran, but {LAST_COMMIT_SECONDS} s later not all are recorded")
        time.sleep(0.002)
