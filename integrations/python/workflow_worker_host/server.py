"""HTTP: one request per connection, one thread per connection, so many handlers at a time as allowed.

| request | answer |
| --- | --- |
| ``GET /v1/health`` | 200 ``{"status": "ok", "protocol": 1, "types": […] or null}`` |
| ``POST /v1/activities`` | 200 or 202 with the answer of the handler |
| a type that nobody serves | 404 |
| a request that is not of the protocol | 400, 411 or 413 |
| a handler that cannot be called | 422 |
| no or another token | 401 |
| all places taken for too long, or stopping | 503 with ``Retry-After`` |
"""

import hmac
import http.server
import json
import os
import select
import socket
import socketserver
import sys
import threading
import traceback
import uuid
from collections.abc import Mapping

from . import PROTOCOL, calls

RETRY_AFTER_SECONDS = 2


class Host:
    """What all connections share."""

    def __init__(self, registry, *, token=None, session_factory=None, concurrency=32, queue_seconds=30.0,
                 max_request_bytes=128 << 20):  # fmt: skip
        self.registry = registry
        self.token = token
        self.session_factory = session_factory
        self.queue_seconds = queue_seconds
        self.max_request_bytes = max_request_bytes
        self.stopping = threading.Event()
        self._slots = threading.BoundedSemaphore(concurrency)
        self._running = 0
        self._changed = threading.Condition()

    def enter(self):
        """Takes a place; False if none becomes free in time, or if the host stops."""
        if self.stopping.is_set() or not self._slots.acquire(timeout=self.queue_seconds):
            return False
        if self.stopping.is_set():
            self._slots.release()
            return False
        with self._changed:
            self._running += 1
        return True

    def leave(self):
        """Gives the place back."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()
        self._slots.release()

    def drain(self, seconds):
        """Takes no more calls, and waits for those that run. Whether all have ended."""
        self.stopping.set()
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout=seconds)


class Refusal(Exception):
    """An answer with another status than 200."""

    def __init__(self, status, message, error_type="ConfigurationError", retryable=False):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": error_type, "retryable": retryable}}


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. HTTP/1.0: a connection that stays open would hold its thread."""

    server_version = "workflow-worker-host"
    # For reading a request; a handler may take longer.
    timeout = 60

    def do_GET(self):
        """Health."""
        self._answer(self._health)

    def do_POST(self):
        """A node."""
        self._answer(self._activity)

    def _answer(self, work):
        try:
            self._check_token()
            status, text = work()
        except Refusal as refusal:
            status, text = refusal.status, json.dumps(refusal.body)
        except Exception as error:  # noqa: BLE001 the registry's, for instance; the host goes on
            traceback.print_exc(file=sys.stderr)
            body = {"error": {"message": str(error), "type": type(error).__name__, "retryable": True}}
            status, text = 500, json.dumps(body)
        self._send(status, text.encode())

    def _health(self):
        if self.path != "/v1/health":
            raise Refusal(404, f"no such path: {self.path}")
        types = self.server.host.registry.types
        return 200, json.dumps({"status": "ok", "protocol": PROTOCOL, "types": types})

    def _activity(self):
        host = self.server.host
        if self.path != "/v1/activities":
            raise Refusal(404, f"no such path: {self.path}")
        request = self._read_request()
        node_type = request["node_type"]
        try:
            execute = host.registry.find(node_type)
        except calls.Problem as problem:
            raise Refusal(422, str(problem)) from None
        if execute is None:
            served = ", ".join(host.registry.types or []) or "unknown"
            raise Refusal(404, f"the activity host has no handler for node type {node_type!r}; it serves: {served}")
        if not host.enter():
            why = "is stopping" if host.stopping.is_set() else "has no free place"
            raise Refusal(503, f"the activity host {why}", "HTTPError", retryable=True)
        try:
            return calls.run(execute, request, host.session_factory, self._is_wanted)
        finally:
            host.leave()

    def _check_token(self):
        token = self.server.host.token
        if token is None:
            return
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise Refusal(401, "the activity host wants another token: see WORKFLOW_ACTIVITY_TOKEN")

    def _read_request(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refusal(411, "the request has no Content-Length")
        most = self.server.host.max_request_bytes
        if int(length) > most:
            raise Refusal(413, f"the request has {length} bytes; the activity host takes at most {most}")
        try:
            request = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise Refusal(400, f"the request is not JSON: {error}") from None
        check_request(request)
        return request

    def _is_wanted(self):
        """Whether the caller is still there. It sends nothing more, so what can be read is its end."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return not readable or self.connection.recv(1, socket.MSG_PEEK) != b""
        except (OSError, ValueError):
            return False

    def _send(self, status, body):
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status == 503:
                self.send_header("Retry-After", str(RETRY_AFTER_SECONDS))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # The caller has not waited; it will ask again if it wants to know.
            self.close_connection = True

    def address_string(self):
        """Of a Unix socket there is none."""
        return "worker"

    def log_request(self, code="-", size="-"):
        """The worker logs its nodes; here only what breaks."""


def check_request(request):
    """Raises a refusal for what is not a request of the protocol."""
    if not isinstance(request, Mapping):
        raise Refusal(400, "the request is not a JSON object")
    if request.get("protocol") != PROTOCOL:
        raise Refusal(400, f"protocol is {request.get('protocol')!r}; the activity host speaks {PROTOCOL}")
    for name in ("execution_id", "node_id", "node_type", "idempotency_key"):
        if not isinstance(request.get(name), str):
            raise Refusal(400, f"{name} is {request.get(name)!r}; it must be a text")
    for name in ("config", "input"):
        if not isinstance(request.get(name), Mapping):
            raise Refusal(400, f"{name} must be an object")
    try:
        uuid.UUID(request["execution_id"])
        calls.read_deadline(request)
    except (ValueError, AttributeError) as error:
        raise Refusal(400, f"execution_id must be a UUID and deadline an ISO time: {error}") from None


class _Server(socketserver.ThreadingMixIn):
    daemon_threads = True
    # drain() waits for handlers, with a limit.
    block_on_close = False
    request_queue_size = 128


class TcpServer(_Server, http.server.HTTPServer):
    """On a TCP port."""

    def __init__(self, address, host):
        self.host = host
        super().__init__(address, Handler)


class UnixServer(_Server, socketserver.UnixStreamServer):
    """On a Unix socket that only this user can use."""

    def __init__(self, path, host):
        self.host = host
        # What a killed host has left; a living one would answer.
        if os.path.exists(path) and not _is_listening(path):
            os.unlink(path)
        old = os.umask(0o177)
        try:
            super().__init__(path, Handler)
        finally:
            os.umask(old)


def _is_listening(path):
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
