"""How long the command line takes to start, held against what importing click alone takes."""

from __future__ import annotations

import subprocess
import sys

from ..bench import Bench
from ..harness import Role, Side

BASE = "import click"
_CLI = "import sys; from artifactfs.cli import main; sys.argv[1:] = {!r}; main()"


def start(bench: Bench) -> None:
    """Whole processes, from their start to their end."""
    commands: list[tuple[str, Role, str]] = [
        ("artifactfs --version", "ours", _CLI.format(["--version"])),
        ("artifactfs --help", "ours", _CLI.format(["--help"])),
        ("artifactfs put --help", "ours", _CLI.format(["put", "--help"])),
        (BASE, "floor", BASE),
        ("python -c pass", "floor", "pass"),
    ]
    bench.compare(
        "start",
        "start of the command line",
        [_side(name, role, code) for name, role, code in (commands[:1] + commands[3:4] if bench.tiny else commands)],
        group="start",
        base=BASE,
        rounds=bench.pick(tiny=1, quick=8, full=30),
    )


def _side(name: str, role: Role, code: str) -> Side:
    def run(calls: int) -> None:
        for _ in range(calls):
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    return Side(name, role, run, calls=1)
