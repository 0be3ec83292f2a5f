"""Saves that race, from processes, threads, tasks and both sides of a fork, lose nothing and share nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore, AsyncArtifactStore
from artifactfs.errors import VersionNotFound

from .proxy import Proxy, in_front_of
from .race_workers import (
    NAME,
    Pool,
    Saved,
    count_up,
    digest,
    meddle,
    opened,
    payload,
    save_across_a_fork,
    save_many,
)
from .servers import Server

Where = tuple[str, dict[str, Any]]
RUNNERS, SAVES, SIZE = 8, 50, 64 * 1024


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    made = Pool(RUNNERS)
    yield made
    made.close()


_RACING = [
    # In Python, and listed often: minutes where the others take seconds.
    *(pytest.param(name, marks=pytest.mark.nightly) for name in ("moto", "ministack")),
    *(pytest.param(name, marks=pytest.mark.server(name)) for name in ("ceph", "minio", "fake_gcs")),
]


@pytest.fixture(params=_RACING)
def racing_server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


def where(server: Server, proxy: Proxy | None = None) -> Where:
    return server.bucket(), (server if proxy is None else server.at(proxy.url)).storage_options


def nothing_was_lost(where: Where, runs: list[tuple[list[Saved], list[str]]], expected: int) -> None:
    """Every save was acknowledged and is there under a number of its own, from 0 without a gap, with its own bytes."""
    raised = [error for _, errors in runs for error in errors]
    assert raised == []
    acknowledged = [one for saved, _ in runs for one in saved]
    assert sorted(number for number, _ in acknowledged) == list(range(expected))
    with opened(where) as store:
        scope = store.scope("shop", "alice", "s1")
        assert scope.versions(NAME) == list(range(expected))
        with ThreadPoolExecutor(8) as several:
            loaded = several.map(lambda one: digest(scope.load(NAME, version=one[0]).data), acknowledged)
            assert [one for one, seen in zip(acknowledged, loaded, strict=True) if one[1] != seen] == []
        assert scope.load(NAME).record.version == expected - 1


# --- processes --------------------------------------------------------------------------------------------------------


def test_eight_processes_save_one_name_on_a_disk(pool: Pool, tmp_path: Path) -> None:
    place: Where = (str(tmp_path), {})
    nothing_was_lost(place, pool.race(save_many, place, SAVES, SIZE), RUNNERS * SAVES)


def test_eight_processes_save_one_name_on_a_server_and_upload_each_payload_once(
    pool: Pool, racing_server: Server
) -> None:
    with in_front_of(racing_server.url) as proxy:
        place = where(racing_server, proxy)
        # The server is probed here, so that what is counted is the saves' own.
        opened(place).scope("shop", "nobody", "s1").save("opened", b"")
        proxy.clear()
        runs = pool.race(save_many, place, SAVES, SIZE)
        uploaded = sum(each.body_bytes for each in proxy.requests)
    direct = place[0], racing_server.storage_options
    nothing_was_lost(direct, runs, RUNNERS * SAVES)
    stored = sum(record.size_bytes or 0 for record in opened(direct).scope("shop", "alice", "s1").history(NAME))
    assert stored == RUNNERS * SAVES * SIZE
    assert uploaded <= 1.1 * stored, f"{uploaded / stored:.3f} times what is stored"


def test_the_race_catches_a_store_that_looks_first_and_writes_then(pool: Pool, moto: Server) -> None:
    """The control: with single_writer=True a create looks first, which eight writers must not rely on."""
    url, options = where(moto)
    runs = pool.race(save_many, (url, {**options, "single_writer": True}), 10, 1000)
    with pytest.raises(AssertionError):
        nothing_was_lost((url, options), runs, RUNNERS * 10)


def counts_are_right(place: Where, runs: list[tuple[list[int], int]], expected: int) -> None:
    versions = sorted(number for made, _ in runs for number in made)
    assert len(set(versions)) == expected
    scope = opened(place).scope("shop", "alice", "s1")
    assert int(scope.load("counter").data) == expected
    # Each compare-and-set directly follows the one before: the values are those of the order of versions.
    assert [int(scope.load("counter", version=number).data) for number in versions] == list(range(1, expected + 1))


def test_eight_processes_count_by_compare_and_set_on_a_disk(pool: Pool, tmp_path: Path) -> None:
    place: Where = (str(tmp_path), {})
    counts_are_right(place, pool.race(count_up, place, 20), RUNNERS * 20)


def test_eight_processes_count_by_compare_and_set_on_a_server(pool: Pool, any_server: Server) -> None:
    place = where(any_server)
    counts_are_right(place, pool.race(count_up, place, 3), RUNNERS * 3)


def test_deletes_removals_and_listings_among_the_saves_take_nothing_else_away(pool: Pool, tmp_path: Path) -> None:
    place: Where = (str(tmp_path), {})
    scope = opened(place).scope("shop", "alice", "s1")
    scope.save("beside.txt", b"always there")
    runs = pool.race(meddle, place, 60)
    assert [run["missed"] for run in runs] == [0] * RUNNERS
    kept = {number: seen for run in runs for number, seen in run["saved"].items()}
    deleted = [number for run in runs for number in run["deleted"]]
    assert len(kept) == sum(len(run["saved"]) for run in runs)
    assert len(set(deleted)) == len(deleted) and not set(deleted) & kept.keys()
    assert scope.versions(NAME) == sorted(kept)
    assert {number: digest(scope.load(NAME, version=number).data) for number in kept} == kept
    for number in deleted:
        with pytest.raises(VersionNotFound):
            scope.load(NAME, version=number)
    assert scope.save(NAME, b"next").version > max([*kept, *deleted])


def test_processes_fork_in_the_middle_and_both_sides_go_on_saving_on_a_disk(pool: Pool, tmp_path: Path) -> None:
    place: Where = (str(tmp_path), {})
    nothing_was_lost(place, pool.race(save_across_a_fork, place, 10, 2000), RUNNERS * 30)


def test_processes_fork_in_the_middle_and_both_sides_go_on_saving_on_a_server(pool: Pool, moto: Server) -> None:
    place = where(moto)
    nothing_was_lost(place, pool.race(save_across_a_fork, place, 2, 2000), RUNNERS * 6)


# --- threads and tasks ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "local", "moto", pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs"))])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    if request.param == "memory":
        return f"memory://{tmp_path.name}-{id(tmp_path)}", {}
    if request.param == "local":
        return str(tmp_path), {}
    return where(request.getfixturevalue(request.param))


def test_thirty_two_threads_share_one_store(shared: Where) -> None:
    threads, turns = 32, 4
    start = threading.Barrier(threads)
    with opened(shared) as store:
        scope = store.scope("shop", "alice", "s1")

        def go(who: int) -> tuple[list[Saved], list[str]]:
            start.wait(60)
            done: list[Saved] = []
            for turn in range(turns):
                data = payload(who, turn, 2000)
                done.append((scope.save(NAME, data).version, digest(data)))
                assert scope.load(NAME, version=done[-1][0]).data == data
            return done, []

        with ThreadPoolExecutor(threads) as several:
            runs = list(several.map(go, range(threads)))
    nothing_was_lost(shared, runs, threads * turns)


def test_two_hundred_fifty_six_tasks_share_one_store(shared: Where) -> None:
    tasks = 256

    async def go() -> list[Saved]:
        async with AsyncArtifactStore(shared[0], **shared[1]) as store:
            scope = store.scope("shop", "alice", "s1")

            async def one(who: int) -> Saved:
                data = payload(who, 0, 500)
                return (await scope.save(NAME, data)).version, digest(data)

            return await asyncio.gather(*(one(who) for who in range(tasks)))

    nothing_was_lost(shared, [(asyncio.run(go()), [])], tasks)


def test_savers_of_one_store_do_not_conflict_with_each_other(moto: Server) -> None:
    """They take turns: each save costs its two requests, as if it were alone."""
    with in_front_of(moto.url) as proxy:
        store = opened(where(moto, proxy))
        scope = store.scope("shop", "alice", "s1")
        scope.save(NAME, b"first")
        proxy.clear()
        with ThreadPoolExecutor(16) as several:
            list(several.map(lambda who: scope.save(NAME, payload(who, 0, 500)), range(48)))
        # A hint, and what the savers ask who come when one has just been acknowledged, beside the two.
        assert len(proxy.requests) <= 2.5 * 48, [str(each) for each in proxy.requests]


def test_tasks_that_are_cancelled_leave_a_version_that_is_whole_or_none(shared: Where) -> None:
    async def go() -> list[bool]:
        async with AsyncArtifactStore(shared[0], **shared[1]) as store:
            scope = store.scope("shop", "alice", "s1")
            await scope.save(NAME, b"first")
            running = [asyncio.ensure_future(scope.save(NAME, payload(who, 0, 500))) for who in range(24)]
            await running[0]
            for task in running[1::2]:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            unexpected = [each for each in ended if isinstance(each, Exception)]
            assert unexpected == []
            return [isinstance(each, asyncio.CancelledError) for each in ended]

    cancelled = asyncio.run(go())
    scope = ArtifactStore(shared[0], **shared[1]).scope("shop", "alice", "s1")
    there = {digest(scope.load(NAME, version=number).data) for number in scope.versions(NAME)}
    own = [digest(payload(who, 0, 500)) for who in range(24)]
    assert there <= {digest(b"first"), *own}
    assert {seen for seen, lost in zip(own, cancelled, strict=True) if not lost} <= there
