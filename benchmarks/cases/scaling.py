"""How saves of distinct names scale with threads, tasks and processes, beside the bare client with as many of them."""

from __future__ import annotations

import time
from typing import Any

from ..bench import Bench
from ..harness import Role, Side
from ..services import Work, named
from .race import together
from .small import KB, Row, ours_s3, sides, told_s3


def scaling(bench: Bench) -> None:
    """Seconds per save, by how many are at work. A test leaves to others the second of each two rows on S3."""
    s3 = bench.s3
    for count in bench.pick(tiny=(2,), quick=(1, 8, 64), full=(1, 2, 4, 8, 16, 32, 64)):
        rows: list[Row] = [
            ("artifactfs", "ours", "artifactfs", ours_s3(bench, "obstore")),
            ("artifactfs on s3fs", "ours", "artifactfs", ours_s3(bench, "s3fs")),
            ("obstore", "floor", "obstore", told_s3(s3)),
            ("boto3", "floor", "boto3", told_s3(s3)),
        ]
        work = Work("save", named(count), KB, count)
        bench.compare(
            f"scaling/threads/S3/{count}",
            "saves of 1 KB on S3, by threads",
            sides(bench, rows[:: 2 if bench.tiny else 1], work, most=1024),
            group="scaling/S3",
            base="obstore",
            x=count,
        )
        rows = [
            ("artifactfs", "ours", "artifactfs", {"url": bench.folder(), "durability": "none"}),
            ("two files", "floor", "files", {"root": bench.folder()}),
        ]
        bench.compare(
            f"scaling/threads/folder/{count}",
            "saves of 1 KB in a folder, by threads",
            sides(bench, rows, work, most=1024),
            group="scaling/folder",
            base="two files",
            x=count,
        )
    for count in bench.pick(tiny=(2,), quick=(1, 16, 256), full=(1, 4, 16, 64, 256)):
        rows = [
            ("artifactfs", "ours", "artifactfs-awaited", ours_s3(bench, "obstore")),
            ("artifactfs on s3fs", "ours", "artifactfs-awaited", ours_s3(bench, "s3fs")),
            ("obstore", "floor", "obstore-awaited", told_s3(s3)),
            ("s3fs", "floor", "s3fs-awaited", told_s3(s3)),
        ]
        bench.compare(
            f"scaling/tasks/S3/{count}",
            "saves of 1 KB on S3, by tasks",
            sides(bench, rows[:: 2 if bench.tiny else 1], Work("save", named(count), KB, count), most=1024),
            group="scaling/S3",
            base="obstore",
            x=count,
        )
    for count in bench.pick(tiny=(2,), quick=(1, 4), full=(1, 2, 4, 8)):
        bench.compare(
            f"scaling/processes/S3/{count}",
            "saves of 1 KB on S3, by processes",
            [
                _processes(bench, "artifactfs", "ours", "artifactfs", ours_s3(bench, "obstore"), count),
                _processes(bench, "obstore", "floor", "obstore", told_s3(s3), count),
            ],
            group="scaling/S3",
            base="obstore",
            x=count,
        )
        bench.compare(
            f"scaling/processes/folder/{count}",
            "saves of 1 KB in a folder, by processes",
            [
                _processes(bench, "artifactfs", "ours", "artifactfs", _folder(bench), count),
                _processes(bench, "two files", "floor", "files", {"root": bench.folder()}, count),
            ],
            group="scaling/folder",
            base="two files",
            x=count,
        )


def _folder(bench: Bench) -> dict[str, Any]:
    return {"url": bench.folder(), "durability": "none"}


def _processes(bench: Bench, name: str, role: Role, service: str, told: dict[str, Any], count: int) -> Side:
    """Each of so many processes saves a name of its own; seconds per save of all of them together."""
    key = f"scaling-{service}"
    workers = bench.workers(count)
    mine = [Work("save", (f"of-{who}.csv",), KB).__dict__ for who in range(count)]

    def prepare() -> None:
        together(workers, "open", key=key, service=service, told=told)
        run(count)

    def run(calls: int) -> float:
        begun = time.perf_counter()
        for worker, work in zip(workers, mine, strict=True):
            worker.send("drive", key=key, work=work, calls=calls // count)
        for worker in workers:
            worker.answer()
        return time.perf_counter() - begun

    def clean() -> None:
        together(workers, "close", key=key)

    return Side(name, role, run, prepare, clean=clean, least=count, most=512 * count)
