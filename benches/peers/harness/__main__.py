"""Measures everybody in rounds, and reports. Called by `run`, which installs and names what is needed."""

import argparse
import collections
import collections.abc
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import random
import shlex
import sys

from . import cluster, limits, measure, report
from .options import LONGEST_SETTLE, parse, programs
from .program import Failed, Peer

PROBE_SECONDS = 1.0


def progress(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement of one peer at one setting: the scenarios that come of it, on how many databases, and how."""

    title: str
    scenarios: list
    take: collections.abc.Callable
    databases: int = 1


def sizes_of(options: argparse.Namespace) -> measure.Sizes:
    share = lambda total: -(-total // options.rounds)  # noqa: E731
    return measure.Sizes(
        wake=share(options.wake),
        five=share(options.five),
        drain_seconds=options.drain,
        longest_drain=options.longest_drain,
        latency_seconds=options.latency,
        patience=options.patience,
        concurrency=options.concurrency,
        longest_settle=LONGEST_SETTLE[options.quick],
    )


def cells_of(peer: Peer, setting: str, sizes: measure.Sizes, lengths: dict, chained: bool) -> list:
    """The measurements of one peer at one setting. `lengths`: of the drains so far, by steps."""
    facts = peer.settings[setting]
    in_process = facts.get("in_process", False)

    def idle(name: str, steps: int, count: int) -> Cell:
        def take(databases):
            found = measure.latency(peer, setting, [database.url for database in databases], steps, count, sizes)
            return {f"{name}_{since}": {"samples": samples} for since, samples in found.items()}

        scenarios = [f"{name}_from_call"] if in_process else [f"{name}_from_call", f"{name}_from_commit"]
        return Cell(f"{name} (idle)", scenarios, take, measure.lanes(facts))

    def full(name: str, steps: int) -> Cell:
        def drain(database, count, patience):
            return measure.drain(peer, setting, database.url, steps, count, sizes.concurrency, patience, database.settle)

        def take(databases):
            (database,) = databases

            def trial(count, patience):
                database.renew()
                return drain(database, count, patience)

            if steps not in lengths:
                lengths[steps] = measure.size_of(peer, setting, steps, sizes, trial)
                database.renew()
            return {name: drain(database, lengths[steps], sizes.patience + 2 * facts["poll_seconds"])}

        return Cell(name, [name], take)

    found = []
    if not facts.get("only_five"):
        found.append(idle("wake", 1, sizes.wake))
        if not in_process:
            found.append(full("drain_one", 1))
    # Five jobs of a queue are no execution of five steps.
    if peer.has_steps or chained:
        found.append(idle("five", 5, sizes.five))
        if not in_process:
            found.append(full("drain_five", 5))
    return found


def summary(found: dict) -> str:
    texts = []
    for scenario, values in found.items():
        samples = values.get("samples")
        middle = report.quantile(samples, 0.5) if samples else values["rate"]
        size = f"n {len(samples)}" if samples else f"of {values['count']:,}"
        texts.append(f"{report.number(middle)} {report.SCENARIOS[scenario].unit} ({size})")
    return ", ".join(texts)


def measure_cell(server, results, peer: Peer, setting: str, number: int, cell: Cell) -> None:
    """Takes one measurement on databases of its own. What goes wrong is a result, too, and ends nothing else."""
    databases = []
    try:
        for index in range(cell.databases):
            databases.append(cluster.Database(server, f"bench{index}", template_of(peer, setting)))
        found = cell.take(databases)
        for scenario, values in found.items():
            results.add(peer.name, setting, scenario, number, values)
        progress(f"round {number}: {peer.name} {setting}, {cell.title}: {summary(found)}")
    except Failed as error:
        for scenario in cell.scenarios:
            results.add(peer.name, setting, scenario, number, {"error": str(error)})
        progress(f"round {number}: {peer.name} {setting}, {cell.title}: FAILED: {error}")
    finally:
        for database in databases:
            database.drop()


def template_of(peer: Peer, setting: str) -> str:
    return f"{peer.key}-{setting}"


def measure_all(server, peers: list, options: argparse.Namespace, logs: pathlib.Path) -> report.Results:
    results = report.Results(peers, environment(server, options))
    competitors = [(peer, setting) for peer in peers for setting in peer.settings]
    for peer, setting in list(competitors):
        progress(f"setting up {peer.name} {peer.version}, {setting}")
        try:
            peer.setup(server.create(template_of(peer, setting)), setting)
        except Failed as error:
            results.add(peer.name, setting, "setup", 0, {"error": str(error)})
            competitors.remove((peer, setting))
    probe = [str(pathlib.Path(os.environ["BENCH_BIN"]) / "probe")]
    limits_url = server.create("limits")
    sizes = sizes_of(options)
    lengths = collections.defaultdict(dict)
    for number in range(1, options.rounds + 1):
        progress(f"round {number} of {options.rounds}: the limits of PostgreSQL {server.version}")
        seconds = PROBE_SECONDS / 4 if options.quick else PROBE_SECONDS
        found = limits.probe(probe, limits_url, seconds, max(5, options.wake // options.rounds), logs / "probe.log")
        for scenario, values in found.items():
            results.add(limits.PEER, "default", scenario, number, values)
        # Another order in each round, so that nobody always has the same neighbour.
        for peer, setting in random.sample(competitors, len(competitors)):
            for cell in cells_of(peer, setting, sizes, lengths[peer.key, setting], options.chained):
                measure_cell(server, results, peer, setting, number, cell)
    return results


def environment(server, options: argparse.Namespace) -> dict:
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {processor()}, {platform.system()} {platform.release()}",
        "postgresql": server.version,
        "postgresql_settings": cluster.SETTINGS,
        "concurrency": options.concurrency,
        "rounds": options.rounds,
        "quick": options.quick,
        "whole": not options.quick and set(options.peers) == set(programs()),
        "command": shlex.join(["benches/peers/run", *sys.argv[1:]]),
    }


def processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor")


def main() -> int:
    options = parse()
    if options.worker:
        os.environ["WORKFLOW_WORKER_BINARY"] = options.worker
    logs = pathlib.Path(os.environ["BENCH_LOGS"])
    for old in logs.glob("*-*.log"):
        old.unlink()
    server = None
    try:
        commands = programs()
        peers = [Peer(name, commands[name], logs) for name in options.peers]
        server = cluster.Cluster(os.environ["BENCH_PG_BIN"], os.environ["BENCH_DATA"])
        results = measure_all(server, peers, options, logs)
    except Failed as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        progress("interrupted; nothing is reported")
        return 130
    finally:
        if server:
            server.close()
    head = results.as_json()[0]
    print(f"{head['date']}, {head['machine']}, PostgreSQL {head['postgresql']}\n{head['command']}\n")
    if options.quick:
        print("These figures are of --quick: they show that everything works, and nothing else.\n")
    print(report.table(results))
    if options.json:
        options.json.write_text(json.dumps(results.as_json(), indent=1, ensure_ascii=False) + "\n")
        progress(f"written: {options.json}")
    for peer, setting, scenario, number, error in results.failures:
        progress(f"FAILED: {peer} {setting} {scenario}, round {number}: {error}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
