"""How many requests each operation costs, counted at the wire: none of them more where an artifact has more versions.

The targets (docs/spec.md, "Cost"): a save 2, 3 without a memory of the artifact; a known version 2 and no listing; the
newest and a save from cold 3, and at most 5 from some hundred versions on; names 1 listing a scope; records 1 listing for
1,000 keys, and 1 read for each artifact.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore
from artifactfs.backends.base import Written
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import call
from artifactfs.errors import Conflict, InvalidRef

from . import race_workers, servers
from .proxy import Proxy, Request, in_front_of
from .race_workers import NAME
from .servers import Server

FULL = {"b-10": 10, "b-100": 100, "b-1000": 1000, "b-10000": 10_000}
MOST = 5

Client = Callable[..., ArtifactStore]


class Wire:
    """A server behind a proxy, and the stores in it."""

    def __init__(self, server: Server, proxy: Proxy, bucket: str) -> None:
        self.server, self.proxy, self.bucket = server, proxy, bucket

    def store(self, url: str = "", **settings: Any) -> ArtifactStore:
        """A store that knows what its bucket can do, and nothing of what is in it."""
        url = url or self.bucket
        store = ArtifactStore(url, **self.server.at(self.proxy.url).storage_options, **settings)
        if not settings.get("read_only"):
            store.scope("shop", "nobody", "s1").save("opened", b"")
        return store

    @contextlib.contextmanager
    def costs(self, writes: int = 0, lists: int = 0, reads: int = 0) -> Iterator[None]:
        """Exactly so many requests come while the block runs."""
        with self.proxy.counted() as seen:
            yield
        counts = {kind: sum(kind_of(each) == kind for each in seen) for kind in ("write", "list", "read")}
        told = [str(each) for each in seen]
        assert counts == {"write": writes, "list": lists, "read": reads}, told


def kind_of(request: Request) -> str:
    """Whether a request writes, lists or reads, in the language of S3 or of Google."""
    if request.method in ("PUT", "POST", "DELETE"):
        return "write"
    if "list-type" in request.query or request.path.endswith("/o") or "maxResults" in request.query:
        return "list"
    return "read"


@pytest.fixture(params=["moto", pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs"))])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    server: Server = request.getfixturevalue(request.param)
    with in_front_of(server.url) as proxy:
        yield Wire(server, proxy, server.bucket())


@pytest.fixture(scope="module")
def full_moto() -> Iterator[Server]:
    """A moto whose buckets begin with an artifact of 10, 100, 1,000 and 10,000 versions."""
    address = f"127.0.0.1:{servers.free_port()}"
    server = Server("moto", "s3", f"http://{address}", servers.KEY, servers.SECRET)
    program = [sys.executable, str(Path(race_workers.__file__)), address.rpartition(":")[2]]
    with servers.group("full_moto") as running:
        running.start(
            [*program, *(f"{bucket}={count}" for bucket, count in FULL.items())],
            PYTHONPATH=str(Path(__file__).parent.parent),
        )
        running.wait_for(lambda: servers.answers(server.url), "answering")
        yield server


@pytest.fixture
def full(full_moto: Server) -> Iterator[Wire]:
    with in_front_of(full_moto.url) as proxy:
        yield Wire(full_moto, proxy, "s3://b-10000/prefix")


def test_a_save_costs_two_requests_and_from_cold_one_listing_more(wire: Wire) -> None:
    scope = wire.store().scope("shop", "alice", "s1")
    with wire.costs(writes=2, lists=1):
        scope.save("report.csv", b"first")
    with wire.costs(writes=2):
        scope.save("report.csv", b"second")
    cold = wire.store().scope("shop", "alice", "s1")
    with wire.costs(writes=2, lists=1):
        cold.save("report.csv", b"third")


def test_a_tag_costs_one_read_before_the_version_and_six_requests_to_be_set(wire: Wire) -> None:
    scope = wire.store().scope("shop", "alice", "s1")
    for number in range(2):
        scope.save("report.csv", b"%d" % number)
    with wire.costs(writes=1, reads=5):  # the version is looked at (record and payload) before and after the tag
        scope.tag("report.csv", "prod", 0)
    with wire.costs(reads=3):
        assert scope.load("report.csv", version="prod").data == b"0"
    with wire.costs(lists=1, reads=1):
        assert scope.tags("report.csv") == {"prod": 0}


def test_a_save_writes_the_claim_and_then_the_payload_once_each(wire: Wire) -> None:
    scope = wire.store().scope("shop", "alice", "s1")
    data = bytes(range(256)) * 100
    with wire.proxy.counted() as seen:
        scope.save("report.csv", data)
    sent = [each.body_bytes for each in seen if kind_of(each) == "write"]
    assert sent[0] < 1000 and len(data) <= sent[1] < len(data) + 1000


def test_a_store_asks_once_what_an_endpoint_can_do_and_reads_it_from_then_on(wire: Wire) -> None:
    wire.store()
    fresh = ArtifactStore(wire.bucket, **wire.server.at(wire.proxy.url).storage_options)
    with wire.costs(writes=2, lists=1, reads=1):
        fresh.scope("shop", "alice", "s1").save("report.csv", b"first")
    with wire.costs(writes=2):
        fresh.scope("shop", "alice", "s1").save("report.csv", b"second")


def test_a_known_version_costs_two_requests_and_no_listing(wire: Wire) -> None:
    scope = wire.store().scope("shop", "alice", "s1")
    scope.save("report.csv", b"first")
    scope.save("report.csv", b"second")
    reader = wire.store(read_only=True).scope("shop", "alice", "s1")
    with wire.costs(reads=2):
        assert reader.load("report.csv", version=0).data == b"first"
    with wire.costs(reads=2):
        assert reader.stat("report.csv", version=0).size_bytes == 5


def test_the_newest_costs_a_listing_more_and_its_record_alone_one_request_less(wire: Wire) -> None:
    wire.store().scope("shop", "alice", "s1").save("report.csv", b"first")
    reader = wire.store(read_only=True).scope("shop", "alice", "s1")
    with wire.costs(lists=1, reads=2):
        assert reader.load("report.csv").data == b"first"
    with wire.costs(lists=1, reads=1):
        assert reader.stat("report.csv").version == 0


def test_a_file_costs_its_record_and_one_request_for_each_place_that_is_read(wire: Wire) -> None:
    wire.store().scope("shop", "alice", "s1").save("report.bin", bytes(3 * 2**20))
    reader = wire.store(read_only=True).scope("shop", "alice", "s1")
    with wire.costs(reads=2 + 3), reader.open("report.bin", version=0) as file:
        for place, size in ((3 * 2**20 - 8, 8), (2**20, 2**20), (1000, 7)):
            file.seek(place)
            assert len(file.read(size)) == size


def test_a_file_that_is_read_in_sequence_costs_ever_longer_requests(wire: Wire) -> None:
    """64 KiB, and then each time as much as was read so far."""
    wire.store().scope("shop", "alice", "s1").save("report.bin", bytes(3 * 2**20))
    reader = wire.store(read_only=True).scope("shop", "alice", "s1")
    with wire.costs(reads=2 + 7), reader.open("report.bin", version=0) as file:
        while file.read(1000):
            pass


def test_a_compare_and_set_costs_no_listing_where_its_version_was_saved_here(wire: Wire) -> None:
    scope = wire.store().scope("shop", "alice", "s1")
    with wire.costs(writes=2, lists=1):
        scope.save("state.json", b"0", expect="absent")
    # What it follows must be there still: two reads at the same time, after the claim.
    with wire.costs(writes=2, reads=2):
        scope.save("state.json", b"1", expect=0)
    cold = wire.store().scope("shop", "alice", "s1")
    with wire.costs(writes=2, lists=1, reads=2):
        cold.save("state.json", b"2", expect=1)
    late = wire.store().scope("shop", "alice", "s1")
    with wire.costs(lists=1, reads=1), pytest.raises(Conflict):
        late.save("state.json", b"x", expect=0)


def test_a_removal_costs_a_look_a_mark_and_a_save(wire: Wire) -> None:
    scope = wire.store().scope("shop", "alice", "s1")
    scope.save("report.csv", b"first")
    with wire.costs(lists=1, reads=1, writes=3):
        scope.remove("report.csv")


def test_a_delete_of_an_old_version_costs_looks_and_two_writes(wire: Wire) -> None:
    scope = wire.store().scope("shop", "alice", "s1")
    for number in range(3):
        scope.save("report.csv", f"{number}")
    with wire.proxy.counted() as seen:
        scope.delete("report.csv", version=0)
    kinds = [kind_of(each) for each in seen]
    assert kinds.count("write") == 2 and kinds.count("list") <= 1 and len(kinds) <= 8, [str(each) for each in seen]


def test_names_cost_one_listing_a_scope_whatever_the_versions(wire: Wire) -> None:
    store = wire.store()
    for artifact in range(50):
        fill(store, "shop/alice/s1", f"n{artifact:02}", 1 if artifact else 100)
    fill(store, "shop/alice/user", "u", 2)
    reader = wire.store(read_only=True)
    with wire.costs(lists=2):
        assert len(list(reader.scope("shop", "alice", "s1").names())) == 51
    with wire.costs(lists=1):
        assert list(reader.scope("shop", "alice").names()) == ["u"]


def test_records_cost_a_listing_for_a_thousand_keys_and_a_read_for_each_artifact(wire: Wire) -> None:
    """Here 60 artifacts of 3 versions are 360 keys; `tests/test_overview.py` counts for 2,000 of 5."""
    scope = wire.store().scope("shop", "alice", "s1")
    for number in range(60):
        for version in range(3):
            scope.save(f"report-{number:02}.csv", f"{number} {version}")
    scope.save("user:logo", b"<svg/>")
    reader = wire.store(read_only=True).scope("shop", "alice", "s1")
    with wire.costs(lists=1, reads=60):
        assert [record.version for _, record in reader.records(shared=False)] == [2] * 60
    with wire.costs(lists=2, reads=61):
        found = dict(reader.records())
    with wire.costs(lists=1, reads=10):
        assert len(list(reader.records("report-1"))) == 10
    with wire.costs(lists=1):
        assert len(list(reader.names(shared=False))) == 60
    # Of three versions the middle one is read, and then the newest.
    with wire.costs(lists=1, reads=2 * 60):
        assert len(list(reader.records(at=found["user:logo"].timestamp, shared=False))) == 60


def test_a_signed_url_costs_what_finding_the_version_does(moto: Server) -> None:
    with in_front_of(moto.url) as proxy:
        wire = Wire(moto, proxy, moto.bucket())
        scope = wire.store().scope("shop", "alice", "s1")
        scope.save("report.csv", b"first")
        with wire.costs(reads=2):
            scope.sign("report.csv", 0)
        with wire.costs(lists=1, reads=1):
            scope.sign("report.csv")
        with wire.costs(), pytest.raises(InvalidRef):
            scope.sign("report.csv", seconds=0)


def fill(store: ArtifactStore, folder: str, name: str, count: int) -> None:
    """Put *count* versions there that are payloads alone, as another program's are."""

    async def create() -> list[Written]:
        keys = [f"{folder}/{name}/{number}" for number in range(count)]
        return await asyncio.gather(*(store.backend.create(key, b"x", "text/plain") for key in keys))

    assert all(written.done for written in call(store.backend, create))


@pytest.mark.parametrize("count", [1000, 10_000])
def test_the_newest_of_very_many_versions_costs_at_most_five_requests(full: Wire, count: int) -> None:
    reader = full.store(f"s3://b-{count}/prefix", read_only=True).scope("shop", "alice", "s1")
    with full.proxy.counted() as seen:
        assert reader.load(NAME).data == f"version {count - 1}".encode()
    assert len(seen) <= MOST, [str(each) for each in seen]


def test_a_save_from_cold_above_very_many_versions_costs_at_most_five_requests(full: Wire) -> None:
    store = full.store()
    with full.proxy.counted() as seen:
        assert store.scope("shop", "alice", "s1").save(NAME, b"").version == 10_000
    assert len(seen) <= MOST, [str(each) for each in seen]
    with full.costs(writes=2):
        assert store.scope("shop", "alice", "s1").save(NAME, b"").version == 10_001


def test_nothing_grows_with_the_number_of_versions(full: Wire) -> None:
    counts = []
    for versions in (10, 100):
        store = full.store(f"s3://b-{versions}/prefix")
        counts.append({what: cost(full, store, do, versions) for what, do in OPERATIONS.items()})
    few, some = counts
    assert few == some
    store = full.store("s3://b-1000/prefix")
    many = {what: cost(full, store, do, 1000) for what, do in OPERATIONS.items()}
    # Two listings more where one page does not hold all: from the hint on, and at the next power of ten.
    assert all(many[what] <= few[what] + 2 * (what in LOOKING) for what in OPERATIONS), (few, many)


OPERATIONS: dict[str, Callable[[Any, int], Any]] = {
    "load newest": lambda scope, versions: scope.load(NAME),
    "stat newest": lambda scope, versions: scope.stat(NAME),
    "load known": lambda scope, versions: scope.load(NAME, version=versions // 2),
    "stat known": lambda scope, versions: scope.stat(NAME, version=versions // 2),
    "names": lambda scope, versions: list(scope.names()),
    "save from cold": lambda scope, versions: scope.save(NAME, b"next"),
    "save": lambda scope, versions: scope.save(NAME, b"and next"),
}
LOOKING = {"load newest", "stat newest", "save from cold"}


def cost(wire: Wire, store: ArtifactStore, do: Callable[[Any, int], Any], versions: int) -> int:
    with wire.proxy.counted() as seen:
        do(store.scope("shop", "alice", "s1"), versions)
    return len(seen)


def test_without_a_hint_the_newest_is_searched_in_few_requests_and_the_next_save_leaves_one(full: Wire) -> None:
    client = full.server.client()
    folder = f"prefix/shop/alice/s1/{NAME}/!"
    for found in client.list_objects_v2(Bucket="b-1000", Prefix=folder).get("Contents", ()):
        client.delete_object(Bucket="b-1000", Key=found["Key"])
    reader = full.store("s3://b-1000/prefix", read_only=True).scope("shop", "alice", "s1")
    with full.proxy.counted() as seen:
        top = reader.load(NAME).record.version
    assert top >= 999
    # Twice the binary logarithm of how many hundredth numbers there are.
    assert len(seen) <= 2 * 4 + MOST, [str(each) for each in seen]
    assert full.store("s3://b-1000/prefix").scope("shop", "alice", "s1").save(NAME, b"").version == top + 1
    with full.proxy.counted() as seen:
        assert reader.load(NAME).record.version == top + 1
    assert len(seen) <= MOST, [str(each) for each in seen]


# --- every number, in memory, where an operation is what a request is elsewhere ----------------------------------------


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that memory stores are asked for, which give pages as an object store does."""
    seen: list[str] = []

    def counting(name: str) -> Any:
        real = getattr(MemoryBackend, name)

        async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(f"{name} {args[0]}")
            kwargs.pop("newest", None)
            return await real(self, *args, **kwargs)

        return counted

    for name in ("create", "put", "replace", "get", "list", "stat", "delete"):
        monkeypatch.setattr(MemoryBackend, name, counting(name))
    return seen


@pytest.mark.parametrize("first", [0, 880, 9_890])
def test_no_save_from_cold_and_no_load_of_the_newest_costs_more_at_any_number(
    operations: list[str], first: int, request: pytest.FixtureRequest
) -> None:
    url = f"memory://{request.node.name}"
    warm = ArtifactStore(url).scope("shop", "alice", "s1")
    for _ in range(first):
        warm.save(NAME, b"")
    over: dict[str, list[str]] = {}
    for number in range(first, first + 130):
        for what, do in (("save", lambda scope: scope.save(NAME, b"x")), ("load", lambda scope: scope.load(NAME))):
            operations.clear()
            do(ArtifactStore(url).scope("shop", "alice", "s1"))
            if len(operations) > MOST:
                over[f"{what} {number}"] = list(operations)
    assert not over, f"{len(over)} of 260, such as {next(iter(over.items()))}"


def test_without_a_hint_the_newest_of_ten_thousand_is_found_by_halving(operations: list[str]) -> None:
    store = ArtifactStore("memory://unhinted")
    scope = store.scope("shop", "alice", "s1")
    for _ in range(10_000):
        scope.save(NAME, b"")
    hints = [f"shop/alice/s1/{NAME}/!{number}" for number in range(10_000)]
    call(store.backend, lambda: store.backend.delete(hints))
    operations.clear()
    assert ArtifactStore("memory://unhinted").scope("shop", "alice", "s1").stat(NAME).version == 9999
    assert len(operations) <= 2 * 7 + MOST


def test_names_of_fifty_artifacts_with_a_hundred_versions_each_are_one_listing(operations: list[str]) -> None:
    scope = ArtifactStore("memory://fifty").scope("shop", "alice")
    for artifact in range(50):
        for _ in range(100):
            scope.save(f"n{artifact}", b"x")
    operations.clear()
    assert len(list(scope.names())) == 50
    assert len(operations) == 1


def test_the_count_tells_a_store_that_lists_before_each_save(wire: Wire) -> None:
    """The control: one that remembers nothing of the artifact costs more, and is seen to."""
    wire.store().scope("shop", "alice", "s1").save("report.csv", b"first")
    forgetful = wire.store().scope("shop", "alice", "s1")
    with pytest.raises(AssertionError), wire.costs(writes=2):
        forgetful.save("report.csv", b"second")
