"""Sides that several cases make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.servers import Server

from ..bench import Bench
from ..harness import Role, Side, nothing
from ..services import Service, Work, drive


def repeated(do: Callable[[], object]) -> Callable[[int], None]:
    """What a side runs: *do*, so many times."""

    def run(calls: int) -> None:
        for _ in range(calls):
            do()

    return run


def filled(
    bench: Bench,
    name: str,
    role: Role,
    service: str,
    told: dict[str, Any],
    work: Work,
    *,
    saves: Sequence[str] = (),
    fill: Callable[[], object] = nothing,
    calls: int | None = None,
) -> Side:
    """A side that does *work* with a service which first saves these names, and whose store *fill* then adds to."""
    kept: list[Any] = []

    def prepare() -> None:
        kept.append(bench.open(service, told))
        if saves:
            bench.drive(kept[0], Work("save", tuple(saves)), len(saves))
        fill()

    def clean() -> None:
        for made in kept:
            made.close()

    return Side(name, role, lambda calls: bench.drive(kept[0], work, calls), prepare, clean=clean, calls=calls)


def awaited(
    name: str, kind: Callable[..., Service], told: dict[str, Any], work: Work, calls: int | None = None
) -> Side:
    """A floor that no other case has."""
    kept: list[Service] = []

    def clean() -> None:
        for made in kept:
            made.close()

    return Side(
        name,
        "floor",
        lambda times: drive(kept[0], work, times),
        lambda: kept.append(kind(**told)),
        clean=clean,
        calls=calls,
    )


def engines(server: Server, url: str) -> dict[str, dict[str, Any]]:
    """What opens the store at *url* of an S3 server by each engine, by the name of the side that does so."""
    told = {"url": url, **server.storage_options}
    return {"artifactfs": {**told, "engine": "obstore"}, "artifactfs on s3fs": {**told, "engine": "s3fs"}}
