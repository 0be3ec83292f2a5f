"""The race: many processes save one name as fast as they can. How many saves are kept, what is raised, what is uploaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from .. import services
from ..bench import Bench
from ..harness import Role, Side, nothing
from ..services import Work
from ..worker import Worker
from .small import ours_s3, told_s3

NAME = "raced.bin"
SIZE = 64 * 1024
"""Bytes of a payload: as in the tests of the races, so that records weigh what they weigh beside a small file."""


@dataclass
class Runner:
    """One of those that race: a place is made afresh for each race."""

    name: str
    role: Role
    service: str
    place: Callable[[], dict[str, Any]]
    server: str = ""


def race(bench: Bench) -> None:
    """On a folder and on servers; the wall time of each race, and what became of its saves."""
    for runners, saves in bench.pick(tiny=((2, 3),), quick=((8, 50),), full=((8, 50), (32, 50))):
        label = f"{runners} x {saves}"
        found = _runners(bench, slow=bench.size.name == "full" and runners == 8)
        lost = {one.name: Tally() for one in found}
        sides = [_side(bench, one, runners, saves, lost[one.name]) for one in found]
        bench.compare(
            f"race/{label}",
            f"{label} saves of one name",
            sides,
            group="race",
            base="artifactfs, folder",
            rounds=bench.pick(tiny=1, quick=1, full=2 if runners == 8 else 1),
            note="A folder in memory; MinIO; fake-gcs-server. Payloads of 64 KB. Peers that lose saves are fast by it.",
        )
        for one in found:
            tally = lost[one.name]
            bench.fact(f"race/{label}", "saves kept (the fewest)", min(tally.kept), group="race", side=one.name)
            bench.fact(f"race/{label}", "acknowledged and lost", max(tally.lost), group="race", side=one.name)
            bench.fact(f"race/{label}", "exceptions", max(tally.raised), group="race", side=one.name)
        for one in found:
            if one.server:
                ratio = _uploaded(bench, one, runners, saves)
                bench.fact(f"race/{label}", "uploaded / stored", ratio, "x", group="race", side=one.name)


@dataclass
class Tally:
    """Of each race: versions that are there, saves that were acknowledged and are not, and exceptions."""

    kept: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    raised: list[int] = field(default_factory=list)


def _runners(bench: Bench, *, slow: bool) -> list[Runner]:
    """Those that race; with *slow* also those that take long, and the peers that lose saves."""

    def folder(**more: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {"url": bench.folder(), **more}

    def root() -> dict[str, Any]:
        return {"root": bench.folder()}

    s3 = bench.s3
    found = [
        Runner("artifactfs, folder", "ours", "artifactfs", folder()),
        Runner("artifactfs, S3 by obstore", "ours", "artifactfs", lambda: ours_s3(bench, "obstore"), s3.name),
    ]
    if slow:
        found.append(Runner("artifactfs, S3 by s3fs", "ours", "artifactfs", lambda: ours_s3(bench, "s3fs"), s3.name))
    if bench.has_peers():
        found.append(Runner("ADK file", "peer", "adk-file", root))
        if slow:
            found.append(Runner("Solace filesystem", "peer", "solace", root))
            found.append(Runner("Solace S3", "peer", "solace-s3", lambda: told_s3(s3), s3.name))
        if slow and bench.has("fake_gcs"):
            found.append(Runner("ADK GCS", "peer", "adk-gcs", lambda: told_gcs(bench), "fake_gcs"))
    if slow and find_spec("pins") is not None:
        found.append(Runner("pins", "peer", "pins", root))
    if bench.tiny:  # a race of each kind; the others differ in nothing but their service
        found = [one for one in found if one.name in ("artifactfs, S3 by obstore", "artifactfs, folder", "ADK file")]
    return found


def told_gcs(bench: Bench) -> dict[str, Any]:
    server = bench.server("fake_gcs")
    return {"bucket": server.bucket("").partition("://")[2], "endpoint": server.url}


def _side(bench: Bench, one: Runner, runners: int, saves: int, tally: Tally) -> Side:
    def run(_: int) -> float:
        seconds, acknowledged, raised, stored = _race(bench, one, one.place(), runners, saves)
        there = set(stored)
        tally.kept.append(len(there))
        tally.lost.append(sum(save not in there for save in acknowledged))
        tally.raised.append(raised)
        return seconds

    return Side(one.name, one.role, run, calls=1)


def _race(
    bench: Bench,
    one: Runner,
    told: dict[str, Any],
    runners: int,
    saves: int,
    looked_at: dict[str, Any] | None = None,
    begin: Callable[[], object] = nothing,
) -> tuple[float, list[str], int, list[str]]:
    """One race; its seconds, what was acknowledged, how often something was raised, and what is there afterwards.

    What the first save into a bucket finds out about it, it finds out before *begin* is called and the race begins.
    """
    peers = services.of_peers(one.service)
    # Those of the peers take seconds to start, which a test spares itself.
    workers = bench.workers(1 if bench.tiny and peers else runners, peers=peers)
    together(workers, "open", key="race", service=one.service, told=told)
    workers[0].ask("drive", key="race", work=Work("save", ("opened.csv",), 16).__dict__, calls=1)
    begin()
    at = time.perf_counter() + 0.1 + runners / 100
    for who, worker in enumerate(workers):
        worker.send("race", key="race", name=NAME, who=who, saves=saves, size=SIZE, at=at)
    ran = [worker.answer() for worker in workers]
    together(workers, "close", key="race")
    reader = workers[0]
    reader.ask("open", key="after", service=one.service, told=looked_at or told)
    stored = reader.ask("stored", key="after", name=NAME)
    reader.ask("close", key="after")
    acknowledged = [save for each in ran for save in each["acknowledged"]]
    seconds = max(each["ended"] for each in ran) - at
    return seconds, acknowledged, sum(len(each["raised"]) for each in ran), stored


def together(workers: list[Worker], do: str, **told: Any) -> None:
    """Ask all of them at once, and wait for all."""
    for worker in workers:
        worker.send(do, **told)
    for worker in workers:
        worker.answer()


def _uploaded(bench: Bench, one: Runner, runners: int, saves: int) -> float:
    """One more race behind a proxy: the bytes of all bodies sent, over those of the payloads that are kept."""
    server = bench.server(one.server)
    direct = one.place()
    with bench.counted(server) as (through, proxy):
        endpoint = "endpoint_url" if "endpoint_url" in direct else "endpoint"
        stored = _race(bench, one, {**direct, endpoint: through.url}, runners, saves, direct, proxy.clear)[3]
        uploaded = sum(request.body_bytes for request in proxy.requests if request.method in ("PUT", "POST", "PATCH"))
    return uploaded / (len(set(stored)) * SIZE)
