"""Small saves and loads, one after the other and many at once: in memory, on a folder in memory, on S3, on GCS."""

from __future__ import annotations

import uuid
from typing import Any

from ..bench import Bench
from ..harness import Side
from ..services import Work, named

KB = 1024
OTHERS = 100_000
"""How many other keys a store in memory holds that must be no slower by it."""


def sizes(bench: Bench) -> tuple[int, ...]:
    """Bytes of a payload."""
    return bench.pick(tiny=(KB,), quick=(KB, 1024 * KB), full=(KB, 64 * KB, 1024 * KB))


def shown(size: int) -> str:
    return f"{size // KB} KB" if size < 1024 * KB else f"{size // KB // KB} MB"


def memory(bench: Bench) -> None:
    """Against ADK's in-memory service, and against itself with many other keys in the store."""
    many = bench.pick(tiny=100, quick=OTHERS, full=OTHERS)
    for op in ("save", "load"):
        for size in sizes(bench):
            work = Work(op, named(8), size)
            sides = [
                bench.side("artifactfs", "ours", "artifactfs", {"url": _fresh()}, work, most=2000),
                bench.side("artifactfs, awaited", "ours", "artifactfs-awaited", {"url": _fresh()}, work, most=2000),
                bench.side("two entries of a dict", "floor", "dict", {}, work, most=2000),
            ]
            if size == KB:
                sides.append(_among_others(bench, many, work))
            if bench.has_peers():
                sides.append(bench.side("ADK in memory", "peer", "adk-memory", {}, work, most=2000))
            bench.compare(
                f"memory/{op}/{shown(size)}",
                f"{op} of {shown(size)}",
                sides,
                group="memory",
                base="ADK in memory" if bench.has_peers() else "artifactfs",
            )


def _fresh() -> str:
    return f"memory://{uuid.uuid4().hex}"


def _among_others(bench: Bench, many: int, work: Work) -> Side:
    """artifactfs in a store that holds *many* keys more, two for each version."""
    told: dict[str, Any] = {"url": _fresh()}
    side = bench.side(f"artifactfs, {many:,} other keys", "ours", "artifactfs", told, work, most=2000)
    prepare = side.prepare

    def fill() -> None:
        prepare()
        made = bench.open("artifactfs", told)
        bench.drive(made, Work("save", tuple(f"other-{number}" for number in range(100)), 1), many // 2)
        made.close()

    side.prepare = fill
    return side
