"""This repository's worker. Executions are rows that are inserted by SQL.

default  what `workflow-worker run` has, but for the concurrency.
best     256 executions at a time (the writer commits up to 256 records at once), a pool of 8 connections. Between 200 and
         500 nothing differs by more than the noise; 50 and 100 are slower where nodes act.
acting   as best, but each of the five nodes calls an HTTP server (`probe/src/bin/answer.rs`).

`one` is a workflow of one node, `five` one of five. With default and best all are `set_variable`: nodes that only compute,
whose records may share a commit. A node that acts outside starts only when everything before it is committed, and is
committed before the next starts; that is what the durable steps of the peers do, so `acting` is what compares with them,
although it bears the calls. The program is opaque, so the times are those that it
records in `workflow_worker.steps`: its clock there is the database's, which on one machine is the one that the others use,
read over the connection and wrong by less than half of the shortest round trip of the last minute. To see them, this
program looks into the database every 20 ms, which the worker bears and the others do not.

WORKFLOW_WORKER_BINARY names the binary.
"""

import json
import os
import subprocess
import sys
import threading
import time

import psycopg
from protocol import arguments, commands, describe, say, timed

ANSWER = os.path.join(os.environ.get("BENCH_BIN", "."), "answer")
BINARY = os.environ.get("WORKFLOW_WORKER_BINARY", "target/release/workflow-worker")
# Looking for results costs the worker; less often would make a drain seem longer.
LOOK_EVERY = 0.02
BEST = {"WORKFLOW_WORKER_CONCURRENCY": "256", "WORKFLOW_WORKER_POOL_SIZE": "8"}
SETTINGS = {
    "default": lambda concurrency: {"WORKFLOW_WORKER_CONCURRENCY": concurrency},
    "best": lambda _: BEST,
    "acting": lambda _: BEST,
}
# What a developer's shell may hold for the platform must not steer the worker.
FOREIGN = ("SUPABASE_", "POSTGRES_", "WORKFLOW_", "DATABASE_URL", "SMTP_", "ENVIRONMENT")

RECORDED = "(extract(epoch FROM steps.started_at) * 1000000)::bigint * 1000"
ENDED = f"""
    SELECT host.execution_id, {RECORDED}
    FROM workflowexecution AS host JOIN workflow_worker.steps ON steps.execution_id = host.id
    WHERE host.status = 'completed' AND steps.node_id = %s AND host.execution_id <> ALL (%s)"""
REPORT = f"SELECT coalesce(min({RECORDED}), 0), count(*) FROM workflow_worker.steps WHERE seq > 0 AND status = 'success'"
IS_DRAINED = "SELECT NOT EXISTS (SELECT FROM workflow_worker.run_queue)"
IS_LISTENING = "SELECT EXISTS (SELECT FROM workflow_worker.workers WHERE listening)"


def environment(url: str, more: dict) -> dict:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**ours, "DATABASE_URL": url, "WORKFLOW_WORKER_LOG": "warn", **more}


COMPUTING = "set_variable", {"variable_name": "x", "variable_value": 1}


def graph(nodes: int, kind: tuple) -> str:
    names = [f"n{number}" for number in range(1, nodes + 1)]
    node_type, config = kind
    return json.dumps({
        "nodes": [{"node_id": name, "node_type": node_type, "config": config} for name in names],
        "edges": [{"from": one, "to": other} for one, other in zip(names, names[1:])],
    })


def setup(url: str, _setting: str) -> None:
    subprocess.run([BINARY, "migrate"], env=environment(url, {}), check=True, stdout=sys.stderr)
    with psycopg.connect(url) as connection:
        for steps in (1, 5):
            insert = "INSERT INTO workflow (name, graph_config) VALUES (%s, %s)"
            connection.execute(insert, (str(steps), graph(steps, COMPUTING)))


def enqueue(url: str, _setting: str, steps: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        workflow = connection.execute("SELECT id FROM workflow WHERE name = %s", (steps,)).fetchone()[0]
        insert = "INSERT INTO workflow_executions (workflow_id, execution_id) VALUES (%s, %s)"
        series = "INSERT INTO workflow_executions (workflow_id) SELECT %s FROM generate_series(1, %s::int)"

        def many(count: str) -> None:
            connection.execute(series, (workflow, count))
            say("enqueued")

        say("ready")
        commands({"one": timed(lambda job: connection.execute(insert, (workflow, job), prepare=True)), "many": many})


def tell_ended(connection, steps: str) -> None:
    told = []
    while True:
        for job, at in connection.execute(ENDED, (f"n{steps}", told)).fetchall():
            say("started", job, at)
            told.append(job)
        time.sleep(LOOK_EVERY)


def act(url: str, steps: str) -> subprocess.Popen:
    """Starts a server, and lets the nodes call it from now on. It ends with this process."""
    pipe = subprocess.PIPE
    server = subprocess.Popen([ANSWER], stdin=pipe, stdout=pipe, text=True)
    acting = "http_request", {"method": "GET", "url": f"http://127.0.0.1:{int(server.stdout.readline())}/"}
    with psycopg.connect(url) as connection:
        update = "UPDATE workflow SET graph_config = %s WHERE name = %s"
        connection.execute(update, (graph(int(steps), acting), steps))
    return server


def work(url: str, setting: str, steps: str, concurrency: str, expect: str) -> None:
    # Held for as long as the worker runs.
    server = act(url, steps) if setting == "acting" else None
    variables = environment(url, SETTINGS[setting](concurrency))
    worker = subprocess.Popen([BINARY, "run"], env=variables, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            while not connection.execute(IS_LISTENING).fetchone()[0]:
                if worker.poll() is not None:
                    sys.exit(f"{BINARY} ended with {worker.returncode} before it listened")
                time.sleep(LOOK_EVERY)
            say("ready")
            watch(connection, url, steps, int(expect))
    finally:
        worker.kill()
        worker.wait()
        if server:
            server.kill()
            server.wait()


def watch(connection, url: str, steps: str, expect: int) -> None:
    """Tells what has run, until standard input ends."""
    looking = psycopg.connect(url, autocommit=True)

    def look() -> None:
        if expect == 0:
            tell_ended(looking, steps)
        while not looking.execute(IS_DRAINED).fetchone()[0]:
            time.sleep(LOOK_EVERY)
        say("handled")

    threading.Thread(target=look, daemon=True).start()
    commands({"report": lambda: say("report", *connection.execute(REPORT).fetchone())})


if __name__ == "__main__":
    verb, *rest = arguments()
    if verb == "describe":
        printed = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout
        describe(
            peer="workflow-worker",
            version=printed.split()[-1] + (" (debug build)" if "/debug/" in BINARY else ""),
            five_steps="five nodes",
            has_steps=True,
            settings={
                "default": {"text": "as run has it, concurrency {concurrency}", "poll_seconds": 0, "durable": False},
                "best": {"text": "256 executions at a time, pool 8", "poll_seconds": 0, "durable": False},
                "acting": {"text": "as best, each node calls a server", "poll_seconds": 0, "only_five": True},
            },
            pending="SELECT EXISTS (SELECT FROM workflow_worker.run_queue)",
            failed="SELECT count(*) FROM workflowexecution WHERE status = 'failed'",
        )
    else:
        {"setup": setup, "enqueue": enqueue, "work": work}[verb](*rest)
