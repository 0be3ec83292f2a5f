"""How long a fresh interpreter takes to import the package, and to save and load for the first time."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from ..bench import Bench
from ..harness import Side

USED = "s = ArtifactStore({!r}).scope('shop', 'alice', 's1'); s.save('n', b'x'); s.load('n')"


def imports(bench: Bench) -> None:
    """Whole processes, from their start to their end."""
    first_use = f"from artifactfs import ArtifactStore; {USED.format('memory://first')}"
    in_folder = f"from artifactfs import ArtifactStore; {USED.format(bench.folder())}"
    sides = [
        Side(name, role, partial(_run, code), calls=1)
        for name, role, code in (
            ("python -c pass", "floor", "pass"),
            ("import artifactfs", "ours", "import artifactfs"),
            ("import fsspec", "floor", "import fsspec"),
            ("first use, memory", "ours", first_use),
            ("first use, a folder", "ours", in_folder),
        )
    ]
    rounds = bench.pick(tiny=1, quick=10, full=50)
    bench.compare("imports", "a fresh interpreter", sides, group="imports", base="python -c pass", rounds=rounds)


def _run(code: str, calls: int) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ARTIFACTFS_"))}
    for _ in range(calls):
        subprocess.run([sys.executable, "-c", code], check=True, env=kept)
