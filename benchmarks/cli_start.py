"""How long the command line takes to start, held against what importing click alone takes.

Runs of all commands are interleaved, so that whatever else the machine does meets each of them alike; medians are told.
The target is less than twice the import of click for ``--version`` and ``--help``.

    python benchmarks/cli_start.py --rounds 50
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median

CLI = "import sys; from artifactfs.cli import main; sys.argv[1:] = {!r}; main()"
BASE = "import click"
COMMANDS = {
    BASE: [sys.executable, "-c", BASE],
    "artifactfs --version": [sys.executable, "-c", CLI.format(["--version"])],
    "artifactfs --help": [sys.executable, "-c", CLI.format(["--help"])],
    "artifactfs put --help": [sys.executable, "-c", CLI.format(["put", "--help"])],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def measure(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, float]:
    """The median of seconds that each command takes, from its start to its end."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - begun)
    return {name: median(taken) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20, help="how often each command is run")
    found = measure(COMMANDS, parser.parse_args().rounds)
    for name, taken in found.items():
        print(f"{name:<24} {taken * 1000:6.1f} ms  {taken / found[BASE]:5.2f}x")


if __name__ == "__main__":
    main()
