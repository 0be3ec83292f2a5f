"""Pruning, collecting, rotating keys and undoing, all at once and again and again, beside four savers who lose nothing."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore, RetentionPolicy, VersionNotFound
from artifactfs.errors import ArtifactNotFound
from artifactfs.keys.keyring import new_key
from artifactfs.retention import RetentionRule
from artifactfs.store import Scope

from .servers import Server

SAVERS = 4
NAMES = ["report.csv", "notes/day.md", "user:shared.json"]
KEPT = 5
AT_A_TIME = 24
"""Saves for each chore: savers are faster than it, and the more they have saved the longer it takes."""

POLICY = RetentionPolicy(rules=(RetentionRule(keep_last=KEPT),))

Saved = tuple[str, int, bytes]


def run(open_store: Callable[[], ArtifactStore], rounds: Iterator[int]) -> list[Saved]:
    """What savers were told that it is saved while everything else was done beside them, each by a store of its own."""
    scopes = [open_store().scope("shop", "alice", "s1") for _ in range(SAVERS)]
    for name in NAMES:
        scopes[0].save(name, b"first")
        scopes[0].tag(name, "first", 0)
    began = datetime.now(UTC)
    over, turns = threading.Event(), threading.Semaphore(0)

    def save(scope: Scope) -> list[Saved]:
        saved: list[Saved] = []
        while turns.acquire() and not over.is_set():
            name, data = NAMES[len(saved) % len(NAMES)], f"{len(saved)} by {id(scope)}".encode()
            saved.append((name, scope.save(name, data).version, data))
        return saved

    house = open_store()
    session = house.scope("shop", "alice", "s1")

    def prune() -> None:
        house.prune(POLICY)

    def undo() -> None:
        session.restore_all(at=began)

    with ThreadPoolExecutor(SAVERS) as pool:
        savers = [pool.submit(save, scope) for scope in scopes]
        try:
            for _ in rounds:
                for chore in (
                    prune,
                    lambda: house.rotate(to="v2"),
                    undo,
                    house.gc,
                    prune,
                    lambda: house.rotate(to="v1"),
                ):
                    turns.release(AT_A_TIME)
                    chore()
        finally:
            over.set()
            turns.release(SAVERS)
        saved = [one for saver in savers for one in saver.result()]
    prune()
    return saved


def lost(scope: Scope, saved: list[Saved]) -> list[Saved]:
    """Versions that are gone or other than they were saved, although the policy keeps them."""
    found = []
    there = {name: scope.versions(name) for name in NAMES}
    for name, number, data in saved:
        try:
            kept = scope.load(name, number).data == data
        except (VersionNotFound, ArtifactNotFound):
            kept = sum(other > number for other in there[name]) >= KEPT
        if not kept:
            found.append((name, number, data))
    return found


def proved(url: object, rounds: Iterator[int], **options: Any) -> None:
    keys = f"{new_key('v1')},{new_key('v2')}"

    def open_store() -> ArtifactStore:
        return ArtifactStore(str(url), keys=keys, active_key_id="v1", **options)

    saved = run(open_store, rounds)
    with open_store() as store:
        scope = store.scope("shop", "alice", "s1")
        assert len({(name, number) for name, number, _ in saved}) == len(saved)
        assert lost(scope, saved) == []
        assert all(scope.load(name, "first").data == b"first" for name in NAMES)
        assert any(number not in scope.versions(name) for name, number, _ in saved), "nothing was pruned"
        assert not store.verify_all().damaged


def seconds(count: float) -> Iterator[int]:
    end = time.monotonic() + count
    return itertools.takewhile(lambda _: time.monotonic() < end, itertools.count())


def test_on_a_disk_nothing_is_lost_that_the_policy_keeps(tmp_path: Path) -> None:
    proved(tmp_path, iter(range(2)), durability="none")


def test_on_s3_nothing_is_lost_that_the_policy_keeps(moto: Server) -> None:
    proved(moto.bucket(), iter(range(1)), **moto.storage_options)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("minio", marks=pytest.mark.server("minio")),
        pytest.param("ceph", marks=pytest.mark.server("ceph")),
        pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs")),
        "disk",
    ],
)
def test_for_a_minute_nothing_is_lost_that_the_policy_keeps(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "disk":
        proved(tmp_path, seconds(60))
    else:
        server: Server = request.getfixturevalue(name)
        proved(server.bucket(), seconds(60), **server.storage_options)


def test_control_a_prune_that_keeps_less_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    less = RetentionPolicy(rules=(RetentionRule(keep_last=1),))
    monkeypatch.setattr(sys.modules[__name__], "POLICY", less)
    with pytest.raises(AssertionError):
        proved(tmp_path, iter(range(1)), durability="none")
