"""Long streams, to a disk and over S3, plain and sealed: their time, and how much memory they take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from artifactfs import ArtifactStore
from artifactfs.keys.keyring import new_key

from ..bench import Bench
from ..harness import Role, Side, nothing
from ..services import SCOPE, s3_told
from ..streaming import MIB, small, streamed
from ..streaming import stream as here
from .common import engines

KEYS = new_key("bench")
UNSIGNED = "artifactfs on s3fs, parts unsigned"
PARTS_UNSIGNED = {"config_kwargs": {"s3": {"payload_signing_enabled": False}}}
SIGNED = (
    "botocore signs the bytes of each part: one more SHA-256, on the event loop that sends. *parts unsigned* shows what "
    "that takes: it has `config_kwargs={'s3': {'payload_signing_enabled': False}}`."
)
ON_DISK = "Of 2048 MB the server keeps its data on a disk, of 256 MB in memory."
GCM, SHA = "AES-GCM alone, 16 KiB chunks", "SHA-256 alone"


class _Streams:
    """The sides of one comparison, and by how much memory each of them grew."""

    def __init__(self, bench: Bench, place: str, way: str, size: int) -> None:
        self.bench, self.group, self.way, self.size = bench, f"streams-{place}", way, size
        self.sides: list[Side] = []
        self.growth: dict[str, list[int]] = {}

    def add(
        self,
        name: str,
        role: Role,
        *,
        prepare: Callable[[], object] = nothing,
        before: Callable[[], object] = nothing,
        clean: Callable[[], object] = nothing,
        **told: Any,
    ) -> None:
        """A side that does in a process of its own what `streaming` is told."""
        growth = self.growth.setdefault(name, [])

        def run(calls: int) -> float:
            took = here(**told) if self.bench.tiny and told["kind"] != "digest" else streamed(**told)
            growth.append(took.growth)
            return took.seconds

        self.sides.append(Side(name, role, run, prepare, before, clean, calls=1))

    def add_raw(self) -> None:
        """What sealing and digesting take by themselves."""
        self.add(GCM, "floor", kind="gcm", size=self.size, opening=self.way == "load")
        self.add(SHA, "floor", kind="digest", size=self.size)

    def add_ours(
        self, name: str, url: str, options: dict[str, Any], source: str, target: str | None, *, sealed: bool = True
    ) -> None:
        """artifactfs, plain and *sealed*: a save of *source*, or with a *target* a load."""
        for end, keys in (("", {}), (", sealed", {"keys": KEYS, "accept_plain": True}))[: 1 + sealed]:
            told: dict[str, Any] = {"url": url, "options": {**options, **keys}, "artifact": f"{name}{end}.bin"}
            mine = _Mine(**told)
            if target is None:
                more: dict[str, Any] = {"prepare": mine.open, "before": mine.forget, "kind": "save", "source": source}
            else:
                prepare = partial(mine.save, source)
                more = {"prepare": prepare, "before": _gone(target), "kind": "load", "target": target}
            self.add(name + end, "ours", clean=mine.forget, **more, **told)

    def compare(self, base: str, rounds: int, note: str = "") -> None:
        shown = f"{self.size // MIB} MB"
        name = f"{self.group}/{self.way}/{shown}"
        self.bench.compare(
            name, f"{self.way} of {shown}", self.sides, group=self.group, base=base, rounds=rounds, note=note
        )
        for side, grown in self.growth.items():
            self.bench.fact(name, "growth of peak memory", max(grown) / MIB, "MB", group=self.group, side=side)


class _Mine:
    """The artifact of one side, as it is cared for between what is measured."""

    def __init__(self, url: str, options: dict[str, Any], artifact: str) -> None:
        self.told, self.artifact = (url, options), artifact

    def open(self) -> None:
        url, options = self.told
        self.scope = ArtifactStore(url, **options).scope(*SCOPE)
        self.scope.save(small(self.artifact), b"small")

    def save(self, source: str) -> None:
        self.open()
        with open(source, "rb") as file:
            self.scope.save(self.artifact, file)

    def forget(self) -> None:
        """The disk need not hold all that is saved."""
        with contextlib.suppress(FileNotFoundError):
            self.scope.delete(self.artifact)


def _gone(path: str) -> Callable[[], None]:
    """What removes a file that may be there."""

    def remove() -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    return remove


def _sizes(bench: Bench) -> tuple[int, ...]:
    return bench.pick(tiny=(9 * MIB,), quick=(256 * MIB,), full=(256 * MIB, 2048 * MIB))


def _source(bench: Bench, size: int) -> str:
    """A file in memory of so many bytes."""
    path = f"{bench.folder()}/source.bin"
    piece = os.urandom(MIB)
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(piece)
    return path


def local(bench: Bench) -> None:
    """Between a file in memory and a store on a disk, against copies of files that are synced as the store's are."""
    for size in _sizes(bench):
        source, store, disk = _source(bench, size), bench.folder(on_disk=True), bench.folder(on_disk=True)
        copied, target = f"{disk}/copied.bin", f"{bench.folder()}/got.bin"
        rounds = bench.pick(tiny=1, quick=3, full=5 if size == _sizes(bench)[0] else 3)

        saves = _Streams(bench, "local", "save", size)
        saves.add_ours("artifactfs", store, {}, source, None)
        saves.add("copy, synced", "floor", before=_gone(copied), kind="copy", source=source, target=copied)
        saves.add_raw()
        saves.compare("copy, synced", rounds)

        loads = _Streams(bench, "local", "load", size)
        loads.add_ours("artifactfs", store, {}, source, target)
        loads.add("copy, synced", "floor", before=_gone(target), kind="copy", source=copied, target=target)
        loads.add_raw()
        loads.compare("copy, synced", rounds)
        for path in (source, copied, target):
            _gone(path)()


def s3(bench: Bench) -> None:
    """Between a file in memory and S3, against the upload and the download of a file that each engine has by itself."""
    for size in _sizes(bench):
        first = size == _sizes(bench)[0]
        # What is deleted stays with MinIO for minutes: of 2 GB there is no room for that in memory.
        server = bench.s3 if first else bench.server("minio", on_disk=True)
        source, target = _source(bench, size), f"{bench.folder()}/got.bin"
        url = bench.bucket(server)
        bare = s3_told(url.split("/")[2], server.url, server.key, server.secret)
        saves, loads = _Streams(bench, "s3", "save", size), _Streams(bench, "s3", "load", size)
        for name, told in engines(server, url).items():
            engine = told["engine"]
            if engine == "s3fs" and not first:
                continue
            options = {key: value for key, value in told.items() if key != "url"}
            more: dict[str, Any] = {"path": f"{engine}.bin", **bare}
            saves.add_ours(name, url, options, source, None)
            saves.add(engine, "floor", kind=f"{engine}_put", source=source, **more)
            loads.add_ours(name, url, options, source, target)
            loads.add(engine, "floor", before=_gone(target), kind=f"{engine}_get", target=target, **more)
            if engine == "s3fs" and not bench.tiny:
                saves.add_ours(UNSIGNED, url, {**options, **PARTS_UNSIGNED}, source, None, sealed=False)
        saves.add_raw()
        loads.add_raw()
        rounds = bench.pick(tiny=1, quick=2, full=5 if first else 2)
        saves.compare("obstore", rounds, SIGNED if first else ON_DISK)
        loads.compare("obstore", rounds, "" if first else ON_DISK)
        for path in (source, target):
            _gone(path)()
