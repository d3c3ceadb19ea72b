"""What was found, as a table for people and as JSON for programs."""

import collections
import dataclasses
import math
import statistics

from . import limits

OURS = "workflow-worker"


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One kind of figure. `limit` is the scenario of the PostgreSQL limit that it is divided by."""

    title: str
    unit: str
    limit: str | None = None

    @property
    def less_is_better(self) -> bool:
        return self.unit == "ms"


NOTIFY, COMMITS = "limit_notify", "limit_commits_16"
SCENARIOS = {
    "limit_notify": Scenario("NOTIFY sent → received by an idle listener", "ms"),
    "limit_notify_committed": Scenario("NOTIFY answered → received", "ms"),
    "limit_commits_1": Scenario("single-row UPDATE commits, 1 client", "per s"),
    "limit_commits_8": Scenario("single-row UPDATE commits, 8 clients", "per s"),
    "limit_commits_16": Scenario("single-row UPDATE commits, 16 clients", "per s"),
    "limit_batched_rows": Scenario("rows updated, 256 per commit, 1 client", "per s"),
    "wake_from_commit": Scenario("Wake-up, idle: enqueue committed → handler starts", "ms", NOTIFY),
    "wake_from_call": Scenario("Wake-up, idle: enqueue called → handler starts", "ms", NOTIFY),
    "five_from_commit": Scenario("Five steps, idle: enqueue committed → fifth starts", "ms", NOTIFY),
    "five_from_call": Scenario("Five steps, idle: enqueue called → fifth starts", "ms", NOTIFY),
    "drain_one": Scenario("Drain, one step each", "steps/s", COMMITS),
    "drain_five": Scenario("Drain, five steps each", "steps/s", COMMITS),
}


def quantile(values: list, share: float) -> float:
    """The smallest value that at least this share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Results:
    """By (peer, setting, scenario), one entry per round: samples, a rate, or why there is none."""

    def __init__(self, peers: list, environment: dict):
        self._peers = {peer.name: peer for peer in peers}
        self._environment = environment
        self._rounds = collections.defaultdict(dict)

    def add(self, peer: str, setting: str, scenario: str, round_number: int, found: dict) -> None:
        self._rounds[peer, setting, scenario][round_number] = found

    @property
    def failures(self) -> list:
        return [
            (*key, round_number, found["error"])
            for key, rounds in self._rounds.items()
            for round_number, found in rounds.items()
            if "error" in found
        ]

    def rows(self) -> list:
        """One row per peer, setting and scenario, in the order of the scenarios, the best first."""
        rows = [row for key, rounds in self._rounds.items() if (row := self._row(*key, rounds))]
        order = list(SCENARIOS)

        def rank(row):
            scenario = SCENARIOS[row["scenario"]]
            return order.index(row["scenario"]), row["median"] if scenario.less_is_better else -row["median"]

        rows.sort(key=rank)
        self._compare(rows)
        return rows

    def _row(self, peer: str, setting: str, key: str, rounds: dict) -> dict | None:
        scenario = SCENARIOS[key]
        good = {number: found for number, found in rounds.items() if "error" not in found}
        if not good:
            return None
        values = [v for found in good.values() for v in found.get("samples", [found.get("rate")])]
        medians = {number: statistics.median(found.get("samples", [found.get("rate")])) for number, found in good.items()}
        stopped = [found["stopped_after"] for found in good.values() if found.get("stopped_after")]
        facts = self._peers.get(peer)
        return {
            "peer": peer,
            "version": facts.version if facts else self._environment["postgresql"],
            "setting": setting,
            "setting_text": self._setting_text(facts, setting),
            "scenario": key,
            "title": scenario.title,
            "durable": facts.has_steps and facts.settings[setting].get("durable", True) if facts else None,
            "unit": scenario.unit,
            "n": len(values),
            "median": statistics.median(values),
            "p95": quantile(values, 0.95) if scenario.less_is_better else None,
            "p99": quantile(values, 0.99) if scenario.less_is_better else None,
            "round_medians": medians,
            "values": values,
            "limit": scenario.limit,
            "ratio_to_limit": self._ratio_to_limit(scenario, medians),
            "stopped_after_steps": min(stopped) if stopped else None,
            "note": facts.five_steps if facts and "five" in key else None,
        }

    def _setting_text(self, facts, setting: str) -> str:
        if facts is None:
            return "as the others find it"
        return facts.settings[setting]["text"].replace("{concurrency}", str(self._environment["concurrency"]))

    def _ratio_to_limit(self, scenario: Scenario, medians: dict) -> float | None:
        """The median of the rounds' ratios: in one round, noise hit both."""
        limit_rounds = self._rounds.get((limits.PEER, "default", scenario.limit), {})
        ratios = []
        for number, median in medians.items():
            found = limit_rounds.get(number, {"error": None})
            if "error" not in found:
                ratios.append(median / statistics.median(found.get("samples", [found.get("rate")])))
        return statistics.median(ratios) if ratios else None

    def _compare(self, rows: list) -> None:
        """Against our best setting of the scenario: above 1 is slower than ours, below 1 faster, whatever the unit.

        Where steps are compared, against our best setting with which each is committed before the next starts.
        """
        for row in rows:
            all_ours = [r for r in rows if r["scenario"] == row["scenario"] and r["peer"] == OURS]
            ours = [r["median"] for r in all_ours if r["durable"]] or [r["median"] for r in all_ours]
            less = SCENARIOS[row["scenario"]].less_is_better
            best = (min if less else max)(ours, default=None)
            if best is None or row["peer"] == OURS or row["median"] <= 0 or best <= 0:
                row["times_slower_than_ours"] = None
            else:
                row["times_slower_than_ours"] = row["median"] / best if less else best / row["median"]

    def as_json(self) -> list:
        """An array: first what it was measured on, then one object per peer, setting and scenario, then the failures."""
        head = {"peer": None, "scenario": "environment", **self._environment}
        errors = [
            {"peer": peer, "setting": setting, "scenario": scenario, "round": number, "error": error}
            for peer, setting, scenario, number, error in self.failures
        ]
        return [head, *self.rows(), *errors]


def number(value: float | None) -> str:
    """With three significant digits, or none after the point."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


LEGEND = (
    f"'of limit': ms as a multiple of the NOTIFY round trip, rates as a share of the commits of 16 clients; the median of "
    f"the rounds' ratios.\n'vs ours': how many times slower than the best setting of {OURS} (five steps: than 'acting', whose "
    f"steps are committed one by one); below 1 is faster.\n"
)
HEAD = ("", "version", "setting", "n", "median", "p95", "p99", "of limit", "vs ours")


def table(results: Results) -> str:
    """A Markdown table per scenario."""
    parts = []
    rows = results.rows()
    for key, scenario in SCENARIOS.items():
        of_scenario = [row for row in rows if row["scenario"] == key]
        if not of_scenario or key.startswith("limit"):
            continue
        parts.append(_section(f"{scenario.title} ({scenario.unit})", HEAD, [_cells(row) for row in of_scenario]))
        if "stopped" in "".join(cell for row in of_scenario for cell in _cells(row)):
            parts.append("stopped: the time was up before the queue was empty; the rate is of what ran until then.\n")
    of_limits = [
        (SCENARIOS[row["scenario"]].title, SCENARIOS[row["scenario"]].unit, str(row["n"]), number(row["median"]), number(row["p95"]))
        for row in rows
        if row["scenario"].startswith("limit")
    ]
    parts.insert(0, LEGEND)
    parts.insert(1, _section("Limits of this PostgreSQL", ("", "unit", "n", "median", "p95"), of_limits))
    parts.append(_faster(rows))
    return "\n".join(parts)


def _cells(row: dict) -> tuple:
    setting = row["setting"] + (" (stopped)" if row["stopped_after_steps"] else "")
    ratio = row["ratio_to_limit"]
    figures = [number(row[key]) for key in ("median", "p95", "p99")]
    versus = row["times_slower_than_ours"]
    return (
        row["peer"],
        row["version"],
        setting,
        str(row["n"]),
        *figures,
        f"{number(ratio)}×" if ratio is not None else "",
        f"{number(versus)}×" if versus is not None else "",
    )


def _section(title: str, head: tuple, rows: list) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    line = lambda row: "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"  # noqa: E731
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([f"### {title}", "", line(head), rule, *map(line, rows), ""])


def _faster(rows: list) -> str:
    """Who is faster than we are, and where; it is looked for, so that it is not left out."""
    found = [
        f"- {row['peer']} ({row['setting']}), {SCENARIOS[row['scenario']].title}: {number(row['median'])} {row['unit']}"
        for row in rows
        if row["times_slower_than_ours"] is not None and row["times_slower_than_ours"] < 1
    ]
    if not any(row["peer"] == OURS for row in rows):
        return f"### Faster than {OURS}\n\nnot known: it was not measured in this run.\n"
    return "\n".join([f"### Faster than {OURS} at its best", "", *(found or ["nobody in this run."]), ""])
