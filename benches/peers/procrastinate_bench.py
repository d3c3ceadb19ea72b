"""Procrastinate (Python). A job queue without durable steps: 'five steps' are five jobs, each deferring the next.

default  what run_worker_async() has, but for the concurrency: LISTEN/NOTIFY, one statement per fetch, a pool of four
         connections (psycopg_pool's own default), done jobs stay.
best     https://procrastinate.readthedocs.io/en/stable/howto/basics/worker.html, …/howto/basics/connector.html and
         …/howto/production/delete_finished_jobs.html: concurrency 30, a pool of 32, done jobs are deleted at once, and a
         poll every 100 ms instead of 5 s: a notification that arrives while the worker fetches is forgotten with that
         fetch (`_fetch_and_process_jobs` of 3.10 clears the event behind it), so polls find some jobs of a chain.

Jobs are added with defer_async() and batch_defer_async(); a trigger of its own notifies.
"""

import asyncio
import sys
from importlib.metadata import version

import procrastinate
from protocol import Tally, arguments, commands_beside, describe, now, say

SETTINGS = {
    "default": {"pool": {}, "worker": {}},
    "best": {
        "pool": {"max_size": 32},
        "worker": {"concurrency": 30, "delete_jobs": "always", "fetch_job_polling_interval": 0.1},
    },
}
tally = None
steps = 1


def application(url: str, setting: str):
    connector = procrastinate.PsycopgConnector(conninfo=url, **SETTINGS[setting]["pool"])
    app = procrastinate.App(connector=connector)

    @app.task(name="step")
    async def step(job: str, step_number: int):
        tally.started(job, step_number)
        if step_number < steps:
            await step.defer_async(job=job, step_number=step_number + 1)

    return app, step


async def setup(url: str, setting: str) -> None:
    app, _ = application(url, setting)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def enqueue(url: str, setting: str, _steps: str) -> None:
    app, step = application(url, setting)
    async with app.open_async():
        await app.check_connection_async()
        say("ready")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            verb, argument = line.split()
            if verb == "one":
                before = now()
                await step.defer_async(job=argument, step_number=1)
                say("committed", argument, before, now())
            else:
                for start in range(0, int(argument), 5000):
                    end = min(start + 5000, int(argument))
                    await step.batch_defer_async(*({"job": str(job), "step_number": 1} for job in range(start, end)))
                say("enqueued")


async def work(url: str, setting: str, step_count: str, concurrency: str, expect: str) -> None:
    global tally, steps
    steps = int(step_count)
    tally = Tally(steps, int(expect))
    app, _ = application(url, setting)
    options = {"concurrency": int(concurrency), **SETTINGS[setting]["worker"]}
    async with app.open_async():
        await app.check_connection_async()
        commands_beside({"report": tally.report})
        say("ready")
        await app.run_worker_async(wait=True, install_signal_handlers=False, **options)


if __name__ == "__main__":
    verb, *rest = arguments()
    if verb == "describe":
        describe(
            peer="Procrastinate",
            version=version("procrastinate"),
            five_steps="five jobs, each defers the next",
            has_steps=False,
            settings={
                "default": {"text": "as run_worker() has it, concurrency {concurrency}", "poll_seconds": 0},
                "best": {"text": "concurrency 30, pool 32, polled every 0.1 s, done jobs deleted", "poll_seconds": 0},
            },
            pending="SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
            failed="SELECT count(*) FROM procrastinate_jobs WHERE status IN ('failed', 'aborted')",
        )
    else:
        asyncio.run({"setup": setup, "enqueue": enqueue, "work": work}[verb](*rest))
