"""The process: options, import of the handlers, serving, and its end.

It ends on SIGTERM and SIGINT after the calls that run, and at once when its standard input closes, if the worker has
started it: then the worker is dead, and nobody waits for any result.
"""

import argparse
import ipaddress
import os
import signal
import sys
import threading

from . import registry, server

SOCKET_VARIABLE = "WORKFLOW_ACTIVITY_SOCKET"
TOKEN_VARIABLE = "WORKFLOW_ACTIVITY_TOKEN"


def parser():
    """The options."""
    options = argparse.ArgumentParser(
        prog="workflow_worker_host", description="Serves Python activity handlers to the workflow worker."
    )
    options.add_argument("--module", default="app.workflows.activities", help="the module of the handlers (%(default)s)")
    options.add_argument("--path", action="append", default=[], help="a directory to import from; may be repeated")
    options.add_argument("--socket", default=os.environ.get(SOCKET_VARIABLE), help=f"Unix socket (${SOCKET_VARIABLE})")
    options.add_argument("--listen", metavar="HOST:PORT", help="TCP instead, such as 127.0.0.1:8085")
    options.add_argument("--token", default=os.environ.get(TOKEN_VARIABLE), help=f"asked for (${TOKEN_VARIABLE})")
    options.add_argument("--session-factory", metavar="MODULE:NAME", help="gives a database session to each call")
    options.add_argument("--concurrency", type=int, default=32, help="calls at a time (%(default)s)")
    options.add_argument("--queue-seconds", type=float, default=30, help="a call waits for a place (%(default)s)")
    options.add_argument("--grace", type=float, default=10, help="seconds for running calls at the end (%(default)s)")
    return options


def main(arguments=None):
    """Serves until told to stop. The exit code."""
    options = parser().parse_args(arguments)
    # A line that a handler prints is to be seen when it is printed.
    sys.stdout.reconfigure(line_buffering=True)
    problem = check(options)
    if problem:
        print(f"workflow_worker_host: {problem}", file=sys.stderr)
        return 64
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if started_by_worker(options):
        # Before the import, which may take long.
        threading.Thread(target=end_with_worker, args=(options.socket,), daemon=True).start()
    sys.path[:0] = options.path
    try:
        handlers = registry.Registry.load(options.module)
        factory = registry.load_session_factory(options.session_factory) if options.session_factory else None
    except (ImportError, LookupError, AttributeError) as error:
        print(f"workflow_worker_host: the handlers cannot be loaded: {error}", file=sys.stderr)
        return 1
    host = server.Host(
        handlers,
        token=options.token or None,
        session_factory=factory,
        concurrency=options.concurrency,
        queue_seconds=options.queue_seconds,
    )
    return serve(options, host, stop)


def check(options):
    """What is wrong with the options, as a sentence, or None."""
    if options.listen:
        host, separator, port = options.listen.rpartition(":")
        if not separator or not port.isdecimal() or not int(port) <= 65535:
            return f"--listen is {options.listen!r}; it must be host:port"
        if not options.token and not is_loopback(host):
            return f"--listen {options.listen} can be reached from elsewhere: it needs a token"
    elif not options.socket:
        return f"--socket or --listen is needed (the worker sets {SOCKET_VARIABLE})"
    if options.concurrency < 1:
        return f"--concurrency is {options.concurrency}; it must be at least 1"
    return None


def is_loopback(host):
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def started_by_worker(options):
    """Whether the worker has started this process, and so holds its standard input."""
    return not options.listen and options.socket == os.environ.get(SOCKET_VARIABLE)


def serve(options, host, stop):
    """Answers until told to stop."""
    try:
        if options.listen:
            name, _, port = options.listen.rpartition(":")
            listener = server.TcpServer((name.strip("[]"), int(port)), host)
            where = "http://{}:{}".format(*listener.server_address[:2])
        else:
            listener = server.UnixServer(options.socket, host)
            where = f"unix:{options.socket}"
    except OSError as error:
        print(f"workflow_worker_host: cannot listen: {error}", file=sys.stderr)
        return 1
    threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    count = "" if host.registry.types is None else f" with {len(host.registry.types)} node types"
    print(f"serving {options.module}{count} on {where}", flush=True)
    stop.wait()
    has_drained = host.drain(options.grace)
    listener.shutdown()
    listener.server_close()
    if not options.listen:
        remove(options.socket)
    sys.stdout.flush()
    if not has_drained:
        print("workflow_worker_host: ending with calls that still run", file=sys.stderr, flush=True)
        # A thread that runs a handler would hold up the ordinary end.
        os._exit(0)
    return 0


def end_with_worker(path):
    """Waits for the end of the worker, and ends this process and all that it has started."""
    while True:
        try:
            if not os.read(0, 4096):
                break
        except InterruptedError:
            continue
        except OSError:
            break
    remove(path)
    try:
        # The worker's private directory; it cannot remove it any more.
        os.rmdir(os.path.dirname(path))
    except OSError:
        pass
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def remove(path):
    """Removes the socket, if it is there."""
    try:
        os.unlink(path)
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main())
