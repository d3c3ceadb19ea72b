"""Serves Python activity handlers to the workflow worker.

``python3 -m workflow_worker_host`` loads a registry of handlers (the platform's own by default) and answers the
worker's calls over HTTP, on a Unix socket or a TCP port. Standard library only. The protocol is
``docs/remote-activities.md`` of the worker; the README beside this package says how to run it.

``registry`` finds handlers, ``calls`` runs one and reads what it returns, ``server`` speaks HTTP, ``__main__`` is the
process: options, signals, and its end when the worker is gone.
"""

PROTOCOL = 1
