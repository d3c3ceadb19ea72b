"""A stand-in for the platform's registry of handlers: the same names and signatures, no dependencies."""

import asyncio
import dataclasses
import datetime
import os
import pathlib
import subprocess
import time


@dataclasses.dataclass
class NodeExecutionResult:
    """As the platform's model."""

    node_id: str
    status: str
    started_at: datetime.datetime
    output: dict = dataclasses.field(default_factory=dict)
    error: str | None = None
    completed_at: datetime.datetime | None = None
    duration_ms: int = 0


class ActivityHandler:
    """As the platform's base class."""

    def execute(self, node_id, node_config, input_data, execution_id=None, session=None):
        """Runs a node."""
        raise NotImplementedError

    @staticmethod
    def result(node_id, status, output=None, error=None):
        """A result as the platform's handlers make it."""
        now = datetime.datetime.now()
        return NodeExecutionResult(node_id, status, now, output or {}, error, now)


class Agent(ActivityHandler):
    """Does its task, or fails without one."""

    def execute(self, node_id, node_config, input_data, execution_id=None, session=None):
        task = node_config.get("task") or input_data.get("task")
        if not task:
            return self.result(node_id, "failed", error="task is required for agent execution")
        output = {
            "result": f"{task}: done",
            "node_type": node_config["node_type"],
            "execution_id": execution_id,
            "topic": input_data.get("topic"),
            "host_pid": os.getpid(),
        }
        return self.result(node_id, "success", output)


class Scraping(ActivityHandler):
    """Is busy until a file is there, and counts its calls in another; leaves a process of its own behind."""

    def execute(self, node_id, node_config, input_data, execution_id=None, session=None):
        calls = pathlib.Path(node_config["calls"])
        browser = subprocess.Popen(["sleep", "1000"])
        with calls.open("a") as file:
            file.write(f"{os.getpid()} {browser.pid}\n")
        while not pathlib.Path(node_config["until"]).exists():
            time.sleep(0.01)
        browser.kill()
        browser.wait()
        return self.result(node_id, "success", {"calls": calls.read_text().count("\n")})


class Connector(ActivityHandler):
    """Tells whether it was given a session, and a fresh one."""

    def execute(self, node_id, node_config, input_data, execution_id=None, session=None):
        output = {"session": None if session is None else session.number}
        return self.result(node_id, "success", output)


class Browser(ActivityHandler):
    """Raises."""

    def execute(self, node_id, node_config, input_data, execution_id=None, session=None):
        raise ConnectionError("the browser does not answer")


async def storage(config, input, idempotency_key):
    """A handler that is a coroutine function."""
    await asyncio.sleep(float(config.get("seconds", 0)))
    return {"key": idempotency_key, "size": len(input)}


def custom(config):
    """A handler that is a plain function, with a branch."""
    return {"status": "success", "output": {"seen": config["value"]}, "branch": config.get("branch")}


ACTIVITY_HANDLERS = {
    "agent": Agent(),
    "browser": Browser(),
    "connector": Connector(),
    "custom": custom,
    "scraping": Scraping(),
    "storage": storage,
}


def get_activity_handler(node_type):
    """The handler of a node type, or None."""
    return ACTIVITY_HANDLERS.get(node_type)


class Session:
    """A database session that knows whether it was closed."""

    count = 0
    open = 0

    def __init__(self):
        Session.count += 1
        Session.open += 1
        self.number = Session.count

    def close(self):
        """Gives it back."""
        Session.open -= 1


def get_db():
    """As the platform's dependency."""
    session = Session()
    try:
        yield session
    finally:
        session.close()
