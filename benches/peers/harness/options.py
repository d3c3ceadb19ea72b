"""The command line, and the command of each competitor. Needs no more than Python, so that --help installs nothing."""

import argparse
import os
import pathlib
import sys

DESCRIPTION = "Measures this repository's worker beside its peers and the limits of the same PostgreSQL."
HERE = pathlib.Path(__file__).resolve().parents[1]
# rounds; wake-ups and idle executions of five steps, over all rounds; seconds of a drain at the peer's own speed, and the
# most executions in one; the most seconds for the samples of one cell and round, and the seconds of a drain that are enough.
FULL = {"rounds": 3, "wake": 180, "five": 105, "drain": 5.0, "longest_drain": 100_000, "latency": 60, "patience": 15}
QUICK = {"rounds": 1, "wake": 8, "five": 4, "drain": 0.5, "longest_drain": 200, "latency": 1.5, "patience": 1.5}
# The longest wait until a peer is what its settings say; with --quick the figures mean nothing, and nobody waits.
LONGEST_SETTLE = {False: 60, True: 0.2}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=DESCRIPTION)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, some minutes: whether it works")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--peers", metavar="NAME,…", help="only these of: " + ", ".join(programs()))
    parser.add_argument("--worker", metavar="PATH", help="the binary of workflow-worker; default target/release")
    parser.add_argument("--concurrency", type=int, default=10, help="of the setting 'default', for all (default 10)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--wake", type=int, help="wake-ups, over all rounds")
    parser.add_argument("--five", type=int, help="idle executions of five steps, over all rounds")
    parser.add_argument("--drain", type=float, metavar="SECONDS", help="how long a drain takes, at the peer's own speed")
    parser.add_argument("--longest-drain", type=int, metavar="COUNT", help="the most executions in one")
    parser.add_argument("--chained", action="store_true", help="five steps also of job queues: five jobs, each adds the next")
    parser.add_argument("--latency", type=float, metavar="SECONDS", help="the most for the samples of one cell and round")
    parser.add_argument("--patience", type=float, metavar="SECONDS", help="when a drain is stopped, beside two polls")
    options = parser.parse_args()
    every = list(programs())
    options.peers = options.peers.split(",") if options.peers else every
    if unknown := [name for name in options.peers if name not in every]:
        parser.error(f"--peers: {', '.join(unknown)} is not one of {', '.join(every)}")
    for name, value in (QUICK if options.quick else FULL).items():
        given = getattr(options, name)
        if given is None:
            setattr(options, name, value)
        elif given <= 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {given}")
    return options


def programs() -> dict:
    """The command of each competitor."""
    node, python = os.environ.get("BENCH_NODE", "node"), sys.executable
    built = pathlib.Path(os.environ.get("BENCH_BIN", "."))
    return {
        "workflow-worker": [python, str(HERE / "workflow_worker_bench.py")],
        "underway": [str(built / "underway-bench")],
        "dbos-rust": [str(built / "dbos-bench")],
        "dbos": [python, str(HERE / "dbos_bench.py")],
        "graphile-worker": [node, str(HERE / "graphile_worker.mjs")],
        "pg-boss": [node, str(HERE / "pg_boss.mjs")],
        "procrastinate": [python, str(HERE / "procrastinate_bench.py")],
    }


if __name__ == "__main__":
    parse()
