"""The host as a process, spoken to over its socket."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from . import STANDIN
from .requests import request

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 20


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def until(what, probe):
    """Waits for a fact."""
    end = time.monotonic() + PATIENCE
    while not (fact := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.01)
    return fact


class Process(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = pathlib.Path(holder.name)
        # As the worker makes one for the socket alone.
        (self.directory / "private").mkdir()
        self.socket = str(self.directory / "private" / "activity.sock")

    def start(self, *options, **variables):
        """A host as the worker starts it, ready."""
        host = self.spawn(*options, WORKFLOW_ACTIVITY_SOCKET=self.socket, **variables)
        self.assertIn("serving", host.stdout.readline())
        return host

    def spawn(self, *options, **variables):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE), **variables}
        host = subprocess.Popen(
            [sys.executable, "-m", "workflow_worker_host", "--path", STANDIN, *options],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(self.end, host)
        return host

    @staticmethod
    def close_input(host):
        host.stdin.close()
        # So that it is not closed again at the end.
        host.stdin = None

    @staticmethod
    def end(host):
        try:
            os.killpg(host.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        host.communicate()

    def ask(self, method, path, body=None, headers=None):
        connection = UnixConnection(self.socket)
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        connection.request(method, path, text, headers or {})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response, answer

    def post(self, sent):
        response, answer = self.ask("POST", "/v1/activities", sent)
        return response.status, answer

    def test_it_says_how_it_is_and_what_it_serves(self):
        self.start()
        response, health = self.ask("GET", "/v1/health")
        self.assertEqual(response.status, 200)
        self.assertEqual((health["status"], health["protocol"]), ("ok", 1))
        self.assertIn("agent", health["types"])

    def test_only_this_user_can_use_the_socket(self):
        self.start()
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o600)

    def test_a_node_runs(self):
        self.start()
        status, answer = self.post(request(config={"task": "tidy"}))
        self.assertEqual((status, answer["output"]["result"]), (200, "tidy: done"))

    def test_a_type_that_nobody_serves_is_named_with_those_that_are(self):
        self.start()
        status, answer = self.post(request("frobnicate"))
        self.assertEqual(status, 404)
        self.assertIn("no handler for node type 'frobnicate'; it serves: agent, browser", answer["error"]["message"])

    def test_a_wrong_request_is_refused_with_what_is_wrong(self):
        self.start()
        for sent, status, message in [
            ("{", 400, "not JSON"),
            ([1], 400, "not a JSON object"),
            (request() | {"protocol": 2}, 400, "protocol is 2; the activity host speaks 1"),
            (request() | {"config": None}, 400, "config must be an object"),
            (request() | {"node_id": 5}, 400, "node_id is 5"),
            (request() | {"execution_id": "x"}, 400, "must be a UUID"),
        ]:
            got, answer = self.post(sent)
            self.assertEqual(got, status, answer)
            self.assertIn(message, answer["error"]["message"])
            self.assertFalse(answer["error"]["retryable"])
        response, _ = self.ask("GET", "/elsewhere")
        self.assertEqual(response.status, 404)

    def test_a_token_is_asked_for_everywhere(self):
        self.start("--token", "secret")
        for path, method in [("/v1/health", "GET"), ("/v1/activities", "POST")]:
            for headers in ({}, {"Authorization": "Bearer other"}):
                response, answer = self.ask(method, path, request(), headers)
                self.assertEqual(response.status, 401)
                self.assertIn("WORKFLOW_ACTIVITY_TOKEN", answer["error"]["message"])
        response, _ = self.ask("GET", "/v1/health", None, {"Authorization": "Bearer secret"})
        self.assertEqual(response.status, 200)

    def busy(self):
        """A call that runs until `release`; the thread, and what becomes its answer."""
        config = {"calls": str(self.directory / "calls"), "until": str(self.directory / "until")}
        answers = []

        def call():
            try:
                answers.append(self.post(request("scraping", config)))
            except OSError as error:
                answers.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        until("the call", lambda: (self.directory / "calls").exists() and (self.directory / "calls").read_text())
        return thread, answers

    def release(self):
        (self.directory / "until").touch()

    def test_without_a_free_place_a_call_is_sent_away_for_a_while(self):
        self.start("--concurrency", "1", "--queue-seconds", "0.1")
        thread, answers = self.busy()
        response, answer = self.ask("POST", "/v1/activities", request(config={"task": "x"}))
        self.assertEqual((response.status, response.headers["Retry-After"]), (503, "2"))
        self.assertTrue(answer["error"]["retryable"])
        # Health needs no place.
        self.assertEqual(self.ask("GET", "/v1/health")[0].status, 200)
        self.release()
        thread.join()
        self.assertEqual(answers[0][0], 200)
        self.assertEqual(self.post(request(config={"task": "x"}))[0], 200)

    def test_a_caller_that_goes_away_ends_its_coroutine(self):
        self.start("--concurrency", "1")
        connection = UnixConnection(self.socket)
        connection.request("POST", "/v1/activities", json.dumps(request("storage", {"seconds": 1000})))
        connection.close()
        # The only place is free again.
        self.assertEqual(self.post(request(config={"task": "x"}))[0], 200)

    def test_a_stop_lets_calls_end_and_removes_the_socket(self):
        host = self.start()
        thread, answers = self.busy()
        host.terminate()
        self.release()
        thread.join()
        self.assertEqual(answers[0][0], 200)
        self.assertEqual(host.wait(PATIENCE), 0)
        self.assertFalse(os.path.exists(self.socket))

    def test_a_stop_does_not_wait_for_ever(self):
        host = self.start("--grace", "0.1")
        thread, answers = self.busy()
        host.terminate()
        self.assertEqual(host.wait(PATIENCE), 0)
        thread.join()
        self.assertIsInstance(answers[0], OSError)

    def test_it_and_all_that_it_started_end_when_the_worker_is_gone(self):
        host = self.start()
        thread, answers = self.busy()
        _, browser = map(int, (self.directory / "calls").read_text().split())
        self.close_input(host)
        host.wait(PATIENCE)
        thread.join()
        until("the end of its process", lambda: not is_alive(browser))
        self.assertFalse(os.path.exists(os.path.dirname(self.socket)))

    def test_a_closed_input_means_nothing_if_nobody_started_it_as_the_worker_does(self):
        host = self.spawn("--socket", self.socket)
        self.assertIn("serving", host.stdout.readline())
        self.close_input(host)
        self.assertEqual(self.post(request(config={"task": "x"}))[0], 200)
        self.assertIsNone(host.poll())

    def test_what_a_killed_host_has_left_is_in_nobodys_way(self):
        first = self.start()
        first.kill()
        first.wait(PATIENCE)
        self.assertTrue(os.path.exists(self.socket))
        second = self.spawn(WORKFLOW_ACTIVITY_SOCKET=self.socket)
        self.assertIn("serving", second.stdout.readline())
        self.assertEqual(self.post(request(config={"task": "x"}))[0], 200)

    def test_wrong_options_are_named(self):
        for options, message in [
            ([], "--socket or --listen is needed"),
            (["--listen", "0.0.0.0:0"], "can be reached from elsewhere: it needs a token"),
            (["--listen", "here"], "it must be host:port"),
            (["--socket", "x", "--concurrency", "0"], "--concurrency is 0"),
        ]:
            host = self.spawn(*options)
            _, stderr = host.communicate(timeout=PATIENCE)
            self.assertEqual(host.returncode, 64)
            self.assertIn(message, stderr)

    def test_a_module_that_is_not_there_is_named(self):
        host = self.spawn("--module", "no.such.module", "--socket", self.socket)
        _, stderr = host.communicate(timeout=PATIENCE)
        self.assertEqual(host.returncode, 1)
        self.assertIn("the handlers cannot be loaded: No module named 'no'", stderr)


def is_alive(pid):
    """Whether a process runs: one that is dead and not yet waited for does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
