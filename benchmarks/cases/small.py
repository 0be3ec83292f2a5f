"""Small saves and loads, one after the other and many at once: in memory, on a folder in memory, on S3, on GCS."""

from __future__ import annotations

import uuid
from importlib.util import find_spec
from typing import Any

from .. import services
from ..bench import Bench
from ..harness import Role, Side
from ..services import Work, named

KB = 1024
OTHERS = 100_000
"""How many other keys a store in memory holds that must be no slower by it."""
SEVERAL = 64
"""How many calls are in flight where it is not one."""

Row = tuple[str, Role, str, dict[str, Any]]
"""What `Bench.side` takes before its work."""


def sizes(bench: Bench) -> tuple[int, ...]:
    """Bytes of a payload."""
    return bench.pick(tiny=(KB,), quick=(KB, 1024 * KB), full=(KB, 64 * KB, 1024 * KB))


def shown(size: int) -> str:
    return f"{size // KB} KB" if size < 1024 * KB else f"{size // KB // KB} MB"


def sides(bench: Bench, rows: list[Row], work: Work, most: int = 1000) -> list[Side]:
    """Sides that do the same work; none of those whose packages are not here. A round saves no more than some 16 MB."""
    most = min(most, max(16, 16 * 1024 * KB // work.size))
    found = []
    for name, role, service, told in rows:
        if service.startswith("pins") and find_spec("pins") is None:
            bench.leave_out("pins is not installed: it is in the environment of make bench")
        elif not services.of_peers(service) or bench.has_peers():
            found.append(bench.side(name, role, service, told, work, most=max(most, work.in_flight)))
    return found


# --- memory -----------------------------------------------------------------------------------------------------------


def memory(bench: Bench) -> None:
    """Against ADK's in-memory service, and against itself with many other keys in the store."""
    full = _fresh()
    many = bench.open("artifactfs", full)
    others = tuple(f"other-{number}" for number in range(100))
    bench.drive(many, Work("save", others, 16), bench.pick(tiny=100, quick=OTHERS, full=OTHERS) // 2)
    for op in ("save", "load"):
        for size in sizes(bench):
            work = Work(op, named(8), size)
            found = sides(
                bench,
                [
                    ("artifactfs", "ours", "artifactfs", _fresh()),
                    ("artifactfs, awaited", "ours", "artifactfs-awaited", _fresh()),
                    ("two entries of a dict", "floor", "dict", {}),
                    ("ADK in memory", "peer", "adk-memory", {}),
                ],
                work,
            )
            if size == KB:
                found.append(bench.side("artifactfs, many other keys", "ours", "artifactfs", full, work, most=1000))
            bench.compare(
                f"memory/{op}/{shown(size)}",
                f"{op} of {shown(size)}",
                found,
                group="memory",
                base="ADK in memory" if bench.has_peers() else "artifactfs",
            )
        rows: list[Row] = [
            ("artifactfs, awaited", "ours", "artifactfs-awaited", _fresh()),
            ("ADK in memory", "peer", "adk-memory", {}),
        ]
        bench.compare(
            f"memory/{op}/{SEVERAL} in flight",
            f"{op} of 1 KB, {SEVERAL} in flight",
            sides(bench, rows, Work(op, named(SEVERAL), KB, SEVERAL)),
            group="memory",
            base="ADK in memory" if bench.has_peers() else "artifactfs, awaited",
        )


def _fresh() -> dict[str, Any]:
    return {"url": f"memory://{uuid.uuid4().hex}"}


# --- a folder ---------------------------------------------------------------------------------------------------------


def local(bench: Bench) -> None:
    """On a folder in memory, where nothing hides what our own steps cost."""

    def rows(*, together: bool) -> list[Row]:
        ours = "artifactfs-awaited" if together else "artifactfs"
        return [
            ("artifactfs", "ours", ours, {"url": bench.folder(), "durability": "none"}),
            ("artifactfs, fsync", "ours", ours, {"url": bench.folder()}),
            ("two files", "floor", "files", {"root": bench.folder()}),
            ("two files, fsync", "floor", "files-synced", {"root": bench.folder()}),
            ("ADK file", "peer", "adk-file", {"root": bench.folder()}),
            ("Solace filesystem", "peer", "solace", {"root": bench.folder()}),
            *([] if together else [("pins", "peer", "pins", {"root": bench.folder()})]),
        ]

    for op in ("save", "load"):
        for size in sizes(bench):
            found = sides(bench, rows(together=False), Work(op, named(8), size), most=500)
            bench.compare(f"local/{op}/{shown(size)}", f"{op} of {shown(size)}", found, group="local", base="two files")
        bench.compare(
            f"local/{op}/{SEVERAL} in flight",
            f"{op} of 1 KB, {SEVERAL} in flight",
            sides(bench, rows(together=True), Work(op, named(SEVERAL), KB, SEVERAL), most=SEVERAL * 8),
            group="local",
            base="two files",
            note="The floors' 64 are threads.",
        )
    synced: list[Row] = [
        ("artifactfs, fsync", "ours", "artifactfs", {"url": bench.folder(on_disk=True)}),
        ("two files, fsync", "floor", "files-synced", {"root": bench.folder(on_disk=True)}),
    ]
    bench.compare(
        "local/save/1 KB, on a disk",
        "save of 1 KB, on a disk",
        sides(bench, synced, Work("save", named(8), KB), most=100),
        group="local",
        base="two files, fsync",
        note="On a disk a sync takes its time.",
    )


# --- S3 ---------------------------------------------------------------------------------------------------------------


def told_s3(server: Any) -> dict[str, Any]:
    """What a service on S3 takes, with a fresh bucket."""
    bucket = server.bucket("").partition("://")[2]
    return {"bucket": bucket, "endpoint": server.url, "key": server.key, "secret": server.secret}


def ours_s3(bench: Bench, engine: str) -> dict[str, Any]:
    """What artifactfs takes, with a fresh bucket."""
    return {"url": bench.bucket(bench.s3), **bench.s3.storage_options, "engine": engine}


def s3(bench: Bench) -> None:
    """Both engines, each beside the same requests made with its bare client."""
    server = bench.s3

    def rows(size: int, *, together: bool) -> list[Row]:
        awaited = "-awaited" if together else ""
        found: list[Row] = [
            ("artifactfs", "ours", f"artifactfs{awaited}", ours_s3(bench, "obstore")),
            ("artifactfs on s3fs", "ours", f"artifactfs{awaited}", ours_s3(bench, "s3fs")),
            ("obstore", "floor", f"obstore{awaited}", told_s3(server)),
            ("s3fs", "floor", f"s3fs{awaited}", told_s3(server)),
            ("boto3", "floor", "boto3", told_s3(server)),
        ]
        if size == KB:
            found.append(("Solace S3", "peer", "solace-s3", told_s3(server)))
            if not together:
                found.append(("ADK community S3", "peer", "adk-s3", told_s3(server)))
                found.append(("pins", "peer", "pins-s3", told_s3(server)))
            if bench.has("fake_gcs"):
                found.append(("ADK GCS", "peer", "adk-gcs", _told_gcs(bench)))
        return found

    for op in ("save", "load"):
        for size in bench.pick(tiny=(KB,), quick=(KB,), full=sizes(bench)):
            for together in (False, True):
                if bench.tiny and together != (op == "load"):
                    continue  # each way and each operation once
                count = bench.pick(tiny=4, quick=SEVERAL, full=SEVERAL) if together else 1
                work = Work(op, named(count if bench.tiny else max(8, count)), size, count)
                bench.compare(
                    f"s3/{op}/{shown(size)}{f', {SEVERAL} in flight' if together else ''}",
                    f"{op} of {shown(size)}{f', {SEVERAL} in flight' if together else ''}",
                    sides(bench, rows(size, together=together), work),
                    group="s3",
                    base="obstore",
                    note="ADK's service for Google Cloud Storage runs against fake-gcs-server, all others against MinIO."
                    if size == KB
                    else "",
                )


def _told_gcs(bench: Bench) -> dict[str, Any]:
    server = bench.server("fake_gcs")
    return {"bucket": server.bucket("").partition("://")[2], "endpoint": server.url}


def gcs(bench: Bench) -> None:
    """artifactfs and ADK's service against the same server, fake-gcs-server."""
    if not bench.has("fake_gcs"):
        return
    server = bench.server("fake_gcs")
    count = bench.pick(tiny=4, quick=SEVERAL, full=SEVERAL)
    for op in ("save", "load"):
        rows: list[Row] = [
            (
                "artifactfs",
                "ours",
                "artifactfs-awaited",
                {"url": bench.bucket(server), **server.storage_options, "engine": "gcsfs"},
            ),
            ("gcsfs", "floor", "gcsfs-awaited", _told_gcs(bench)),
            ("ADK GCS", "peer", "adk-gcs", _told_gcs(bench)),
        ]
        bench.compare(
            f"gcs/{op}",
            f"{op} of 1 KB, {SEVERAL} in flight",
            sides(bench, rows, Work(op, named(count), KB, count), most=512),
            group="gcs",
            base="gcsfs",
        )
