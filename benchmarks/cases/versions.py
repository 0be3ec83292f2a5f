"""One artifact of very many versions: finding its newest, listing all, and what each operation costs in requests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from functools import partial
from typing import Any

from artifactfs import ArtifactStore
from tests.proxy import Proxy

from .. import filling
from ..bench import Bench
from ..filling import NAME, PAYLOAD
from ..harness import Side
from ..listings import ObstoreListings, S3fsListings
from ..services import SCOPE, Work, s3_told
from .common import awaited, engines, filled, repeated

WHOLE_HISTORY = 1000
"""Versions up to which all records are read."""

MOST_OF_PEERS = 10_000
"""Versions of a peer's artifact at most: it takes its time to save them, or to find them."""

FOLDER = f"{'/'.join(SCOPE)}/{NAME}"
TITLES = {"latest": "load of the newest", "versions": "all numbers", "history": "all versions with details"}


def rounds(bench: Bench, count: int) -> int:
    return bench.pick(tiny=2, quick=3, full=7 if count < 10_000 else 3)


def memory(bench: Bench) -> None:
    """In memory, against ADK's service there."""
    for count in bench.pick(tiny=(1, 12), quick=(1, 100_000), full=(1, 10, 100, 1000, 10_000, 100_000)):
        told = {"url": f"memory://{uuid.uuid4().hex}"}
        filling.fill_memory(told["url"], filling.versions(count))
        for op in ("latest", "versions"):
            work = Work(op, (NAME,))
            sides = [filled(bench, "artifactfs", "ours", "artifactfs", told, work)]
            if bench.has_peers() and count <= MOST_OF_PEERS:
                sides.append(filled(bench, "ADK in memory", "peer", "adk-memory", {}, work, saves=[NAME] * count))
            _compare(bench, "memory", op, count, sides, "artifactfs")
        filling.empty_memory(told["url"])


def local(bench: Bench) -> None:
    """In a folder in memory, against `os.listdir` of what holds all versions, and the services that keep files."""
    for count in bench.pick(tiny=(1, 12), quick=(1, 10_000), full=(1, 10, 100, 1000, 10_000, 100_000)):
        root = bench.folder()
        filling.fill_folder(root, filling.versions(count))
        folder = f"{root}/{FOLDER}"
        for op in ("latest", "versions", "history"):
            if op == "history" and count > WHOLE_HISTORY:
                continue
            work = Work(op, (NAME,))
            sides = [
                filled(bench, "artifactfs", "ours", "artifactfs", {"url": root}, work),
                Side("os.listdir", "floor", repeated(partial(os.listdir, folder))),
            ]
            if op == "history":
                sides.append(Side("os.listdir, each record", "floor", repeated(partial(_records, folder))))
            if count <= MOST_OF_PEERS:
                sides += _file_services(bench, count, work)
            _compare(bench, "local", op, count, sides, "os.listdir")
        shutil.rmtree(root)


def _compare(bench: Bench, where: str, op: str, count: int, sides: list[Side], base: str) -> None:
    group = f"versions-{where}"
    bench.compare(
        f"{group}/{op}/{count}", TITLES[op], sides, group=group, base=base, x=count, rounds=rounds(bench, count)
    )


def _records(folder: str) -> None:
    for name in os.listdir(folder):
        if name.endswith(".metadata"):
            with open(f"{folder}/{name}", "rb") as file:
                file.read()


PEERS = {
    "ADK file": ("adk-file", filling.more_of_adk),
    "Solace filesystem": ("solace", filling.more_of_solace),
    "pins": ("pins", filling.more_of_pins),
}
"""The peers that keep files. One version is saved by each; the others are copies of it, made here as it makes them."""


def _file_services(bench: Bench, count: int, work: Work) -> list[Side]:
    made = []
    for name, (service, more) in PEERS.items():
        if service == "pins":
            if not importlib.util.find_spec("pins"):
                bench.leave_out("pins is not installed: it is in the environment of make bench")
                continue
            if work.op == "history":
                continue
        elif not bench.has_peers():
            continue
        root = bench.folder()
        fill = partial(more, root, count)
        calls = 1 if count > WHOLE_HISTORY else None  # it takes them up to seconds
        made.append(filled(bench, name, "peer", service, {"root": root}, work, saves=[NAME], fill=fill, calls=calls))
    return made


# --- S3 ---------------------------------------------------------------------------------------------------------------


def s3(bench: Bench) -> None:
    """Over S3, against the same listings and reads by bare clients; and the requests of each operation."""
    server = bench.s3
    for count in bench.pick(tiny=(3,), quick=(1, 400, 10_000), full=(1, 10, 100, 400, 1000, 10_000, 100_000)):
        url = server.bucket()
        filling.fill_bucket(server, url, filling.versions(count), whole=filling.among(count))
        bare = s3_told(url.split("/")[2], server.url, server.key, server.secret)
        for op in ("latest", "versions"):
            if op == "versions" and count > bench.pick(tiny=10, quick=1000, full=10_000):
                continue
            work = Work(op, (NAME,))
            sides = [
                *(filled(bench, name, "ours", "artifactfs", told, work) for name, told in engines(server, url).items()),
                awaited("obstore", ObstoreListings, {"count": count, **bare}, work),
                awaited("s3fs", S3fsListings, {"count": count, **bare}, work),
            ]
            _compare(bench, "s3", op, count, sides, "obstore")
        with bench.counted(server) as (front, proxy):
            for side, told in engines(front, url).items():
                _requests(bench, side, told, proxy, count)


def _requests(bench: Bench, side: str, told: dict[str, Any], proxy: Proxy, count: int) -> None:
    """The requests of each operation; by a store that knows what its bucket can do, and nothing of what is in it."""
    with ArtifactStore(**told) as store:
        store.scope("shop", "nobody", "s1").save("opened", b"")
        scope = store.scope(*SCOPE)
        for what, do in {
            "load of the newest": lambda: scope.load(NAME),
            "load of a known version": lambda: scope.load(NAME, count // 2),
            "save, cold": lambda: scope.save(NAME, PAYLOAD),
            "save, warm": lambda: scope.save(NAME, PAYLOAD),
        }.items():
            with proxy.counted() as seen:
                do()
            bench.fact(f"versions-s3/{count}", what, len(seen), "requests", group="versions-s3", side=side)
