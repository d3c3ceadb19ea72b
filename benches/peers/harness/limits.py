"""What the same PostgreSQL can do at all, measured in the same rounds."""

import json

from .program import run

PEER = "PostgreSQL"
# Scenario by key of the probe's answer.
LATENCIES = {"notify_sent_us": "limit_notify", "notify_committed_us": "limit_notify_committed"}
COMMITS = {"1": "limit_commits_1", "8": "limit_commits_8", "16": "limit_commits_16"}


def probe(command: list, url: str, seconds: float, notifications: int, log) -> dict:
    """One round: by scenario, samples in milliseconds or a rate per second."""
    answer = json.loads(run(command + [url, str(seconds), str(notifications)], log))
    found = {scenario: {"samples": [us / 1000 for us in answer[key]]} for key, scenario in LATENCIES.items()}
    for clients, scenario in COMMITS.items():
        found[scenario] = {"rate": answer["commits_per_second"][clients]}
    found["limit_batched_rows"] = {"rate": answer["batched_rows_per_second"]}
    return found
