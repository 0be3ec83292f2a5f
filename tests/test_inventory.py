"""Inventories: what making one asks of the store, and that none is ever half, forged, or of what was erased."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from artifactfs import (
    AccessDenied,
    ArtifactStore,
    BackendError,
    IntegrityError,
    InvalidConfig,
    KeyUnavailable,
    UnsupportedFormat,
)
from artifactfs.backends.base import Abilities, Written
from artifactfs.backends.memory import MemoryBackend
from artifactfs.custody import NONE
from artifactfs.drivers import run
from artifactfs.inventory import manifest as manifests
from artifactfs.inventory import refresh
from artifactfs.inventory.manifest import FOLDER, KEY, Manifest
from artifactfs.inventory.table import Table
from artifactfs.keys.keyring import new_key
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Delete, Get, List, Put
from artifactfs.testing.counting import Call, Counting, store_over

from .proxy import in_front_of
from .servers import Server

_fresh = count()


def url() -> str:
    return f"memory://inventory-{next(_fresh)}"


@pytest.fixture
def counted() -> tuple[ArtifactStore, Counting]:
    counting = Counting(MemoryBackend(url()))
    return store_over(counting, ArtifactStore), counting


def fill(store: ArtifactStore, artifacts: int, versions: int = 1) -> None:
    for number in range(artifacts):
        for _ in range(versions):
            store.scope("shop", "alice", "s1").save(f"{number:04}.txt", b"1")


def files(store: ArtifactStore) -> dict[str, bytes]:
    """All that the inventory consists of, orphans included."""

    def steps() -> Any:
        (page,) = yield (List(FOLDER),)
        got = {}
        for entry in page.entries:
            (one,) = yield (Get(FOLDER + entry.name),)
            got[entry.name] = one.data
        return got

    found: dict[str, bytes] = run(steps(), store.backend)
    return found


def put(store: ArtifactStore, name: str, data: bytes) -> None:
    def steps() -> Any:
        yield (Put(FOLDER + name, data, "application/octet-stream"),)

    run(steps(), store.backend)


def rows(store: ArtifactStore, column: str = "key") -> set[Any]:
    """A column of every Parquet file that there is, whether the manifest names it or not."""
    table = Table()
    try:
        paths = [table.hold(name, data) for name, data in files(store).items() if name != "manifest"]
        table.view("all_rows", paths)
        return {value for (value,) in table.rows(f'SELECT "{column}" FROM all_rows')}
    finally:
        table.close()


def names(store: ArtifactStore, **asked: Any) -> list[str]:
    hits = store.search(**asked)
    assert hits.hint == ""
    return [hit.name for hit in hits]


def scanned(store: ArtifactStore) -> list[str]:
    return [hit.name for hit in ArtifactStore(store.url, read_only=True).search(fresh=True)]


# --- requests ---------------------------------------------------------------------------------------------------------


def kinds(calls: list[Call]) -> dict[str, int]:
    told: dict[str, int] = {}
    for call in calls:
        told[call.method] = told.get(call.method, 0) + 1
    return told


def test_making_an_inventory_lists_the_store_and_reads_each_record_once(
    counted: tuple[ArtifactStore, Counting],
) -> None:
    store, counting = counted
    fill(store, 30, versions=2)
    counting.taken()
    made = store.inventory()
    # the manifest, absent, then its stand-in; the inventory's folder, then the store's 120 keys; one file
    assert kinds(counting.taken()) == {"now": 1, "get": 2 + 60, "list": 2, "create": 1 + 1, "replace": 1}
    assert (made.read, made.rows, made.files) == (60, 60, 1)


def test_a_refresh_lists_and_reads_what_is_new_alone(counted: tuple[ArtifactStore, Counting]) -> None:
    store, counting = counted
    fill(store, 30, versions=2)
    store.inventory()
    counting.taken()
    assert store.inventory().read == 0
    nothing_new = counting.taken()
    assert kinds(nothing_new) == {"now": 1, "get": 1 + 1, "list": 2, "replace": 1}
    store.scope("shop", "alice", "s1").save("0007.txt", b"22")
    store.scope("shop", "bob", "s1").save("new.txt", b"22")
    store.scope("shop", "alice", "s1").remove("0008.txt")
    store.scope("shop", "alice", "s1").delete("0009.txt", 1)
    counting.taken()
    assert store.inventory().read == 3
    assert kinds(counting.taken()) == {"now": 1, "get": 1 + 1 + 3, "list": 2, "create": 1, "replace": 1}
    assert store.inventory().read == 0
    assert kinds(counting.taken()) == {"now": 1, "get": 1 + 2, "list": 2, "replace": 1}


def test_a_listing_page_of_a_refresh_is_a_thousand_keys(counted: tuple[ArtifactStore, Counting]) -> None:
    store, counting = counted
    fill(store, 550)
    counting.taken()
    store.inventory()
    assert sum(call.method == "list" and call.key == "" for call in counting.taken()) == 2


def test_what_is_no_version_is_not_read_again(counted: tuple[ArtifactStore, Counting]) -> None:
    store, counting = counted
    fill(store, 3, versions=2)
    artifact = store.scope("shop", "alice", "s1").id.artifact("0001.txt")
    backend = counting.inner
    there = run_one(backend, Get(artifact.payload(1)))
    store.scope("shop", "alice", "s1").delete("0001.txt", 1)
    run_one(backend, Put(artifact.payload(1), there.data, "text/plain"))  # an interrupted delete leaves it
    assert store.inventory().read == 6
    assert store.inventory().read == 0
    assert len(names(store, all_versions=True)) == 5


def run_one(backend: Any, op: Any) -> Any:
    def steps() -> Any:
        (answer,) = yield (op,)
        return answer

    return run(steps(), backend)


def synthetic(versions: int, backend: Any) -> None:
    """An inventory of so many versions, five of each artifact, by the module's own writer."""
    table = Table()
    try:
        run(refresh.load(table, (), None), backend)
        table.run(f"CREATE TABLE changes ({refresh.COLUMNS})")
        table.run(
            """
            INSERT INTO changes
            SELECT folder || v, folder, 'shop', usr, 's1', name, v, 'blob', NULL, 'text/csv', v * 1000 + n % 100,
                TIMESTAMP '2026-01-01' + to_seconds(n * 5 + v), sha256(folder || v),
                '{"team":"' || (n % 7) || '","run":' || n || ',"note":"' || repeat('x', 40) || '"}', 1, 1.0, 1, 1.0
            FROM (
                SELECT n, v, 'user' || (n % 100) AS usr, 'report ' || n || '.csv' AS name,
                    'shop/' || usr || '/s1/' || name || '/' AS folder
                FROM range(?) AS a(n), range(5) AS b(v)
            )
            """,
            [versions // 5],
        )
        made, _ = run(refresh._written(Env(), table, Manifest(write_id=""), 1e9), backend)
        assert run(manifests.write(Env(), NONE, made, None), backend)
    finally:
        table.close()


def changed(where: str, backend: Any) -> None:
    """Publish that the versions *where* have another digest, as a refresh would that found them changed."""

    def steps() -> Any:
        state = yield from manifests.read(NONE)
        table = Table()
        yield from refresh.load(table, state.manifest.base, state.manifest.delta)
        table.run(f"CREATE TABLE changes AS SELECT * REPLACE ('x' AS sha256) FROM known WHERE {where}")
        made, _ = yield from refresh._written(Env(), table, state.manifest, 2e9)
        table.close()
        assert made.delta is not None and made.base == state.manifest.base
        assert (yield from manifests.write(Env(), NONE, made, state.tag))

    run(steps(), backend)


@pytest.mark.server("moto")
def test_a_search_over_200_000_records_takes_three_requests_at_most(moto: Server) -> None:
    with in_front_of(moto.url) as proxy, ArtifactStore(moto.bucket(), **moto.at(proxy.url).storage_options) as store:
        synthetic(200_000, store.backend)
        with proxy.counted() as seen:
            (hit,) = store.search("report 12345.csv")
        assert [request.method for request in seen] == ["GET", "GET"]
        assert (hit.version, hit.newest, hit.metadata["run"]) == (4, True, 12345)
        assert sum(1 for _ in store.search(metadata={"team": "3"}, min_size=4050)) == 2857
        changed("name LIKE '% 77.csv'", store.backend)
        with proxy.counted() as seen:
            assert [hit.sha256 for hit in store.search("report 77.csv")] == ["x"]
        assert [request.method for request in seen] == ["GET", "GET", "GET"]


def test_a_search_of_one_user_reads_the_files_that_may_tell_of_them(
    counted: tuple[ArtifactStore, Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "PART_WEIGHT", 2000)
    store, counting = counted
    for number in range(10):
        for name in "abcdefghij":
            store.scope("shop", f"user{number}", "s1").save(name, b"1")
    made = store.inventory()
    assert made.files == 11
    counting.taken()
    assert len(names(store, app="shop", user="user5")) == 10
    assert 2 <= kinds(counting.taken())["get"] <= 3
    assert len(names(store)) == 100
    assert kinds(counting.taken())["get"] == 12


# --- what is written --------------------------------------------------------------------------------------------------


def test_small_changes_are_written_into_a_small_file_and_merged_once_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refresh, "LEAST_DELTA", 1000)
    store = ArtifactStore(url())
    fill(store, 20)
    store.inventory()
    (base,) = set(files(store)) - {"manifest"}
    fill(store, 2)
    store.inventory()
    (delta,) = set(files(store)) - {"manifest", base}
    assert len(files(store)[delta]) < len(files(store)[base])
    fill(store, 4)
    made = store.inventory()
    assert made.files == 1 and made.rows == 26
    assert names(store) == scanned(store)


def test_files_that_no_manifest_names_go_once_nobody_can_be_about_to_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(url())
    fill(store, 2)
    store.inventory()
    put(store, "orphan.parquet", b"of a refresh that crashed")
    store.inventory()
    assert "orphan.parquet" in files(store)
    monkeypatch.setattr(refresh, "KEEP", -1.0)
    store.inventory()
    assert set(files(store)) == {"manifest", *(part.name for part in _manifest(store).parts)}
    assert names(store) == ["0000.txt", "0001.txt"]


def _manifest(store: ArtifactStore) -> Manifest:
    return msgspec.json.decode(files(store)["manifest"], type=Manifest)


def test_a_record_that_could_not_be_read_is_read_again() -> None:
    store = ArtifactStore(url())
    scope = store.scope("shop", "alice", "s1")
    scope.save("a.txt", b"1", metadata={"team": "red"})
    key = scope.id.artifact("a.txt").record(0)
    whole = run_one(store.backend, Get(key)).data
    run_one(store.backend, Put(key, b"?" * len(whole), "application/json"))
    store.inventory()
    assert names(store, metadata={"team": "red"}) == [] and names(store) == ["a.txt"]
    run_one(store.backend, Put(key, whole, "application/json"))
    assert names(store, metadata={"team": "red"}, fresh=True) == ["a.txt"]


def test_payloads_of_other_programs_are_in_it() -> None:
    store = ArtifactStore(url())
    run_one(store.backend, Put("shop/alice/s1/table.csv/3", b"a,b", "text/csv"))
    run_one(store.backend, Put("shop/alice/s1/table.csv/notes", b"no version", "text/plain"))
    run_one(store.backend, Put("stray", b"nothing of ours", "text/plain"))
    store.inventory()
    (hit,) = store.search()
    assert (hit.name, hit.version, hit.mime_type, hit.size_bytes, hit.sha256) == ("table.csv", 3, "text/csv", 3, None)
    assert store.inventory().read == 0


def test_a_folder_that_no_name_is_spelled_as_is_an_error_and_no_guess() -> None:
    store = ArtifactStore(url())
    fill(store, 1)
    run_one(store.backend, Put("shop/alice/s1/.hidden/0", b"1", "text/plain"))
    for look in (store.inventory, lambda: list(store.search())):
        with pytest.raises(IntegrityError, match="hidden"):
            look()


def test_a_tag_that_moves_is_seen() -> None:
    store = ArtifactStore(url())
    fill(store, 1, versions=3)
    scope = store.scope("shop", "alice", "s1")
    for number in (0, 2, 1):
        scope.tag("0000.txt", "prod", number)
        assert [hit.version for hit in store.search(tag="prod", fresh=True)] == [number]
    scope.untag("0000.txt", "prod")
    assert names(store, tag="prod", fresh=True) == []


def test_an_empty_store_has_an_empty_inventory() -> None:
    store = ArtifactStore(url())
    made = store.inventory()
    assert (made.rows, made.files, made.size_bytes) == (0, 0, 0)
    assert names(store) == []


# --- many at once -----------------------------------------------------------------------------------------------------


def test_refreshers_and_savers_at_once_leave_a_whole_inventory(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, durability="none")
    fill(store, 5)
    failed: list[BaseException] = []

    def work(what: Callable[[int], Any]) -> None:
        try:
            for number in range(4):
                what(number)
        except BaseException as error:
            failed.append(error)

    def search(_: int) -> None:
        hits = store.search("0*")
        assert len(list(hits)) >= 5

    jobs: list[Callable[[int], Any]] = [
        lambda _: store.inventory(),
        lambda _: store.inventory(),
        lambda number: store.scope("shop", "bob", "s1").save(f"new{number}", b"1"),
        search,
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for error in failed if not isinstance(error, BackendError)] == []
    assert names(store, fresh=True) == scanned(store)
    assert {part.name for part in _manifest(store).parts} <= files(store).keys()


class Interfering(Counting):
    """Does something before the first call of *method* on a key that starts with *prefix*."""

    def __init__(self, inner: Any, method: str, prefix: str, act: Callable[[], Any]) -> None:
        super().__init__(inner)
        self._at, self._act, self.acted = (method, prefix), act, 0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name != self._at[0]:
            return value

        async def interfered(key: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.acted and isinstance(key, str) and key.startswith(self._at[1]):
                self.acted = 1
                self._act()
            return await value(key, *args, **kwargs)

        return interfered


def test_a_refresh_gives_way_to_one_that_began_later() -> None:
    other = ArtifactStore(url())
    fill(other, 3)
    other.inventory()

    def act() -> None:
        fill(other, 5)
        other.inventory()

    ours = store_over(Interfering(other.backend, "replace", KEY, act), ArtifactStore)
    other.scope("shop", "bob", "s1").save("first", b"1")
    made = ours.inventory()
    assert made.as_of == _manifest(other).as_of and made.read == 0
    assert names(other) == scanned(other)
    assert {part.name for part in _manifest(other).parts} <= files(other).keys()


class Crashing(Counting):
    """Dies at its n-th call, once that has taken effect if *after*, else before."""

    def __init__(self, inner: Any, at: int, after: bool) -> None:
        super().__init__(inner)
        self.left, self.after = at, after

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if not callable(value) or name == "close":
            return value

        async def called(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0 and not self.after:
                raise KeyboardInterrupt
            answer = await value(*args, **kwargs)
            if self.left < 0:
                raise KeyboardInterrupt
            return answer

        return called


DEATHS = [(True, 3), *(pytest.param(after, 1, marks=pytest.mark.nightly) for after in (False, True))]
"""Whether the call at which it dies takes effect, and how many calls lie between two at which it is tried."""


@pytest.mark.parametrize(("after", "step"), DEATHS)
def test_a_refresh_that_dies_anywhere_leaves_the_old_inventory_or_the_new_one(after: bool, step: int) -> None:
    store = ArtifactStore(url())
    fill(store, 2)
    store.inventory()
    for at in count(0, step):
        old = names(store)
        store.scope("shop", "bob", "s1").save(f"new {at:02}", b"1")
        try:
            store_over(Crashing(store.backend, at, after), ArtifactStore).inventory()
        except KeyboardInterrupt:
            assert names(store) in (old, scanned(store))
            store.inventory()
        else:
            break
    assert at > 6 and names(store) == scanned(store)


@pytest.mark.parametrize(("after", "step"), DEATHS)
def test_an_erasure_that_dies_anywhere_is_whole_when_it_is_done_again(after: bool, step: int) -> None:
    for at in count(0, step):
        store = ArtifactStore(url())
        fill(store, 1)
        store.scope("shop", "bob", "s1").save("secret", b"1")
        store.inventory()
        try:
            store_over(Crashing(store.backend, at, after), ArtifactStore).erase("shop", "bob")
        except KeyboardInterrupt:
            store.erase("shop", "bob")
        else:
            break
        assert rows(store, "user") == {"alice"} and names(store) == scanned(store)
    assert at > 6


class LosingAnswers(Counting):
    """Publishes, and answers as a server does that is asked again after its first answer was lost."""

    async def replace(self, *args: Any) -> Written:
        self.calls.append(Call("replace", args[0]))
        await self.inner.replace(*args)
        return Written(False, tries=2)


def test_a_manifest_whose_answer_was_lost_is_known_again(counted: tuple[ArtifactStore, Counting]) -> None:
    store, counting = counted
    fill(store, 2)
    losing = LosingAnswers(counting.inner)
    made = store_over(losing, ArtifactStore).inventory()
    assert kinds(losing.taken())["replace"] == 1
    assert made.as_of == _manifest(store).as_of and made.read == 2


class Unconditional(Counting):
    """A store that does not rewrite on a condition."""

    abilities = Abilities("atomic", "atomic", "refused")

    async def replace(self, *args: Any) -> Written:
        raise AssertionError("this store does not know If-Match")


def test_a_store_without_conditional_rewrites_has_an_inventory_too(counted: tuple[ArtifactStore, Counting]) -> None:
    store = store_over(Unconditional(counted[1].inner), ArtifactStore)
    fill(store, 2)
    store.inventory()
    store.scope("shop", "bob", "s1").save("b.txt", b"1")
    assert names(store, fresh=True) == ["0000.txt", "0001.txt", "b.txt"]
    store.erase("shop", "bob")
    assert rows(store, "user") == {"alice"}


def test_a_search_whose_files_go_meanwhile_answers_by_the_next_manifest() -> None:
    other = ArtifactStore(url())
    fill(other, 3)
    other.scope("shop", "bob", "s1").save("secret", b"1")
    other.inventory()
    slow = Interfering(
        other.backend, "get", f"{FOLDER}{_manifest(other).base[0].name}", lambda: other.erase("shop", "bob")
    )
    assert names(store_over(slow, ArtifactStore)) == ["0000.txt", "0001.txt", "0002.txt"]
    assert slow.acted


def test_a_file_that_is_gone_or_damaged_is_made_up_for_by_a_scan_until_the_next_refresh() -> None:
    store = ArtifactStore(url())
    fill(store, 3)
    for harm in (lambda name: put(store, name, b"PAR1"), lambda name: run_one(store.backend, Delete((FOLDER + name,)))):
        store.inventory()
        harm(_manifest(store).base[0].name)
        hits = store.search()
        assert "damaged" in hits.hint and len(list(hits)) == 3
        assert store.inventory().read == 3
        assert len(names(store)) == 3


def put_strange_file(store: ArtifactStore) -> None:
    """An inventory of whatever else: a file that is what its manifest says, with columns of its own."""
    table = Table()
    data = table.parquet("strange.parquet", "SELECT 1 AS a")
    table.close()
    put(store, "strange.parquet", data)
    (old,) = _manifest(store).base
    digest = hashlib.sha256(data).hexdigest()
    part = msgspec.structs.replace(old, name="strange.parquet", size_bytes=len(data), sha256=digest)
    put(store, "manifest", msgspec.json.encode(msgspec.structs.replace(_manifest(store), base=(part,))))


def test_a_file_with_other_columns_is_made_up_for_too() -> None:
    store = ArtifactStore(url())
    fill(store, 3)
    store.inventory()
    put_strange_file(store)
    hits = store.search()
    assert "damaged" in hits.hint and len(list(hits)) == 3
    assert store.inventory().read == 3 and len(names(store)) == 3
    put_strange_file(store)
    store.erase("shop", "alice")
    assert files(store) == {}


# --- erasing ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["one file", "many files"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many files":
        monkeypatch.setattr(refresh, "PART_WEIGHT", 500)


def populated(**options: Any) -> ArtifactStore:
    """Two users, of each something in the base and something in the delta."""
    store = ArtifactStore(url(), **options)
    for user in ("alice", "bob", "bobby"):
        for session in ("s1", "s2"):
            store.scope("shop", user, session).save(f"{user}'s.txt", b"1", metadata={"who": user})
    store.inventory()
    for user in ("alice", "bob"):
        store.scope("shop", user, "s1").save("later.txt", b"1", metadata={"who": user})
        store.scope("shop", user, "s1").tag("later.txt", "prod")
    store.inventory()
    return store


@pytest.mark.usefixtures("parts")
def test_who_is_erased_is_in_no_file_of_the_inventory() -> None:
    store = populated()
    before = rows(store)
    store.erase("shop", "bob")
    assert {row for row in before if not row.startswith("shop/bob/")} == rows(store)
    assert rows(store, "user") == {"alice", "bobby"}
    assert b"shop/bob/" not in b"".join(files(store).values())
    assert {part.name for part in _manifest(store).parts} == files(store).keys() - {"manifest"}
    assert names(store) == scanned(store)
    assert names(store, user="bob", all_versions=True) == []


def test_a_session_or_an_artifact_is_erased_from_it_alone() -> None:
    store = populated()
    store.erase("shop", "bob", "s2")
    assert names(store, user="bob") == ["bob's.txt", "later.txt"]
    store.erase("shop", "bob", "s1", "later.txt")
    assert names(store, user="bob") == ["bob's.txt"] and names(store, tag="prod") == ["later.txt"]
    assert not [row for row in rows(store) if "/bob/" in row and "later" in row]


@pytest.mark.parametrize("lack", ["duckdb", "keys", "manifest", "format", "file"])
def test_where_it_cannot_be_rewritten_the_whole_inventory_goes(lack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = new_key("v1")
    store = populated(keys=keys) if lack == "keys" else populated()
    if lack == "duckdb":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    elif lack == "keys":
        store = ArtifactStore(store.url)
    elif lack == "manifest":
        put(store, "manifest", b"{")
    elif lack == "format":
        put(store, "manifest", files(store)["manifest"].replace(b'"format":1', b'"format":2'))
    else:
        run_one(store.backend, Delete((FOLDER + _manifest(store).base[0].name,)))
    store.erase("shop", "bob")
    assert files(store) == {}


def test_a_refresh_that_began_before_an_erasure_brings_nothing_back() -> None:
    other = populated()

    def act() -> None:
        other.erase("shop", "bob")

    other.scope("shop", "bob", "s1").save("new.txt", b"1")
    slow = Interfering(other.backend, "replace", KEY, act)
    store_over(slow, ArtifactStore).inventory()
    assert slow.acted
    assert rows(other, "user") == {"alice", "bobby"}


def test_the_first_refresh_too_brings_nothing_back() -> None:
    other = ArtifactStore(url())
    fill(other, 2)
    other.scope("shop", "bob", "s1").save("secret", b"1")
    slow = Interfering(other.backend, "replace", KEY, lambda: other.erase("shop", "bob"))
    store_over(slow, ArtifactStore).inventory()
    assert slow.acted
    assert rows(other, "user") == {"alice"}


def test_a_dry_run_and_a_store_without_an_inventory_are_left_as_they_are() -> None:
    store = populated()
    before = files(store)
    store.erase("shop", "bob", dry_run=True)
    assert files(store) == before
    without = ArtifactStore(url())
    fill(without, 1)
    without.erase("shop", "alice")
    assert files(without) == {}


# --- whom to believe --------------------------------------------------------------------------------------------------


def forge_row(store: ArtifactStore) -> None:
    """What somebody who can write, and has no key, makes of an inventory."""

    def steps() -> Any:
        state = manifests.State(None, _manifest(store))
        table = Table()
        assert state.manifest is not None
        yield from refresh.load(table, state.manifest.base, state.manifest.delta)
        table.run("CREATE TABLE changes AS SELECT * REPLACE ('forged.txt' AS name) FROM known")
        made, _ = yield from refresh._written(Env(), table, Manifest(write_id="x"), 1e10)
        table.close()
        data = msgspec.json.encode(made)
        yield (Put(KEY, data, "application/json"),)

    run(steps(), store.backend)


def test_with_keys_a_forged_inventory_is_not_believed_and_the_store_is_scanned() -> None:
    keys = new_key("v1")
    store = ArtifactStore(url(), keys=keys)
    fill(store, 2)
    store.inventory()
    assert names(store) == ["0000.txt", "0001.txt"]
    genuine = files(store)["manifest"]
    forge_row(store)
    hits = store.search()
    assert "cannot be trusted" in hits.hint and [hit.name for hit in hits] == ["0000.txt", "0001.txt"]
    believing = ArtifactStore(store.url, keys=keys, accept_plain=True)
    assert names(believing) == ["forged.txt", "forged.txt"]
    for harm in (
        genuine.replace(b'"rows":2', b'"rows":3'),
        genuine[:-70] + b"0" * 64 + b'"}',
        genuine[: genuine.index(b',"mac"')] + b"}",
        b"",
    ):
        put(store, "manifest", harm)
        hits = store.search()
        assert hits.hint and [hit.name for hit in hits] == ["0000.txt", "0001.txt"]
    put(store, "manifest", genuine)
    assert names(store) == ["0000.txt", "0001.txt"]


def test_after_a_forgery_a_refresh_reads_every_record_again() -> None:
    store = ArtifactStore(url(), keys=new_key("v1"))
    fill(store, 2)
    store.inventory()
    forge_row(store)
    assert store.inventory().read == 2
    assert names(store) == ["0000.txt", "0001.txt"]


def test_without_keys_the_inventory_of_a_sealed_store_is_not_used() -> None:
    store = ArtifactStore(url(), keys=new_key("v1"))
    fill(store, 2)
    store.inventory()
    hits = ArtifactStore(store.url).search()
    assert "without keys" in hits.hint and len(list(hits)) == 2


def test_a_refresh_seals_by_the_key_that_is_active_then() -> None:
    old, new = new_key("v1"), new_key("v2")
    store = ArtifactStore(url(), keys=old)
    fill(store, 2)
    store.inventory()
    both = ArtifactStore(store.url, keys=f"{old},{new}", active_key_id="v2")
    both.rotate(to="v2")
    both.inventory()
    assert names(ArtifactStore(store.url, keys=new)) == ["0000.txt", "0001.txt"]


def test_a_key_for_each_user_needs_one_for_the_inventory() -> None:
    keys = f"{new_key('alice')},{new_key('inventory')}"
    store = ArtifactStore(url(), keys=keys, active_key_id=lambda identity: identity.user)
    fill(store, 1)
    store.inventory()
    assert names(store) == ["0000.txt"]
    lacking = ArtifactStore(url(), keys=new_key("alice"), active_key_id=lambda identity: identity.user)
    with pytest.raises(KeyUnavailable, match="inventory"):
        lacking.inventory()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_store_that_is_only_read_makes_none() -> None:
    with pytest.raises(AccessDenied, match="read_only"):
        ArtifactStore(url(), read_only=True).inventory()


def test_without_duckdb_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(InvalidConfig, match=r"artifactfs\[search\]"):
        ArtifactStore(url()).inventory()


def test_an_inventory_of_a_later_release_is_neither_used_nor_overwritten() -> None:
    store = ArtifactStore(url())
    fill(store, 1)
    store.inventory()
    later = files(store)["manifest"].replace(b'"format":1', b'"format":2')
    put(store, "manifest", later)
    hits = store.search()
    assert "later release" in hits.hint and len(list(hits)) == 1
    with pytest.raises(UnsupportedFormat, match="later release"):
        store.inventory()
    assert files(store)["manifest"] == later


# --- DuckDB is closed in ----------------------------------------------------------------------------------------------


def test_duckdb_reads_and_writes_in_its_own_folder_alone(tmp_path: Path) -> None:
    table = Table()
    (tmp_path / "outside.csv").write_text("a,b")
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path}/outside.csv')",
        "SELECT * FROM read_parquet('https://example.org/a.parquet')",
        f"COPY (SELECT 1) TO '{tmp_path}/made.parquet'",
        f"ATTACH '{tmp_path}/made.db'",
        "SET enable_external_access = true",
        "SET threads = 16",
    ):
        with pytest.raises(BackendError, match="DuckDB"):
            table.run(sql)
    told = dict(table.rows("SELECT name, value FROM duckdb_settings()"))
    assert told["threads"] == "2" and told["memory_limit"] in ("488.2 MiB", "512.0 MB")
    assert told["autoinstall_known_extensions"] == told["autoload_known_extensions"] == "false"
    folder = table.folder
    assert os.path.isdir(folder) and os.stat(folder).st_mode & 0o777 == 0o700
    table.close()
    assert not os.path.exists(folder) and os.listdir(tmp_path) == ["outside.csv"]


def test_nothing_is_written_into_the_home_folder_or_the_working_one(tmp_path: Path) -> None:
    home, work, temporary = tmp_path / "home", tmp_path / "work", tmp_path / "tmp"
    for folder in (home, work, temporary):
        folder.mkdir()
    code = (
        "from artifactfs import ArtifactStore\n"
        "store = ArtifactStore('memory://home')\n"
        "store.scope('shop', 'alice', 's1').save('a.txt', b'1', metadata={'a': 1})\n"
        "store.inventory(), store.inventory()\n"
        "assert len(list(store.search('a*', metadata={'a': 1}))) == 1\n"
        "hits = store.search()\n"
    )
    env = {"HOME": str(home), "TMPDIR": str(temporary), "PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], cwd=work, env=env, check=True)
    assert [path for folder in (home, work, temporary) for path in folder.iterdir()] == []


# --- every store ------------------------------------------------------------------------------------------------------


@pytest.fixture(
    params=[
        "folder",
        "single_writer",
        "read_through",
        pytest.param("moto", marks=pytest.mark.server("moto")),
        pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs")),
        *(pytest.param(name, marks=[pytest.mark.server(name), pytest.mark.nightly]) for name in ("minio", "ceph")),
    ]
)
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    if request.param in ("moto", "fake_gcs", "minio", "ceph"):
        server: Server = request.getfixturevalue(request.param)
        yield ArtifactStore(server.bucket(), **server.storage_options)
    elif request.param == "single_writer":
        yield ArtifactStore(f"local://{tmp_path}", single_writer=True)
    elif request.param == "read_through":
        older = ArtifactStore(tmp_path / "older")
        fill(older, 2)
        yield ArtifactStore(tmp_path / "newer", read_through=[older])
    else:
        yield ArtifactStore(tmp_path)


def test_every_kind_of_store_has_an_inventory(any_store: ArtifactStore) -> None:
    with any_store as store:
        fill(store, 3, versions=2)
        store.inventory()
        store.scope("shop", "bob", "s1").save("b.txt", b"1")
        store.scope("shop", "alice", "s1").delete("0001.txt")
        assert names(store, fresh=True) == ["0000.txt", "0002.txt", "b.txt"]
        assert set(store.apps()) == {"shop"}
        store.erase("shop", "bob")
        assert names(store) == ["0000.txt", "0002.txt"]
