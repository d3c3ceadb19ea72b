"""The programs of the peers, spoken to by lines (README.md, 'The protocol')."""

import json
import queue
import subprocess
import threading
import time


class Failed(Exception):
    """A program did not do what it was told. The text says which, what and where its log is."""


class Program:
    """One running program of a peer: a worker or a producer."""

    def __init__(self, command: list, log):
        self._name, self._log = " ".join(command[-6:]), log
        with open(log, "ab") as errors:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, bufsize=1)
        self._lines = queue.SimpleQueue()
        # Lines that arrived before somebody waited for them: two things may happen in either order.
        self._passed_over = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.split())
        self._lines.put(None)

    def send(self, line: str) -> None:
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self._name} has ended; see {self._log}") from None

    def expect(self, *start: str, seconds: float) -> list:
        """The rest of the first line that begins with these words; others are kept."""
        words = self.wait_for(*start, seconds=seconds)
        if words is None:
            raise Failed(f"{self._name} did not say {' '.join(start)!r} within {seconds:.0f} s; see {self._log}")
        return words

    def wait_for(self, *start: str, seconds: float):
        """As `expect`; None if the time is over."""
        size = len(start)
        for index, words in enumerate(self._passed_over):
            if words[:size] == list(start):
                return self._passed_over.pop(index)[size:]
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                words = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if words is None:
                raise Failed(f"{self._name} ended with {self._process.wait()}; see {self._log}")
            if words[:size] == list(start):
                return words[size:]
            self._passed_over.append(words)
        return None

    def close(self) -> None:
        """The end of its standard input ends it."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()


class Peer:
    """A competitor: what its program says about itself, and how to run it."""

    def __init__(self, key: str, command: list, logs):
        self.key = key
        self._command = command
        self._logs = logs
        facts = json.loads(run(command + ["describe"], logs / f"{key}-describe.log"))
        self.name, self.version, self.five_steps = facts["peer"], facts["version"], facts["five_steps"]
        self.has_steps = facts["has_steps"]
        self.settings, self.pending, self.failed = facts["settings"], facts["pending"], facts["failed"]

    def log(self, setting: str):
        return self._logs / f"{self.key}-{setting}.log"

    def setup(self, url: str, setting: str) -> None:
        run(self._command + ["setup", url, setting], self.log(setting))

    def producer(self, url: str, setting: str, steps: int) -> Program:
        return self._start(setting, "enqueue", url, setting, str(steps))

    def worker(self, url: str, setting: str, steps: int, concurrency: int, expect: int) -> Program:
        return self._start(setting, "work", url, setting, str(steps), str(concurrency), str(expect))

    def _start(self, setting: str, *arguments: str) -> Program:
        return Program(self._command + list(arguments), self.log(setting))


def run(command: list, log) -> str:
    """What a command prints; its errors go to the log."""
    with open(log, "ab") as errors:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}; see {log}")
    return done.stdout
