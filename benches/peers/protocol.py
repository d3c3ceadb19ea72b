"""What the programs in Python share: the harness's line protocol (README.md, 'The protocol').

A program is `describe`, `setup URL SETTING`, `enqueue URL SETTING STEPS` or
`work URL SETTING STEPS CONCURRENCY EXPECT`. The last two answer lines on standard input until it ends, which ends them:
so none outlives a harness that was killed. Times are nanoseconds of the machine's clock.
"""

import json
import os
import sys
import threading
import time

_output = threading.Lock()


def now() -> int:
    return time.time_ns()


def say(*words) -> None:
    with _output:
        print(*words, flush=True)


def describe(**facts) -> None:
    print(json.dumps(facts))


def arguments() -> list:
    if len(sys.argv) < 2 or sys.argv[1] not in ("describe", "setup", "enqueue", "work"):
        sys.exit(__doc__)
    return sys.argv[1:]


class Tally:
    """What has run. With `expect` 0 each last step is told at once; else only that `expect` steps have run."""

    def __init__(self, steps: int, expect: int):
        self._steps, self._expect = steps, expect
        self._lock = threading.Lock()
        self._count, self._first = 0, 0

    def started(self, job, step: int) -> None:
        """To be called first thing in a handler."""
        at = now()
        if self._expect == 0:
            if step == self._steps:
                say("started", job, at)
            return
        with self._lock:
            self._count += 1
            self._first = self._first or at
            all_have_run = self._count == self._expect
        if all_have_run:
            say("handled")

    def report(self) -> None:
        with self._lock:
            say("report", self._first, self._count)


def commands(answers: dict) -> None:
    """Answers the lines of standard input until it ends: `answers` maps the first word to a function of the second."""
    for line in sys.stdin:
        verb, *rest = line.split()
        answers[verb](*rest)


def commands_beside(answers: dict) -> None:
    """The same on a thread of its own; the end of standard input ends the process."""

    def run():
        try:
            commands(answers)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)

    threading.Thread(target=run, daemon=True).start()


def timed(enqueue):
    """`one JOB` → `committed JOB BEFORE AFTER`: the clock before the call, and when it had returned."""

    def one(job):
        before = now()
        enqueue(job)
        say("committed", job, before, now())

    return one
