"""A throw-away PostgreSQL, as users have it: every commit reaches the disk.

The supervisor is the one of `workflow-worker dev`: it stops PostgreSQL and removes its directory when this process is gone,
however it went.
"""

import os
import pathlib
import pwd
import socket
import subprocess

import psycopg
from psycopg import sql

SUPERVISOR = pathlib.Path(__file__).resolve().parents[3] / "src/dev/supervisor.sh"

# What differs from PostgreSQL's own defaults, the same for everybody. Durability is PostgreSQL's default and named here so
# that the report says so. The larger buffers and the longer way to a checkpoint keep chance out of short runs.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "300",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
}


def account() -> dict:
    """Who runs PostgreSQL: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise SystemExit("PostgreSQL does not run as root, and there is neither an account postgres nor nobody")


class Cluster:
    """One server on 127.0.0.1, without passwords."""

    def __init__(self, bin_dir: str, parent: str):
        command = ["sh", "-c", SUPERVISOR.read_text(), "supervisor", bin_dir, parent, ""]
        pipe = subprocess.PIPE
        # A session of its own, so that Ctrl-C reaches the harness and not the server: the programs end before it does.
        self._supervisor = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, cwd="/", start_new_session=True, **account()
        )
        self.root = pathlib.Path(self._answer())
        self._order("init")
        socket_dir = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.root / "socket")}
        lines = [f"{name} = '{value}'" for name, value in {**SETTINGS, **socket_dir}.items()]
        (self.root / "data/postgresql.conf").write_text("\n".join(lines) + "\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._order(f"start {self.port}")
        self._admin = psycopg.connect(self.url("postgres"), autocommit=True)
        self.version = self._admin.execute("SHOW server_version").fetchone()[0]

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template0") -> str:
        """An empty database or a copy; returns its address."""
        names = {"database": sql.Identifier(database), "template": sql.Identifier(template)}
        self._admin.execute(sql.SQL("CREATE DATABASE {database} TEMPLATE {template}").format(**names))
        return self.url(database)

    def drop(self, database: str) -> None:
        self._admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def close(self) -> None:
        """Stops the server and removes its directory."""
        self._admin.close()
        self._supervisor.stdin.close()
        self._supervisor.wait(60)

    def _order(self, command: str) -> None:
        print(command, file=self._supervisor.stdin, flush=True)
        self._answer()

    def _answer(self) -> str:
        word, _, rest = self._supervisor.stdout.readline().strip().partition(" ")
        if word != "ok":
            log = getattr(self, "root", None)
            raise SystemExit(f"PostgreSQL does not start: {rest or 'its supervisor ended'} (log: {log and log / 'log'})")
        return rest


class Database:
    """A copy of a template, to be measured on."""

    def __init__(self, server: Cluster, name: str, template: str):
        self._server, self._name, self._template = server, name, template
        self.url = server.create(name, template)

    def renew(self) -> None:
        """A copy anew, under the same address."""
        self.drop()
        self._server.create(self._name, self._template)

    def settle(self) -> None:
        """The state in which a queue would be found that was filled a while ago."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def drop(self) -> None:
        self._server.drop(self._name)
