"""The names of a session of very many artifacts."""

from __future__ import annotations

import os
import shutil
import uuid

from artifactfs import ArtifactStore

from .. import filling
from ..bench import Bench
from ..harness import Side
from ..listings import ObstoreListings, S3fsListings
from ..services import SCOPE, Work, s3_told
from .common import awaited, engines, filled, repeated
from .versions import rounds

MOST_OF_PEERS, MOST_IN_MEMORY = 1000, 10_000
"""Names that a peer is given at most, one by one: by a service that keeps files, and by one in memory."""

PLACES = {"memory": "in memory", "local": "in a folder", "s3": "on S3"}
WORK = Work("names", ())


def names(bench: Bench) -> None:
    """In memory, in a folder in memory, and over S3, against one listing of what holds them."""
    for count in bench.pick(tiny=(12,), quick=(10, 10_000), full=(10, 100, 1000, 10_000, 100_000)):
        _memory(bench, count)
        _local(bench, count)
        _s3(bench, count)


def _compare(bench: Bench, where: str, count: int, sides: list[Side], base: str) -> None:
    title = f"all names, {PLACES[where]}"
    bench.compare(
        f"names/{where}/{count}", title, sides, group="names", base=base, x=count, rounds=rounds(bench, count)
    )


def _memory(bench: Bench, count: int) -> None:
    told = {"url": f"memory://{uuid.uuid4().hex}"}
    filling.fill_memory(told["url"], filling.names(count))
    sides = [filled(bench, "artifactfs", "ours", "artifactfs", told, WORK)]
    if bench.has_peers() and count <= MOST_IN_MEMORY:
        saves = [f"report-{number:06}.csv" for number in range(count)]
        sides.append(filled(bench, "ADK in memory", "peer", "adk-memory", {}, WORK, saves=saves))
    _compare(bench, "memory", count, sides, "artifactfs")
    filling.empty_memory(told["url"])


def _local(bench: Bench, count: int) -> None:
    root = bench.folder()
    filling.fill_folder(root, filling.names(count))
    folder = f"{root}/{'/'.join(SCOPE)}"
    sides = [
        filled(bench, "artifactfs", "ours", "artifactfs", {"url": root}, WORK),
        Side("os.listdir, sorted", "floor", repeated(lambda: sorted(os.listdir(folder)))),
    ]
    if bench.has_peers() and count <= MOST_OF_PEERS:
        saves = [f"report-{number:06}.csv" for number in range(count)]
        for name, service in (("ADK file", "adk-file"), ("Solace filesystem", "solace")):
            sides.append(filled(bench, name, "peer", service, {"root": bench.folder()}, WORK, saves=saves))
    _compare(bench, "local", count, sides, "os.listdir, sorted")
    shutil.rmtree(root)


def _s3(bench: Bench, count: int) -> None:
    server = bench.s3
    url = server.bucket()
    filling.fill_bucket(server, url, filling.names(count), whole=lambda key: False)
    bare = {"count": 0, **s3_told(url.split("/")[2], server.url, server.key, server.secret)}
    calls = 1 if count > 1000 else None  # it takes them up to seconds
    sides = [
        awaited("obstore", ObstoreListings, bare, WORK, calls),
        awaited("s3fs", S3fsListings, bare, WORK, calls),
    ]
    for name, told in engines(server, url).items():
        sides.append(filled(bench, name, "ours", "artifactfs", told, WORK, calls=calls))
    _compare(bench, "s3", count, sides, "obstore")
    with bench.counted(server) as (front, proxy):
        for side, told in engines(front, url).items():
            with ArtifactStore(read_only=True, **told) as store, proxy.counted() as seen:
                assert sum(1 for _ in store.scope(*SCOPE).names(shared=False)) == count
            bench.fact(f"names/s3/{count}", "listings", len(seen), "requests", group="names", side=side)
