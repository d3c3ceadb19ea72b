"""DBOS Transact (Python). Durable workflows: each step's result is committed before the next begins.

default  a queue as register_queue() has it: polled every second, no limit on concurrency (a limit of 10 would allow no
         more than 10 workflows per poll, so the common concurrency is not imposed here).
best     https://docs.dbos.dev/python/reference/queues and …/configuration: polled every 10 ms, a pool of 50 connections.
direct   no queue: the process that runs the workflow also starts it (DBOS.start_workflow), which is DBOS's fastest way.
         There is no other process to commit, so only the time from the call is measured, and no drain.

Workflows are enqueued with DBOSClient from another process. A done workflow stays in the table.
"""

import threading
from importlib.metadata import version

import sqlalchemy
from dbos import DBOS, DBOSClient, SetWorkflowID
from protocol import Tally, arguments, commands, commands_beside, describe, say, timed

QUEUE = "bench"
VERSION = "bench"
SETTINGS = {
    "default": {"queue": {}, "config": {}},
    "best": {"queue": {"polling_interval_sec": 0.01}, "config": {"sys_db_pool_size": 50}},
    "direct": {"queue": {}, "config": {}},
}
tally = None


@DBOS.step()
def step(job: str, number: int) -> int:
    tally.started(job, number)
    return number


@DBOS.workflow(name="flow")
def flow(job: str, steps: int) -> int:
    for number in range(1, steps + 1):
        step(job, number)
    return steps


def launch(url: str, setting: str) -> None:
    config = {
        "name": "bench",
        "system_database_url": url,
        "application_version": VERSION,
        "log_level": "ERROR",
        **SETTINGS[setting]["config"],
    }
    DBOS(config=config)
    DBOS.launch()
    if setting != "direct":
        DBOS.register_queue(QUEUE, **SETTINGS[setting]["queue"])


def setup(url: str, setting: str) -> None:
    launch(url, setting)
    DBOS.destroy()


def enqueue(url: str, _setting: str, steps: str) -> None:
    client = DBOSClient(system_database_url=url)
    options = {"queue_name": QUEUE, "workflow_name": "flow", "app_version": VERSION}

    def many(count: str) -> None:
        # In transactions of the caller's, so that filling the queue does not take longer than emptying it.
        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            for job in range(int(count)):
                client.enqueue_in_transaction(connection, options, str(job), int(steps))
        say("enqueued")

    client.check_connection()
    say("ready")
    commands({"one": timed(lambda job: client.enqueue(options, job, int(steps))), "many": many})


def work(url: str, setting: str, steps: str, _concurrency: str, expect: str) -> None:
    global tally
    tally = Tally(int(steps), int(expect))
    launch(url, setting)
    say("ready")

    def start(job: str) -> None:
        with SetWorkflowID(f"direct-{job}"):
            DBOS.start_workflow(flow, job, int(steps))

    commands_beside({"report": tally.report, "one": timed(start)})
    threading.Event().wait()


if __name__ == "__main__":
    verb, *rest = arguments()
    if verb == "describe":
        describe(
            peer="DBOS (Python)",
            version=version("dbos"),
            five_steps="five durable steps",
            has_steps=True,
            settings={
                "default": {"text": "queue polled every 1 s, no limit", "poll_seconds": 1},
                "best": {"text": "queue polled every 10 ms, no limit, pool 50", "poll_seconds": 0.01},
                "direct": {"text": "started in the worker's own process", "poll_seconds": 0, "in_process": True},
            },
            pending="SELECT EXISTS (SELECT FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING'))",
            failed="SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')",
        )
    else:
        {"setup": setup, "enqueue": enqueue, "work": work}[verb](*rest)
