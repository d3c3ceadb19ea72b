"""What is passed to handlers, and what is made of what they return."""

import asyncio
import contextlib
import dataclasses
import datetime
import decimal
import enum
import io
import json
import unittest
import uuid

from app.workflows import activities
from workflow_worker_host import calls, registry

from .requests import EXECUTION, request


def answer(execute, sent=None, **more):
    """The answer of a handler, without its status."""
    return json.loads(calls.run(execute, sent or request(), **more)[1])


class Arguments(unittest.TestCase):
    def test_a_handler_of_the_platform_gets_what_it_takes(self):
        handlers = registry.Registry.load("app.workflows.activities")
        sent = request(config={"task": "tidy"}, data={"topic": "desk"})
        status, text = calls.run(handlers.find("agent"), sent)
        output = json.loads(text)["output"]
        self.assertEqual(status, 200)
        self.assertEqual(output["result"], "tidy: done")
        self.assertEqual(output["node_type"], "agent")
        self.assertEqual(output["execution_id"], EXECUTION)
        self.assertEqual(output["topic"], "desk")

    def test_arguments_go_by_name_and_defaults_stay(self):
        def handler(node_id, config, attempt, *, visit, variables, other="default"):
            return {"seen": [node_id, config["node_type"], attempt, visit, variables, other]}

        self.assertEqual(
            answer(handler)["output"]["seen"], ["n1", "agent", 1, 1, {"workflow": {"a": 1}}, "default"]
        )

    def test_a_handler_that_takes_anything_gets_what_the_platform_passes(self):
        def handler(**everything):
            return {"seen": sorted(everything), "is_id": isinstance(everything["execution_id"], uuid.UUID)}

        output = answer(handler)["output"]
        self.assertEqual(output["seen"], ["execution_id", "input_data", "node_config", "node_id"])
        self.assertTrue(output["is_id"])

    def test_a_parameter_that_nobody_can_fill_is_named(self):
        error = answer(lambda colour: {})["error"]
        self.assertFalse(error["retryable"])
        self.assertIn("the handler needs 'colour'; the host can pass attempt, config,", error["message"])

    def test_each_call_has_a_session_of_its_own_which_is_closed(self):
        factory = registry.load_session_factory("app.workflows.activities:get_db")
        connector = activities.ACTIVITY_HANDLERS["connector"].execute
        first = answer(connector, session_factory=factory)["output"]["session"]
        second = answer(connector, session_factory=factory)["output"]["session"]
        self.assertEqual(second, first + 1)
        self.assertEqual(activities.Session.open, 0)
        self.assertIsNone(answer(connector)["output"]["session"])

    def test_a_session_is_closed_after_an_exception_and_not_opened_without_need(self):
        factory = registry.load_session_factory("app.workflows.activities:Session")

        def breaks(session):
            raise RuntimeError("broken")

        before = activities.Session.count
        with contextlib.redirect_stderr(io.StringIO()):
            answer(breaks, session_factory=factory)
        self.assertEqual((activities.Session.count, activities.Session.open), (before + 1, 0))
        answer(lambda: None, session_factory=factory)
        self.assertEqual(activities.Session.count, before + 1)

    def test_a_needed_session_without_factory_is_named(self):
        message = answer(lambda session: {})["error"]["message"]
        self.assertEqual(message, "the handler needs 'session': start the host with --session-factory")


class Results(unittest.TestCase):
    def completed(self, result):
        """The output of a handler that returns this."""
        got = answer(lambda: result)
        self.assertEqual(got["status"], "completed", got)
        return got["output"]

    def test_outputs_are_objects(self):
        self.assertEqual(self.completed(None), {})
        self.assertEqual(self.completed({"a": 1}), {"a": 1})
        self.assertEqual(self.completed([1, 2]), {"result": [1, 2]})
        # An output that has a status of its own.
        self.assertEqual(self.completed({"status": "sent", "to": "me"}), {"status": "sent", "to": "me"})

    def test_a_result_with_a_status_is_taken_apart(self):
        self.assertEqual(self.completed({"status": "success", "output": {"a": 1}}), {"a": 1})
        self.assertEqual(self.completed({"status": "skipped"}), {})
        branch = answer(lambda: {"status": "success", "output": {"branch": "not this"}, "branch": "left"})
        self.assertEqual(branch, {"status": "completed", "output": {"branch": "not this"}, "branch": "left"})

    def test_a_failure_keeps_its_output_and_is_retryable_unless_it_says_no(self):
        failed = activities.ActivityHandler.result("n1", "failed", {"a": 1}, "no luck")
        self.assertEqual(
            answer(lambda: failed),
            {"status": "failed", "error": {"message": "no luck", "retryable": True}, "output": {"a": 1}},
        )
        final = {"status": "failed", "error": "no such page", "retryable": False, "error_type": "NotFound"}
        self.assertEqual(
            answer(lambda: final)["error"], {"message": "no such page", "retryable": False, "type": "NotFound"}
        )

    def test_an_unknown_status_is_refused(self):
        error = answer(lambda: {"status": "waiting", "output": {}})["error"]
        self.assertFalse(error["retryable"])
        self.assertIn("the status 'waiting'; it must be one of success, completed,", error["message"])

    def test_accepted_has_a_status_of_its_own(self):
        status, text = calls.run(lambda: {"status": "accepted", "timeout_seconds": 60}, request())
        self.assertEqual((status, json.loads(text)), (202, {"status": "accepted", "timeout_seconds": 60}))

    def test_what_json_does_not_know_is_written_as_something_that_it_knows(self):
        class Colour(enum.Enum):
            RED = "red"

        @dataclasses.dataclass
        class Point:
            x: int

        value = {
            "time": datetime.datetime(2026, 1, 5, tzinfo=datetime.timezone.utc),
            "number": decimal.Decimal("1.5"),
            "bytes": b"\xff",
            "set": {1},
            "enum": Colour.RED,
            "point": Point(1),
            "id": uuid.UUID(EXECUTION),
        }
        self.assertEqual(
            self.completed(value),
            {
                "time": "2026-01-05T00:00:00+00:00",
                "number": 1.5,
                "bytes": "/w==",
                "set": [1],
                "enum": "red",
                "point": {"x": 1},
                "id": EXECUTION,
            },
        )
        self.assertEqual(self.completed(Point(2)), {"x": 2})

    def test_what_cannot_be_sent_is_a_final_failure(self):
        for value in (object(), float("nan")):
            error = answer(lambda value=value: {"a": value})["error"]
            self.assertFalse(error["retryable"])
            self.assertIn("cannot be sent as JSON", error["message"])


class Breakages(unittest.TestCase):
    def test_an_exception_is_told_by_type_and_message_and_its_traceback_is_not(self):
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            got = answer(activities.ACTIVITY_HANDLERS["browser"].execute)
        self.assertEqual(
            got["error"],
            {"message": "the browser does not answer", "type": "ConnectionError", "retryable": True},
        )
        self.assertIn("Traceback", stderr.getvalue())
        self.assertNotIn("Traceback", json.dumps(got))

    def test_a_handler_that_wants_to_end_the_process_has_failed(self):
        def leaves():
            raise SystemExit(3)

        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(answer(leaves)["error"]["type"], "SystemExit")


class Coroutines(unittest.TestCase):
    def test_a_coroutine_function_is_awaited(self):
        got = answer(activities.storage, request("storage", {}, {"a": 1}))
        self.assertEqual(got["output"], {"key": f"{EXECUTION}:n1:1", "size": 1})

    def cancelled(self, sent, is_wanted):
        """Runs a coroutine that never ends by itself; its error, and whether it was cancelled."""
        seen = []

        async def never():
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")

        with contextlib.redirect_stderr(io.StringIO()):
            got = answer(lambda: never(), sent, is_wanted=is_wanted)
        return got["error"]["type"], seen

    def test_it_ends_at_its_deadline(self):
        sent = request(deadline="2020-01-01T00:00:00Z")
        self.assertEqual(self.cancelled(sent, lambda: True), ("TimeoutError", ["cancelled"]))

    def test_it_ends_when_nobody_waits_for_it(self):
        self.assertEqual(self.cancelled(request(), lambda: False), ("ConnectionAbortedError", ["cancelled"]))


class Loading(unittest.TestCase):
    def test_the_types_are_those_of_the_table(self):
        handlers = registry.Registry.load("app.workflows.activities")
        self.assertIn("agent", handlers.types)
        self.assertIsNone(handlers.find("frobnicate"))

    def test_a_module_without_handlers_is_refused(self):
        with self.assertRaisesRegex(LookupError, "module json has neither get_activity_handler"):
            registry.Registry.load("json")

    def test_a_session_factory_is_a_module_and_a_name(self):
        with self.assertRaisesRegex(LookupError, "'sessions' is not module:attribute"):
            registry.load_session_factory("sessions")
