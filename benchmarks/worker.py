"""A process that drives services: ``python -m benchmarks.worker``, of whatever environment has their packages.

It is asked line by line: a JSON object with the name of a function of `_Answers` under ``do`` and its arguments, answered by
``{"is": …}`` or ``{"failed": …}``. What takes time is measured in there, so that a side in another process is measured like
one here.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from . import services

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers" / "bin" / "python"


class Worker:
    """A process; `ask` sends and waits, `send` and `answer` do one of both, so that several work at the same time."""

    def __init__(self, python: str | os.PathLike[str] = sys.executable) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        )

    def send(self, do: str, **told: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **told}).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process that was to be measured ended by itself")
        told = json.loads(line)
        if "failed" in told:
            raise RuntimeError(f"in another process:\n{told['failed']}")
        return told["is"]

    def ask(self, do: str, **told: Any) -> Any:
        self.send(do, **told)
        return self.answer()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Remote:
    """A service in a `Worker`, driven as one here is."""

    _numbers = itertools.count()

    def __init__(self, worker: Worker, service: str, told: dict[str, Any]) -> None:
        self.worker, self.key = worker, str(next(self._numbers))
        worker.ask("open", key=self.key, service=service, told=told)

    def drive(self, work: services.Work, calls: int) -> float:
        seconds: float = self.worker.ask("drive", key=self.key, work=dataclasses.asdict(work), calls=calls)
        return seconds

    def call(self, op: str, *arguments: Any) -> None:
        """Call a method of the service once; what it gives stays there."""
        self.worker.ask("call", key=self.key, op=op, arguments=arguments)

    def close(self) -> None:
        self.worker.ask("close", key=self.key)


class _Answers:
    """What a worker does when it is asked."""

    def __init__(self) -> None:
        self.kept: dict[str, services.Service] = {}

    def open(self, key: str, service: str, told: dict[str, Any]) -> None:
        self.kept[key] = services.opened(service, told)

    def drive(self, key: str, work: dict[str, Any], calls: int) -> float:
        return services.drive(self.kept[key], services.Work(**{**work, "names": tuple(work["names"])}), calls)

    def call(self, key: str, op: str, arguments: list[Any]) -> None:
        services.finished(getattr(self.kept[key], op)(*arguments))

    def race(self, key: str, **told: Any) -> dict[str, Any]:
        return services.race(self.kept[key], **told)

    def stored(self, key: str, name: str) -> list[str]:
        return services.stored(self.kept[key], name)

    def close(self, key: str) -> None:
        self.kept.pop(key).close()


def main() -> None:
    # Whatever a package prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked = _Answers()
    for line in sys.stdin:
        told = json.loads(line)
        try:
            answer = {"is": getattr(asked, told.pop("do"))(**told)}
        except BaseException:  # noqa: BLE001 - whoever asked is told
            answer = {"failed": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    services.end()


if __name__ == "__main__":
    main()
