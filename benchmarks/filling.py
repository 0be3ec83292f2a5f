"""Stores that begin full: what a saver leaves of many versions or of many names, written without saving each.

All lie in the scope `services.SCOPE`. `tests/test_benchmarks.py` holds them against what saves really leave.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from artifactfs import ArtifactStore
from artifactfs.backends import memory
from artifactfs.drivers import call
from artifactfs.layout import ArtifactId
from artifactfs.records import Blob, encode
from tests.servers import Server

from .services import SCOPE

NAME = "report.csv"
PAYLOAD = b"x" * 1024

Objects = Iterable[tuple[str, bytes]]


def versions(count: int) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes that one saver leaves of the artifact `NAME` with *count* versions: its hints too."""
    artifact, record = _saved()
    for number in range(count):
        yield artifact.record(number), encode(msgspec.structs.replace(record, version=number))
        yield artifact.payload(number), PAYLOAD
    for number in hints(count):
        yield artifact.hint(number), b""


def hints(count: int) -> list[int]:
    """Of which numbers hints are there after *count* saves: the last two that were written."""
    return [number for number in range(50, count, 100) if count - 1 < max(number + 175, 201)]


def names(count: int) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes of *count* artifacts of one version each."""
    artifact, record = _saved()
    for number in range(count):
        name = f"report-{number:06}.csv"
        here = ArtifactId(artifact.scope, name)
        yield here.record(0), encode(msgspec.structs.replace(record, filename=name, version=0))
        yield here.payload(0), PAYLOAD


def _saved() -> tuple[ArtifactId, Blob]:
    """What a real save leaves: the artifact's identity, and its record."""
    with ArtifactStore("memory://filling") as store:
        scope = store.scope(*SCOPE)
        return scope.id.artifact(NAME), scope.save(NAME, PAYLOAD)


def fill_memory(url: str, objects: Objects) -> None:
    backend = ArtifactStore(url).backend

    async def create_all() -> None:
        for key, data in sorted(objects):  # at the end of a sorted list insertion costs nothing
            await backend.create(key, data, "text/csv")

    call(backend, create_all)


def empty_memory(url: str) -> None:
    """Let go of what `fill_memory` stored."""
    del memory._roots[url.removeprefix("memory://")]


def fill_folder(root: str, objects: Objects) -> None:
    made = ""
    for key, data in objects:
        path = f"{root}/{key}"
        folder = path.rpartition("/")[0]
        if folder != made:
            os.makedirs(folder, exist_ok=True)
            made = folder
        with open(path, "wb", buffering=0) as file:
            file.write(data)


def fill_bucket(server: Server, url: str, objects: Objects, *, whole: Callable[[str], bool] = lambda key: True) -> None:
    """Write *objects* below the store's *url*; of those that are not *whole* only the key is what it would be.

    Such keys are, in a MinIO's own folder, links to what one put of their kind has made there: a listing shows them as it
    shows others, and a server is filled with a hundred thousand in seconds. Elsewhere all are put.
    """
    bucket, _, prefix = url.partition("://")[2].partition("/")
    client = server.client()

    def put(one: tuple[str, bytes]) -> None:
        client.put_object(Bucket=bucket, Key=f"{prefix}/{one[0]}", Body=one[1], ContentType="text/csv")

    linked = server.name == "minio"
    made: dict[str, str] = {}
    used = 0
    with ThreadPoolExecutor(16) as pool:
        puts = []
        for key, data in objects:
            kind = ".metadata" if key.endswith(".metadata") else ""
            if whole(key) or not linked or kind not in made:
                puts.append(pool.submit(put, (key, data)))
                if kind not in made:
                    puts.pop().result()
                    made[kind] = f"{server.data}/{bucket}/{prefix}/{key}/xl.meta"
                continue
            path = f"{server.data}/{bucket}/{prefix}/{key}"
            os.makedirs(path)
            used += 1
            if used % 30_000:  # filesystems bear some 65,000 links to a file
                os.link(made[kind], f"{path}/xl.meta")
            else:
                made[kind] = shutil.copy(made[kind], f"{path}/xl.meta")
        for one in puts:
            one.result()


def among(count: int, *, newest: int = 40) -> Callable[[str], bool]:
    """Of the keys of `versions`, those of the newest and of the one in the middle, and hints: what is read of so many."""

    def whole(key: str) -> bool:
        number = re.search(r"/(\d+)(?:\.metadata)?$", key)
        return number is None or int(number[1]) >= count - newest or int(number[1]) in (0, count // 2)

    return whole


# --- peers: what their services keep, version 0 of which they have saved themselves -----------------------------------


def more_of_adk(root: str, count: int) -> None:
    """Versions 1 to *count* - 1 in a store of ADK's file service, as it makes them."""
    (first,) = Path(root).rglob(f"{NAME}/versions/0")
    told = (first / "metadata.json").read_text()
    for number in range(1, count):
        here = first.with_name(str(number))
        here.mkdir()
        shutil.copy(first / NAME, here / NAME)
        mine = re.sub(r'("version":\s*)0\b', rf"\g<1>{number}", told).replace("/versions/0/", f"/versions/{number}/")
        (here / "metadata.json").write_text(mine)


def more_of_solace(root: str, count: int) -> None:
    """Versions 1 to *count* - 1 in a store of Solace's filesystem service, as it makes them."""
    (first,) = Path(root).rglob(f"{NAME}/0")
    for number in range(1, count):
        shutil.copy(first, first.with_name(str(number)))
        shutil.copy(first.with_name("0.meta"), first.with_name(f"{number}.meta"))


def more_of_pins(root: str, count: int) -> None:
    """Older versions than the one of a board in a folder, a second apart each, until there are *count*."""
    (newest,) = (Path(root) / NAME).iterdir()
    stamp, _, digest = newest.name.partition("-")
    last = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
    for number in range(1, count):
        before = f"{last - timedelta(seconds=number):%Y%m%dT%H%M%SZ}"
        here = newest.with_name(f"{before}-{digest}")
        here.mkdir()
        shutil.copy(newest / f"{NAME}.json", here)
        (here / "data.txt").write_text((newest / "data.txt").read_text().replace(stamp, before))
