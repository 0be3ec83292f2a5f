"""A store over older ones: all is read and deleted through it, and nothing is ever written into what lies below."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from artifactfs import ArtifactStore, AsyncArtifactStore
from artifactfs.backends import read_through
from artifactfs.backends.base import Backend, Got, Page, Placement, Stat, Unfinished, Upload, Written
from artifactfs.backends.local import LocalBackend
from artifactfs.backends.memory import MemoryBackend
from artifactfs.backends.read_through import ReadThrough
from artifactfs.backends.s3 import S3Backend
from artifactfs.drivers import call
from artifactfs.errors import (
    ArtifactNotFound,
    BackendError,
    BackendUnavailable,
    Conflict,
    InvalidConfig,
    VersionNotFound,
)
from artifactfs.keys.keyring import new_key
from artifactfs.protocol.env import Env
from artifactfs.store import Scope
from artifactfs.testing.backend import BINARY, BackendConformance, _all, _make, _pages, _run
from artifactfs.testing.counting import store_over
from artifactfs.testing.machine import StoreMachine
from artifactfs.testing.store import StoreConformance

from .servers import Server

FOLDER = "shop/alice/s1/"


def memory(**settings: Any) -> MemoryBackend:
    return MemoryBackend(f"memory://{uuid.uuid4().hex}", **settings)


def scope_of(*stores: Backend) -> Scope:
    """A session of the store over all but the first of *stores*, as another process would open it."""
    backend = ReadThrough(stores[0], stores[1:]) if len(stores) > 1 else stores[0]
    return store_over(backend, ArtifactStore).scope("shop", "alice", "s1")


def content(backend: MemoryBackend) -> dict[str, Got]:
    return dict(backend._root.objects)


class Spread(ReadThrough):
    """Half of what is created lies in the older store, as if it had been there before: the suite meets both everywhere."""

    def _is_of_older(self, key: str) -> bool:
        return crc32(key.encode()) % 2 == 0 and 1 in self._older(key)

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        if not self._is_of_older(key) or await self.stat(key) is not None:
            return await super().create(key, data, content_type)
        return _by_older(await self._at(1, lambda older: older.create(key, data, content_type)))

    async def upload(self, key: str, content_type: str) -> Any:
        if not self._is_of_older(key):
            return await super().upload(key, content_type)
        return InOlder(self, await self._at(1, lambda older: older.upload(key, content_type)))


def _by_older(written: Written) -> Written:
    return written._replace(tag=f"1:{written.tag}") if written.tag else written


class InOlder:
    def __init__(self, over: Spread, inner: Upload) -> None:
        self._over, self._inner = over, inner

    async def write(self, data: bytes) -> None:
        await self._over._at(1, lambda _: self._inner.write(data))

    async def commit(self) -> Written:
        written: Written = await self._over._at(1, lambda _: self._inner.commit())
        return _by_older(written)

    async def abort(self) -> None:
        await self._over._at(1, lambda _: self._inner.abort())


# what a backend promises


class TestOverAnEmptyOne(BackendConformance):
    @pytest.fixture
    def stores(self) -> list[MemoryBackend]:
        return [memory(), memory()]

    @pytest.fixture
    def backend(self, stores: list[MemoryBackend]) -> ReadThrough:
        return ReadThrough(stores[0], stores[1:])

    @pytest.fixture
    def another(self, stores: list[MemoryBackend]) -> ReadThrough:
        first, older = (MemoryBackend(store.url) for store in stores)
        return ReadThrough(first, [older])


class TestOverHalfOfAllInSmallPages(BackendConformance):
    many = 300

    @pytest.fixture
    def stores(self) -> list[MemoryBackend]:
        return [memory(page_size=3), memory(page_size=4), memory(page_size=2)]

    @pytest.fixture
    def backend(self, stores: list[MemoryBackend]) -> ReadThrough:
        beside = [
            f"{folder}/{n}" for folder in ("conformance/0", "conformance/z", "@store/seen", "b") for n in range(9)
        ]
        for store in stores[1:]:
            _make(store, beside)
        return Spread(stores[0], stores[1:])

    @pytest.fixture
    def another(self, stores: list[MemoryBackend]) -> ReadThrough:
        return Spread(stores[0], stores[1:])


class TestOverHalfOfAllOnADisk(BackendConformance):
    many = 300

    @pytest.fixture
    def backend(self, tmp_path: Path) -> ReadThrough:
        return Spread(memory(), [LocalBackend(tmp_path / "older", durability="none")])


class OnLoop(MemoryBackend):
    """Memory that is far away: it lives on fsspec's event loop, and suspends."""

    placement: Placement = "loop"

    async def stat(self, key: str) -> Stat | None:
        await asyncio.sleep(0)
        return await super().stat(key)

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        await asyncio.sleep(0)
        return await super().list(folder, after, deep=deep, limit=limit, newest=newest)


class TestANetworkOverHalfOfAllOnADisk(BackendConformance):
    many = 300

    @pytest.fixture
    def backend(self, tmp_path: Path) -> ReadThrough:
        older: list[Backend] = [LocalBackend(tmp_path / "older", durability="none"), memory(), OnLoop(memory().url)]
        return Spread(OnLoop(memory().url), older)


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest) -> Iterator[Callable[[], S3Backend]]:
    """Opens fresh prefixes of one bucket on moto; all are closed in the end."""
    moto: Server = request.getfixturevalue("moto")
    bucket = moto.bucket("")
    made: list[S3Backend] = []

    def make() -> S3Backend:
        made.append(S3Backend(f"{bucket}/{uuid.uuid4().hex}", options=moto.own_options))
        return made[-1]

    yield make
    for backend in made:
        call(backend, backend.close)


class OnMoto(BackendConformance):
    """The parts of the suite in which a network and a disk meet; what each does by itself is in its own tests."""

    server_name = "moto"
    many = 40
    rounds = 2
    test_an_odd_name_round_trips: Any = None
    test_after_begins_behind_a_name_that_need_not_be_there: Any = None

    @pytest.fixture
    def another(self, backend: ReadThrough, monkeypatch: pytest.MonkeyPatch) -> ReadThrough:
        real = S3Backend.unfinished

        async def unfinished(store: S3Backend, folder: str) -> list[Unfinished]:
            now = await store.now()  # moto says of every upload in parts that it was begun in 2010
            return [found._replace(started=now) for found in await real(store, folder)]

        monkeypatch.setattr(S3Backend, "unfinished", unfinished)
        return backend


@pytest.mark.nightly
class TestS3OverHalfOfAllOnADisk(OnMoto):
    @pytest.fixture
    def backend(self, tmp_path: Path, client: Callable[[], S3Backend]) -> ReadThrough:
        return Spread(client(), [LocalBackend(tmp_path / "older", durability="none")])


@pytest.mark.nightly
class TestADiskOverHalfOfAllInS3(OnMoto):
    @pytest.fixture
    def backend(self, tmp_path: Path, client: Callable[[], S3Backend]) -> ReadThrough:
        return Spread(LocalBackend(tmp_path / "first", durability="none"), [client()])


# what a store promises


class TestStoreOverOthers(StoreConformance):
    @pytest.fixture
    def store(self) -> ArtifactStore:
        stores = [memory() for _ in range(3)]
        scope_of(stores[1]).save("report.csv", b"of another app")
        return ArtifactStore(stores[0].url, read_through=[store.url for store in stores[1:]])


class TestStoreOverHalfOfAll(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
        monkeypatch.setattr(read_through, "ReadThrough", Spread)
        (tmp_path / "older").mkdir()
        return ArtifactStore(memory().url, read_through=[tmp_path / "older"])


class Layers(StoreMachine):
    """Again and again the store is given up for a new, empty one that lies over it."""

    most = 3

    def __init__(self) -> None:
        super().__init__()
        self.stores = [memory(page_size=20)]
        self.below: list[dict[str, Got]] = []

    def open(self) -> ArtifactStore:
        return store_over(self.over(), ArtifactStore)

    def over(self) -> Backend:
        return ReadThrough(self.stores[0], self.stores[1:])

    @precondition(lambda self: len(self.stores) < self.most)
    @rule(page_size=st.integers(3, 20))
    def lay_another_over(self, page_size: int) -> None:
        self.stores.insert(0, memory(page_size=page_size))
        self.below = [content(store) for store in self.stores[1:]]
        self.store = self.open()

    @invariant()
    def nothing_is_written_below(self) -> None:
        for store, before in zip(self.stores[1:], self.below, strict=True):
            assert content(store).items() <= before.items()


TestLayers = Layers.TestCase
TestLayers.settings = settings(max_examples=max(30, settings().max_examples // 5))


# listings


class Whole(MemoryBackend):
    """What all stores hold together, in one."""

    def __init__(self, stores: Sequence[MemoryBackend]) -> None:
        super().__init__(f"memory://{uuid.uuid4().hex}")
        for store in reversed(stores):
            for key, got in content(store).items():
                _run(self, self.put(key, got.data, BINARY))


segments = st.text("!./0aé\U0001f600", min_size=1, max_size=3)
key_sets = st.sets(segments.filter(lambda key: "//" not in key and key[0] != "/" and key[-1] != "/"), max_size=12)
limits = st.integers(1, 5) | st.just(1000)


def merged_lists_are_those_of_one_store(
    held: list[set[str]], sizes: list[int], folder: str, after: str, deep: bool, limit: int
) -> None:
    stores = [memory(page_size=size) for _, size in zip(held, sizes, strict=True)]
    for place, (store, keys) in enumerate(zip(stores, held, strict=True)):
        _make(store, sorted(keys), lambda key, place=place: b"x" * place)  # type: ignore[misc]
    over, whole = ReadThrough(stores[0], stores[1:]), Whole(stores)
    assert _all(over, folder, after, deep=deep, limit=limit) == _all(whole, folder, after, deep=deep)
    sizes_seen = {}
    for page in _pages(over, folder, after, deep=deep, limit=limit):
        assert len(page.entries) + len(page.folders) <= limit
        sizes_seen.update({entry.name: entry.size for entry in page.entries})
    assert sizes_seen == {
        entry.name: entry.size for page in _pages(whole, folder, after, deep=deep) for entry in page.entries
    }


asked = given(
    held=st.lists(key_sets, min_size=3, max_size=3),
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    folder=st.sampled_from(["", "a/", "0/"]),
    after=st.just("") | segments,
    deep=st.booleans(),
    limit=limits,
)


@settings(max_examples=max(200, settings().max_examples))
@asked
def test_a_listing_is_that_of_one_store_which_holds_all(**case: Any) -> None:
    merged_lists_are_those_of_one_store(**case)


def test_a_page_is_full_while_there_are_more() -> None:
    stores = [memory(), memory(page_size=150)]
    for place, store in enumerate(stores):
        _make(store, [f"{n:04}" for n in range(place, 1500, 2)])
    pages = list(_pages(ReadThrough(stores[0], stores[1:]), ""))
    assert all(len(page.entries) >= 100 for page in pages[:-1])
    assert sum(len(page.entries) for page in pages) == 1500


def test_what_a_store_knows_of_itself_is_the_first_ones_alone() -> None:
    first, older = memory(), memory()
    _make(older, ["@store/seen/x", *(f"@store/probe/{n}" for n in range(1100)), "shop/x"])
    over = ReadThrough(first, [older])
    assert _run(over, over.get("@store/seen/x")) is None
    assert _run(over, over.stat("@store/seen/x")) is None
    assert _all(over, "") == ["shop/"]
    assert _all(over, "", deep=True) == ["shop/x"]
    assert _all(over, "@store/", deep=True) == []
    assert _run(over, over.create("@store/seen/x", b"new", BINARY)).done
    _run(over, over.delete(["@store/seen/x"]))
    assert len(content(older)) == 1102


class Meanwhile(MemoryBackend):
    """Lets something happen right after the next listing, before its answer is used."""

    happens: Callable[[], object] | None = None

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        page = await super().list(folder, after, deep=deep, limit=limit, newest=newest)
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return page


def newest_while_one_is_saved_and_its_older_deleted(at: int) -> bytes:
    """What is loaded by one whose listing is held up, after the *at*-th store was listed, for a save and a delete."""
    stores = [Meanwhile(f"memory://{uuid.uuid4().hex}") for _ in range(2)]
    before = scope_of(stores[1])
    for data in (b"0", b"1"):
        before.save("x", data)

    def happens() -> None:
        other = scope_of(*(MemoryBackend(store.url) for store in stores))
        other.save("x", b"2")
        other.delete("x", 1)

    stores[at].happens = happens
    return scope_of(*stores).load("x").data


@pytest.mark.parametrize("at", [0, 1])
def test_a_listing_shows_no_state_that_never_was(at: int) -> None:
    assert newest_while_one_is_saved_and_its_older_deleted(at) in (b"1", b"2")


# a store that was given up


@pytest.fixture
def older() -> MemoryBackend:
    """Five versions of x, and y."""
    store = memory()
    scope = scope_of(store)
    for n in range(5):
        scope.save("x", b"%d" % n)
    scope.save("y", b"only")
    return store


def test_versions_go_on_where_the_older_store_ended_and_lie_in_the_first(older: MemoryBackend) -> None:
    first, before = memory(), content(older)
    scope = scope_of(first, older)
    assert scope.versions("x") == [0, 1, 2, 3, 4]
    assert scope.load("x").data == b"4"
    assert scope.save("x", b"5").version == 5
    assert scope.save("x", b"6", expect=5).version == 6
    with pytest.raises(Conflict):
        scope.save("x", b"no", expect="absent")
    with scope.open("x", "wb") as file:
        file.write(b"7")
    assert scope.versions("x") == list(range(8))
    assert [scope.load("x", n).data for n in range(8)] == [b"%d" % n for n in range(8)]
    assert [record.version for record in scope.history("x")] == list(reversed(range(8)))
    scope.save("new", b"0")
    assert list(scope.names()) == ["new", "x", "y"]
    assert [(name, record.version) for name, record in scope.records()] == [("new", 0), ("x", 7), ("y", 0)]
    assert sorted(content(first)) == sorted(
        f"{FOLDER}{name}/{n}{kind}"
        for name, numbers in {"new": [0], "x": [5, 6, 7]}.items()
        for n in numbers
        for kind in ("", ".metadata")
    )
    assert content(older) == before
    assert scope_of(older).versions("x") == [0, 1, 2, 3, 4]


def test_a_removal_hides_what_the_older_store_has_and_a_save_brings_it_back(older: MemoryBackend) -> None:
    first, before = memory(), content(older)
    scope = scope_of(first, older)
    assert scope.remove("y").version == 1
    assert list(scope.names()) == ["x"]
    with pytest.raises(ArtifactNotFound):
        scope.load("y")
    assert scope.load("y", 0).data == b"only"
    assert scope.save("y", b"again", expect="absent").version == 2
    assert list(scope.names()) == ["x", "y"]
    assert content(older) == before


def test_a_version_of_the_older_store_is_deleted_for_good(older: MemoryBackend) -> None:
    first, before = memory(), content(older)
    scope = scope_of(first, older)
    scope.delete("x", 4)
    assert scope.versions("x") == [0, 1, 2, 3]
    assert scope.load("x").data == b"3"
    with pytest.raises(VersionNotFound):
        scope.load("x", 4)
    assert content(older).items() <= before.items()
    assert before.keys() - content(older).keys() == {f"{FOLDER}x/4"}
    assert scope_of(first, older).save("x", b"new").version == 5
    scope.delete("x")
    assert scope.versions("x") == []
    assert list(scope.names()) == ["y"]
    assert not [key for key in content(older) if key.startswith(f"{FOLDER}x/") and not key.endswith(".metadata")]
    assert scope.save("x", b"new").version == 6


def test_compaction_brings_nothing_back(older: MemoryBackend) -> None:
    first = memory()
    scope = scope_of(first, older)
    for number in (1, 3):
        scope.delete("x", number)
    scope.store._core.env = Env(keep_tombstones=-60.0)
    assert scope.store.compact() == 2
    for opened in (scope, scope_of(first, older)):
        assert opened.versions("x") == [0, 2, 4]
        for number in (1, 3):
            with pytest.raises(VersionNotFound):
                opened.load("x", number)
    below = {key for store in (first, older) for key in content(store)}
    assert not below & {f"{FOLDER}x/{number}{kind}" for number in (1, 3) for kind in ("", ".metadata")}
    assert scope.save("x", b"5").version == 5


def test_what_the_older_store_had_deleted_stays_deleted_and_its_tombstones_are_compacted() -> None:
    older = memory()
    scope = scope_of(older)
    for n in range(3):
        scope.save("x", b"%d" % n)
    scope.delete("x", 0)
    scope.delete("x", 2)
    over = scope_of(memory(), older)
    assert over.versions("x") == [1]
    over.store._core.env = Env(keep_tombstones=-60.0)
    assert over.store.compact() == 1  # the record of 2 stays: no number is given twice
    assert sorted(content(older)) == [
        f"{FOLDER}{key}" for key in ("@hidden/x/2", "x/1", "x/1.metadata", "x/2.metadata")
    ]
    assert over.versions("x") == [1]
    assert over.save("x", b"3").version == 3


def test_erasing_leaves_no_trace_in_any_store(older: MemoryBackend) -> None:
    first = memory()
    scope = scope_of(first, older)
    scope.save("x", b"5")
    _run(older, older.upload(f"{FOLDER}x/9", BINARY))
    scope.store.erase("shop", "alice")
    assert content(first) == content(older) == {}
    assert _run(older, older.unfinished("")) == []


def test_a_claim_that_was_left_in_the_older_store_is_ended_in_the_first(older: MemoryBackend) -> None:
    objects = older._root.objects
    _run(older, older.delete([f"{FOLDER}x/4"]))
    claim = f"{FOLDER}x/4.metadata"
    objects[claim] = objects[claim]._replace(modified=time.time() - 3600)
    before = content(older)
    scope = scope_of(memory(), older)
    assert scope.save("x", b"5", expect=3).version == 5
    assert scope.versions("x") == [0, 1, 2, 3, 5]
    assert content(older) == before


def test_a_time_is_found_though_the_older_stores_clock_was_ahead() -> None:
    older, first = memory(), memory()
    older._root.clock = time.time() + 3600
    scope_of(older).save("x", b"0")
    scope = scope_of(first, older)
    saved = scope.save("x", b"1")
    assert saved.timestamp.timestamp() >= older._root.clock - 1
    assert scope.load("x", saved.timestamp).data == b"1"


def test_race_of_savers_on_a_name_of_the_older_store_loses_nothing(older: MemoryBackend) -> None:
    first, before = memory(), content(older)

    def save(who: int) -> list[tuple[int, bytes]]:
        scope = scope_of(MemoryBackend(first.url), MemoryBackend(older.url))
        return [(scope.save("x", data).version, data) for n in range(10) for data in [b"%d of %d" % (n, who)]]

    with ThreadPoolExecutor(8) as pool:
        saved = dict(itertools.chain(*pool.map(save, range(8))))
    assert sorted(saved) == list(range(5, 85))
    scope = scope_of(first, older)
    assert scope.versions("x") == list(range(85))
    assert {number: scope.load("x", number).data for number in saved} == saved
    assert content(older) == before


def test_race_of_deletes_of_an_older_version_ends_it_once(older: MemoryBackend) -> None:
    first = memory()

    def delete(_: int) -> bool:
        try:
            scope_of(first, older).delete("x", 2)
        except VersionNotFound:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert any(pool.map(delete, range(4)))
    assert scope_of(first, older).versions("x") == [0, 1, 3, 4]
    assert f"{FOLDER}x/2.metadata" in content(first)


def test_the_first_of_several_older_stores_counts() -> None:
    stores = [memory() for _ in range(3)]
    for place, store in enumerate(stores):
        _make(store, ["both"] * (place > 0) + [f"own{place}"], lambda key, place=place: b"%d" % place)  # type: ignore[misc]
    over = ReadThrough(stores[0], stores[1:])
    got = _run(over, over.get("both"))
    assert got is not None and got.data == b"1"
    assert not _run(over, over.create("own2", b"x", BINARY)).done
    _run(over, over.delete(["both"]))
    assert _all(over, "") == ["own0", "own1", "own2"]
    assert _run(over, over.stat("both")) is None


def test_an_older_object_is_rewritten_by_one_in_front_of_it() -> None:
    first, older = memory(), memory()
    _make(older, ["x"])
    before = content(older)
    over = ReadThrough(first, [older])
    stat = _run(over, over.stat("x"))
    assert stat is not None
    assert _run(over, over.replace("x", b"new", BINARY, stat.tag)).done
    assert not _run(over, over.replace("x", b"newer", BINARY, stat.tag)).done
    got = _run(over, over.get("x"))
    assert got is not None and got.data == b"new"
    assert _run(over, over.replace("x", b"newest", BINARY, got.tag)).done
    assert content(older) == before
    _run(over, over.delete(["x"]))
    assert _run(over, over.get("x")) is None
    assert not _run(over, over.replace("x", b"back", BINARY, stat.tag)).done


def test_a_store_over_older_ones_may_be_an_older_one_itself(older: MemoryBackend) -> None:
    middle, first = memory(), memory()
    scope_of(middle, older).save("x", b"5")
    before = content(middle), content(older)
    scope = scope_of(first, ReadThrough(middle, [older]))
    assert scope.save("x", b"6").version == 6
    assert (content(middle), content(older)) == before
    scope.delete("x", 4)
    scope.delete("x", 5)
    assert scope.versions("x") == [0, 1, 2, 3, 6]


def test_a_store_cannot_lie_over_itself() -> None:
    first, older = memory(), memory()
    for stores in ([first, first], [first, older, older]):
        with pytest.raises(InvalidConfig, match="named twice"):
            ReadThrough(stores[0], stores[1:])


# older stores that fail


class Broken(MemoryBackend):
    """Does not answer to the methods that are named in `fails`."""

    fails: frozenset[str] = frozenset()

    def _check(self, method: str) -> None:
        if method in self.fails:
            raise BackendUnavailable(f"{self.url} does not answer", store=self.url)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        self._check("get")
        return await super().get(key, start, end)

    async def stat(self, key: str) -> Stat | None:
        self._check("stat")
        return await super().stat(key)

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        self._check("list")
        return await super().list(folder, after, deep=deep, limit=limit, newest=newest)

    async def delete(self, keys: Sequence[str]) -> None:
        self._check("delete")
        await super().delete(keys)


def test_an_older_store_that_does_not_answer_is_an_error_and_not_a_missing_artifact(older: MemoryBackend) -> None:
    first, broken = memory(), Broken(older.url)
    scope_of(first, older).save("x", b"5")
    scope = scope_of(first, broken)
    broken.fails = frozenset({"get", "stat", "list", "delete"})
    attempts: list[Callable[[], object]] = [
        lambda: scope.load("x"),
        lambda: scope.load("x", 2),
        lambda: scope.load("missing"),
        lambda: scope.stat("y"),
        lambda: scope.versions("x"),
        lambda: list(scope.names()),
        lambda: list(scope.history("x")),
        lambda: list(scope.store.apps()),
        lambda: scope.save("new", b"0"),
        lambda: scope.remove("y"),
        lambda: scope.delete("x", 2),
    ]
    for attempt in attempts:
        with pytest.raises(BackendUnavailable, match="does not answer"):
            attempt()
    assert scope.load("x", 5).data == b"5"  # the first store alone can tell
    broken.fails = frozenset()
    assert list(scope.names()) == ["x", "y"]


def test_a_delete_that_the_older_store_refuses_leaves_what_shadows_it(older: MemoryBackend) -> None:
    first, broken = memory(), Broken(older.url)
    scope = scope_of(first, broken)
    broken.fails = frozenset({"delete"})
    with pytest.raises(BackendUnavailable):
        scope.delete("x", 2)
    assert scope.versions("x") == [0, 1, 3, 4]
    broken.fails = frozenset()
    with pytest.raises(VersionNotFound):
        scope.delete("x", 2)
    assert f"{FOLDER}x/2" not in content(older), "what a crashed delete left is not removed by the next"
    broken.fails = frozenset({"delete"})
    scope.store._core.env = Env(keep_tombstones=-60.0)
    with pytest.raises(BackendUnavailable):
        scope.store.compact()
    assert f"{FOLDER}x/2.metadata" in content(first), "a record came to light that a tombstone shadowed"
    broken.fails = frozenset()
    assert scope.store.compact() == 1
    assert f"{FOLDER}x/2.metadata" not in content(first) | content(older)
    assert scope.versions("x") == [0, 1, 3, 4]


def test_an_older_store_that_may_only_be_read_hinders_no_save_or_removal(older: MemoryBackend) -> None:
    first, before = memory(), content(older)
    broken = Broken(older.url)
    broken.fails = frozenset({"delete"})
    scope = scope_of(first, broken)
    scope.remove("x")
    scope.save("x", b"6")
    assert list(scope.names()) == ["x", "y"]
    assert not [key for key in content(first) if "@hidden" in key], "the mark of a removal stays for ever"
    scope.delete("x", 6)
    assert content(older) == before


# stores of different kinds


class Watched(LocalBackend):
    """Tells which threads its coroutines ran in."""

    threads: set[str]

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        self.threads.add(threading.current_thread().name)
        return await super().get(key, start, end)


def test_a_disk_below_a_network_holds_up_no_event_loop(tmp_path: Path, client: Callable[[], S3Backend]) -> None:
    older = Watched(tmp_path / "older", durability="none")
    older.threads = set()
    scope_of(older).save("x", b"0")
    older.threads.clear()
    scope = scope_of(client(), older)
    assert scope.load("x").data == b"0"
    assert scope.save("x", b"1").version == 1
    assert older.threads
    assert not {name for name in older.threads if name == "fsspecIO" or name == threading.main_thread().name}


@pytest.mark.parametrize("first_on_disk", [False, True], ids=["S3 over a disk", "a disk over S3"])
def test_a_disk_and_s3_lie_over_each_other(
    tmp_path: Path, client: Callable[[], S3Backend], first_on_disk: bool
) -> None:
    local, s3 = LocalBackend(tmp_path / "store", durability="none"), client()
    stores: list[Backend] = [local, s3] if first_on_disk else [s3, local]
    before = scope_of(stores[1])
    for n in range(3):
        before.save("x", b"%d" % n)
    scope = scope_of(*stores)
    assert scope.save("x", b"3", expect=2).version == 3
    long = bytes(9 * 1024 * 1024)
    assert scope.save("x", iter([long, b"end"])).version == 4
    scope.delete("x", 1)
    assert scope.versions("x") == [0, 2, 3, 4]
    with scope.open("x") as file:
        file.seek(-3, 2)
        assert file.read() == b"end"
    assert scope.remove("x").version == 5
    assert list(scope.names()) == []
    assert before.versions("x") == [0, 2]
    signed = {number: (number < 3) == first_on_disk for number in (2, 3)}
    for number, can in signed.items():
        if can:
            with urllib.request.urlopen(scope.sign("x", number)) as answer:
                assert answer.read() == b"%d" % number
        else:
            with pytest.raises(BackendError, match="cannot sign"):
                scope.sign("x", number)
    scope.store.close()
    assert scope.load("x", 0).data == b"0"


def test_tasks_use_a_disk_below_a_network(tmp_path: Path, client: Callable[[], S3Backend]) -> None:
    older = LocalBackend(tmp_path / "older", durability="none")
    scope_of(older).save("x", b"0")
    backend = ReadThrough(client(), [older])

    async def work() -> tuple[list[int], list[bytes]]:
        scope = store_over(backend, AsyncArtifactStore).scope("shop", "alice", "s1")
        saves: list[Awaitable[Any]] = [scope.save("x", b"by a task") for _ in range(5)]
        saved = await asyncio.gather(*saves)
        loaded = [(await scope.load("x", number)).data for number in await scope.versions("x")]
        await scope.delete("x", 0)
        return sorted(record.version for record in saved), loaded

    versions, loaded = asyncio.run(work())
    assert versions == [1, 2, 3, 4, 5]
    assert loaded == [b"0"] + [b"by a task"] * 5
    assert scope_of(older).versions("x") == []


def test_a_name_that_only_the_first_store_can_hold_is_saved_there(tmp_path: Path) -> None:
    older = LocalBackend(tmp_path, durability="none")
    scope = scope_of(memory(), older)
    name = "x" * 300
    assert scope.save(name, b"0").version == 0
    assert scope.versions(name) == [0]
    scope.delete(name)
    assert list(scope.names()) == []


# controls: planted faults that the tests must catch


def _drops_the_rest(pages: Sequence[Page], limit: int) -> Page:
    page = MERGED(pages, limit)
    return page if pages[0].next is not None else page._replace(next=None)


def _goes_behind(pages: Sequence[Page], limit: int) -> Page:
    ends = [page.next for page in pages if page.next is not None]
    return MERGED([page._replace(next=None) for page in pages], 10**6)._replace(next=max(ends, default=None))


def _prefers_the_older(pages: Sequence[Page], limit: int) -> Page:
    return MERGED(list(reversed(pages)), limit)


MERGED = read_through._merged


@pytest.mark.parametrize("fault", [_drops_the_rest, _goes_behind, _prefers_the_older])
def test_the_listings_see(fault: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_through, "_merged", fault)
    seen = settings(derandomize=True, database=None, max_examples=300, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        seen(asked(merged_lists_are_those_of_one_store))()


class WritesBelow(ReadThrough):
    """Rewrites an object where it is."""

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        place, _, inner = tag.partition(":")
        return await self._at(int(place), lambda store: store.replace(key, data, content_type, inner))


class Blind(ReadThrough):
    """Lists only the first store where that has anything."""

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        page = await self._at(0, lambda first: first.list(folder, after, deep=deep, limit=limit))
        return page if page.entries or page.folders else await super().list(folder, after, deep=deep, limit=limit)


@pytest.mark.parametrize("kind", [WritesBelow, Blind])
def test_the_machine_sees_a_store_that(kind: type[ReadThrough]) -> None:
    class Faulty(Layers):
        def over(self) -> Backend:
            return kind(self.stores[0], self.stores[1:])

    seen = settings(derandomize=True, database=None, max_examples=200, phases=[Phase.generate], deadline=None)
    with pytest.raises((Exception, pytest.fail.Exception)):  # whatever the machine meets first
        run_state_machine_as_test(Faulty, settings=seen)


@pytest.mark.parametrize(
    "test", ["test_create_never_overwrites", "test_commit_over_an_object_leaves_it_whole"], ids=["create", "commit"]
)
def test_the_suite_sees_a_store_that_does_not_look_below(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_there(self: ReadThrough, key: str) -> bool:
        return False

    monkeypatch.setattr(ReadThrough, "_is_in_older", nothing_there)
    older, first = memory(), memory()
    _make(older, ["x"])

    class Below(ReadThrough):
        async def create(self, key: str, data: bytes, content_type: str) -> Written:
            """The suite's first create is what was in the older store before."""
            return Written(True) if data == b"first" else await super().create(key, data, content_type)

    _run(older, older.put("x", b"first", BINARY))
    backend = Below(first, [older])
    arguments = {"there": b"first"} if "create" in test else {}
    with pytest.raises(AssertionError):
        getattr(TestOverAnEmptyOne(), test)(backend, backend, folder="", size=1, **arguments)


async def _in_the_first_only(self: ReadThrough, keys: Sequence[str]) -> None:
    await self._at(0, lambda first: first.delete(keys))


async def _in_the_first_first(self: ReadThrough, keys: Sequence[str]) -> None:
    for place in range(len(self._stores)):
        await self._at(place, lambda store: read_through._delete_held(store, keys))


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        (_in_the_first_only, test_a_version_of_the_older_store_is_deleted_for_good),
        (_in_the_first_only, test_compaction_brings_nothing_back),
        (_in_the_first_first, test_a_delete_that_the_older_store_refuses_leaves_what_shadows_it),
    ],
)
def test_the_scenarios_see_a_delete(
    fault: Any, test: Callable[[MemoryBackend], None], older: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadThrough, "delete", fault)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(older)


def test_the_order_of_listings_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def first_before_older(
        self: ReadThrough, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        pages = await self._each([0, 1], lambda store: store.list(folder, after, deep=deep, limit=limit))
        return MERGED(pages, limit)

    monkeypatch.setattr(ReadThrough, "list", first_before_older)
    assert newest_while_one_is_saved_and_its_older_deleted(0) == b"0"


# how a store is told of older ones


def test_an_older_store_that_could_not_be_right_is_refused(tmp_path: Path) -> None:
    """A folder that is not mounted would count as empty, and its numbers be given again."""
    with pytest.raises(BackendUnavailable, match="no such folder is there"):
        ArtifactStore(memory().url, read_through=[tmp_path / "not-mounted"])
    with pytest.raises(InvalidConfig, match="is read_only"):
        ArtifactStore(memory().url, read_through=[{"url": memory().url, "read_only": True}])
    with pytest.raises(InvalidConfig, match="is a list of stores"):
        ArtifactStore(memory().url, read_through=str(tmp_path))
    with pytest.raises(InvalidConfig, match="another scope_secret"):
        ArtifactStore(memory().url, read_through=[{"url": memory().url, "scope_secret": "s" * 16}])
    with pytest.raises(InvalidConfig, match="is opened with keys"):
        ArtifactStore(memory().url, read_through=[{"url": memory().url, "keys": new_key("v1")}])


def test_a_record_that_names_a_store_is_read_only_where_that_store_is_registered() -> None:
    old, new = memory().url, memory().url
    ArtifactStore(old, provider="legacy").scope("shop", "alice", "s1").save("report.csv", b"first")

    def opened(*read_through: Any) -> Scope:
        return ArtifactStore(new, read_through=read_through).scope("shop", "alice", "s1")

    assert opened({"url": old, "provider": "legacy"}).load("report.csv").data == b"first"
    for other in ({"url": old, "provider": "another"}, old):
        for read in (Scope.load, Scope.stat, Scope.open):
            with pytest.raises(BackendUnavailable, match="lies in the store 'legacy', which is not registered"):
                read(opened(other), "report.csv")
