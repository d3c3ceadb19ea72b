"""One call: from a request of the protocol to a handler, and from what it returns to an answer.

A handler never breaks the host: whatever it raises becomes an answer with the exception's type and message; the
traceback goes to standard error only.
"""

import asyncio
import base64
import contextlib
import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import pathlib
import sys
import traceback
import uuid
from collections.abc import Mapping

COMPLETED = ("success", "completed", "ok", "skipped")
FAILED = ("failed", "failure", "error")
ACCEPTED = ("accepted",)

# What a mapping may have to count as a result with a status, and not as an output.
RESULT_KEYS = {
    "status", "output", "error", "branch", "retryable", "error_type", "timeout_seconds",
    "node_id", "node_type", "started_at", "completed_at", "duration_ms",
}  # fmt: skip

# How often a coroutine's caller is looked for.
LOOK_SECONDS = 0.5


class Problem(Exception):
    """Something that another attempt would not change."""


def run(execute, request, session_factory=None, is_wanted=lambda: True):
    """Runs a handler and gives the answer: its status and its JSON text. Never raises."""
    try:
        with contextlib.ExitStack() as stack:
            arguments = bind(execute, request, session_factory, stack)
            result = execute(**arguments)
            if inspect.isawaitable(result):
                result = asyncio.run(_await(result, request, is_wanted))
            # While the session is open: a result may load its attributes from it.
            return encode(read_result(result))
    except Problem as problem:
        return encode(failed(str(problem), "ConfigurationError", retryable=False))
    except BaseException as error:  # noqa: BLE001 a handler that calls sys.exit() has failed, too
        traceback.print_exc(file=sys.stderr)
        name = type(error).__name__
        text = str(error) or f"{name} without a message"
        return encode(failed(text, name, retryable=getattr(error, "retryable", True) is not False))


def failed(message, error_type=None, retryable=True, output=None):
    """An answer that says that it could not be done."""
    error = {"message": message, "retryable": retryable}
    if error_type:
        error["type"] = str(error_type)
    return {"status": "failed", "error": error, "output": output or {}}


def bind(execute, request, session_factory, stack):
    """The arguments of a handler, by the names of its parameters."""
    known = arguments_of(request)
    parameters = inspect.signature(execute).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}
    arguments = {}
    for parameter in parameters:
        name = parameter.name
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise Problem(f"the handler takes {name!r} by position; the host passes arguments by name")
        if name in ("session", "db"):
            if session_factory is not None:
                arguments[name] = stack.enter_context(session_factory())
            elif parameter.default is parameter.empty:
                raise Problem(f"the handler needs {name!r}: start the host with --session-factory")
        elif name in known:
            arguments[name] = known[name]
        elif parameter.default is parameter.empty:
            raise Problem(f"the handler needs {name!r}; the host can pass {', '.join(sorted(known))}, session")
    if takes_all:
        for name in ("node_id", "node_config", "input_data", "execution_id"):
            arguments.setdefault(name, known[name])
        if "session" not in names and session_factory is not None:
            arguments["session"] = stack.enter_context(session_factory())
    return arguments


def arguments_of(request):
    """What a handler can be given."""
    # The platform merges the type into the configuration, and some handlers serve several types.
    config = {**request["config"], "node_type": request["node_type"]}
    data = request["input"]
    return {
        "node_id": request["node_id"],
        "node_type": request["node_type"],
        "node_config": config,
        "config": config,
        "input_data": data,
        "input": data,
        "execution_id": uuid.UUID(request["execution_id"]),
        "variables": request.get("variables") or {},
        "locals": request.get("locals") or {},
        "attempt": request.get("attempt", 1),
        "visit": request.get("visit", 1),
        "idempotency_key": request["idempotency_key"],
        "deadline": read_deadline(request),
        "timeout_seconds": request.get("timeout_seconds"),
    }


def read_deadline(request):
    """The deadline as a time with zone, or None."""
    text = request.get("deadline")
    # Python 3.10 does not read the Z.
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


async def _await(awaitable, request, is_wanted):
    """Awaits a handler until its deadline, or until nobody waits for it any more."""
    task = asyncio.ensure_future(awaitable)
    deadline = read_deadline(request)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
            if task.done():
                break
            if not is_wanted():
                raise ConnectionAbortedError("the caller is gone")
            if deadline and datetime.datetime.now(datetime.timezone.utc) >= deadline:
                raise TimeoutError(f"not done by {deadline.isoformat()}")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def read_result(result):
    """What a handler returned, as an answer."""
    if result is None:
        return {"status": "completed", "output": {}}
    if isinstance(result, Mapping):
        is_result = isinstance(result.get("status"), str) and set(result) <= RESULT_KEYS
        if not is_result:
            return {"status": "completed", "output": dict(result)}
        part = result.get
    elif hasattr(result, "status") and hasattr(result, "output"):

        def part(name, default=None):
            return getattr(result, name, default)

    elif is_model(result):
        return {"status": "completed", "output": plain(result)}
    else:
        return {"status": "completed", "output": {"result": result}}
    return read_status(part)


def read_status(part):
    """The answer for a result with status, output and error."""
    status = plain(part("status"))
    output = part("output")
    if output is None:
        output = {}
    elif is_model(output):
        output = plain(output)
    elif not isinstance(output, Mapping):
        output = {"result": output}
    if status in COMPLETED:
        branch = part("branch")
        return {"status": "completed", "output": output} | ({"branch": str(branch)} if branch else {})
    if status in FAILED:
        error = part("error")
        message = error if isinstance(error, str) and error else f"the handler failed: {error}"
        retryable = part("retryable")
        return failed(message, part("error_type"), retryable is not False, output)
    if status in ACCEPTED:
        seconds = part("timeout_seconds")
        return {"status": "accepted"} | ({"timeout_seconds": seconds} if seconds is not None else {})
    allowed = ", ".join(COMPLETED + FAILED + ACCEPTED)
    raise Problem(f"the handler returned the status {status!r}; it must be one of {allowed}")


def is_model(value):
    """Whether it is an object with fields: a dataclass or a model of pydantic."""
    is_dataclass = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return is_dataclass or callable(getattr(value, "model_dump", None))


def encode(answer):
    """An answer as status and JSON text; one that cannot be sent becomes a failure that says why."""
    status = 202 if answer["status"] == "accepted" else 200
    try:
        return status, json.dumps(answer, default=plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the handler's output cannot be sent as JSON: {error}"
        return 200, json.dumps(failed(message, type(error).__name__, retryable=False))


def plain(value):
    """What JSON has no form for, as something that it has."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (uuid.UUID, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if value is None or isinstance(value, (str, int, float, list, tuple)):
        return value
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
