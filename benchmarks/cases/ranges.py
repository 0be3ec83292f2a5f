"""Parts of long artifacts: ranges of a version that is open, and one column of a Parquet file by its URL."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from artifactfs import ArtifactStore
from tests.servers import Server

from ..bench import Bench
from ..floors import Obstore, S3fs
from ..harness import Role, Side
from ..services import SCOPE, s3_told
from ..streaming import MIB
from .common import engines, repeated
from .streams import KEYS

KIB = 1024
LENGTHS = {"1 KB": KIB, "64 KB": 64 * KIB, "1 MB": MIB}
PLACES = {"local": "in a folder in memory", "s3": "on S3"}
S3_KEY = "prefix/bare.bin"

Read = Callable[[int, int], object]
"""Reads so many bytes from a place."""


def ranges(bench: Bench) -> None:
    """At random places of 64 MB, plain and sealed, in a folder in memory and over S3."""
    size = bench.pick(tiny=2 * MIB, quick=64 * MIB, full=64 * MIB)
    data = random.Random(0).randbytes(size)
    root = bench.folder()
    bare = f"{root}/bare.bin"
    with open(bare, "wb") as file:
        file.write(data)
    with contextlib.ExitStack() as opened:
        local = {"a plain file": _of(opened.enter_context(open(bare, "rb")))}
        local |= _ours(opened, "artifactfs", {"url": f"{root}/store"}, data)
        _compare(bench, "local", local, size, "a plain file")

        server = bench.s3
        url = bench.bucket(server)
        told = s3_told(url.split("/")[2], server.url, server.key, server.secret)
        obstore, s3fs = Obstore(**told).store, S3fs(**told)
        obstore.put(S3_KEY, data)
        path = f"{s3fs.bucket}/{S3_KEY}"
        remote: dict[str, Read] = {
            "obstore": lambda place, length: obstore.get_range(S3_KEY, start=place, length=length),
            "s3fs": lambda place, length: s3fs.fs.cat_file(path, start=place, end=place + length),
        }
        for name, mine in engines(server, url).items():
            remote |= _ours(opened, name, mine, data)
        _compare(bench, "s3", remote, size, "obstore")
    _requests(bench, server, url, size)


SEALED: dict[str, dict[str, Any]] = {"": {}, ", sealed": {"keys": KEYS, "accept_plain": True}}
"""Options of a store, by what the names of sides and artifacts end in."""


def _ours(opened: contextlib.ExitStack, name: str, told: dict[str, Any], data: bytes) -> dict[str, Read]:
    """A version that was opened, plain and sealed."""
    made = {}
    for end, keys in SEALED.items():
        scope = ArtifactStore(**told, **keys).scope(*SCOPE)
        scope.save(name + end, data)
        made[name + end] = _of(opened.enter_context(scope.open(name + end)))
    return made


def _of(file: Any) -> Read:
    def read(place: int, length: int) -> None:
        file.seek(place)
        assert len(file.read(length)) == length

    return read


def _compare(bench: Bench, where: str, sides: dict[str, Read], size: int, base: str) -> None:
    for shown, length in LENGTHS.items():
        each = []
        for name, read in sides.items():
            places = itertools.cycle(random.Random(1).sample(range(size - length), 500))
            role: Role = "ours" if name.startswith("artifactfs") else "floor"
            each.append(Side(name, role, repeated(partial(_next, read, places, length))))
        bench.compare(f"ranges/{where}/{shown}", f"{shown}, {PLACES[where]}", each, group="ranges", base=base)


def _next(read: Read, places: Iterator[int], length: int) -> None:
    read(next(places), length)


def _requests(bench: Bench, server: Server, url: str, size: int) -> None:
    """The requests and bytes of a read at a new place of a file that is open."""
    with bench.counted(server) as (front, proxy):
        for name, told in engines(front, url).items():
            for end, keys in SEALED.items():
                scope = ArtifactStore(**told, **keys, read_only=True).scope(*SCOPE)
                with scope.open(name + end) as file:
                    for (shown, length), place in zip(LENGTHS.items(), (size // 8, size // 4, size // 2), strict=True):
                        file.seek(place)
                        with proxy.counted() as seen:
                            file.read(length)
                        about, group = f"ranges/s3/{shown}", "ranges"
                        bench.fact(about, "requests", len(seen), "requests", group=group, side=name + end)
                        got = sum(request.answer_bytes for request in seen)
                        bench.fact(about, "bytes received", got, "B", group=group, side=name + end)


# --- Parquet ----------------------------------------------------------------------------------------------------------

COLUMNS = 20
PATH = f"{'/'.join(SCOPE)}/table.parquet"


def columns(bench: Bench) -> None:
    """One of 20 columns of a Parquet file of 32 MB by `pandas.read_parquet`: by its URL, by s3fs's, from a plain file."""
    import pandas as pd

    rows = bench.pick(tiny=2000, quick=200_000, full=200_000)
    root = bench.folder()
    bare = f"{root}/table.parquet"
    _table(rows).to_parquet(bare, row_group_size=rows // 4)
    with open(bare, "rb") as file:
        ArtifactStore(f"{root}/store").scope(*SCOPE).save("table.parquet", file)

    def read(url: str, **options: Any) -> None:
        found = pd.read_parquet(url, columns=["c07"], storage_options=options or None)
        assert found.shape == (rows, 1)

    mine = partial(read, f"artifact://{PATH}")
    local = [
        Side("artifact://", "ours", repeated(partial(mine, root=f"{root}/store"))),
        Side("a plain file", "floor", repeated(partial(read, bare))),
    ]
    bench.compare("columns/local", "from a folder in memory", local, group="columns", base="a plain file")

    server = bench.s3
    url = bench.bucket(server)
    for told in engines(server, url).values():
        with open(bare, "rb") as file:
            ArtifactStore(**told).scope(*SCOPE).save("table.parquet", file)
    bucket = url.split("/")[2]
    with open(bare, "rb") as file:
        server.client().put_object(Bucket=bucket, Key="bare.parquet", Body=file)
    with bench.counted(server) as (front, proxy):
        remote = []
        for side, plain, counted in _readers(server, front, url, mine, partial(read, f"s3://{bucket}/bare.parquet")):
            remote.append(Side(side, "floor" if side == "s3fs" else "ours", repeated(plain)))
            with proxy.counted() as seen:
                counted()
            group = "columns"
            bench.fact("columns/s3", "requests", len(seen), "requests", group=group, side=side)
            bytes_ = sum(request.answer_bytes for request in seen)
            bench.fact("columns/s3", "bytes received", bytes_, "B", group=group, side=side)
        bench.compare("columns/s3", "over S3", remote, group="columns", base="s3fs")


def _readers(
    server: Server, front: Server, url: str, mine: Callable[..., None], bare: Callable[..., None]
) -> list[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Sides, and what each of them does: straight, and through the proxy that counts."""
    found: list[tuple[str, Callable[[], None], Callable[[], None]]] = []
    counting = engines(front, url)
    for name, told in engines(server, url).items():
        straight, counted = (
            partial(mine, root=one["url"], **{key: value for key, value in one.items() if key != "url"})
            for one in (told, counting[name])
        )
        found.append((name, straight, counted))
    found.append(("s3fs", partial(bare, **server.own_options), partial(bare, **front.own_options)))
    return found


def _table(rows: int) -> Any:
    import numpy as np
    import pandas as pd

    dice = np.random.default_rng(0)
    return pd.DataFrame({f"c{column:02}": dice.random(rows) for column in range(COLUMNS)})
