"""What breaks on the way to a store, or is killed in the middle, loses no save, tears none and makes none twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore
from artifactfs.backends.local import LocalBackend
from artifactfs.backends.s3 import S3Backend
from artifactfs.errors import ArtifactError, BackendUnavailable

from . import race_workers, servers
from .proxy import CUT, DROP, REFUSE, SLOW_DOWN, Fault, Proxy, Request, in_front_of
from .race_workers import LONG, digest, kill_savers
from .servers import Server

FAULTS = {"drop": DROP, "refuse": REFUSE, "cut": CUT, "slow down": SLOW_DOWN}
SHORT = b"short, and saved by one create"

_S3 = [
    "moto",
    pytest.param("ceph", marks=pytest.mark.server("ceph")),
    pytest.param("minio", marks=[pytest.mark.server("minio"), pytest.mark.nightly]),
]
_ALL = [*_S3, pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs"))]


class Wire:
    """A store behind a proxy, and a look at what is really there, past it."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        self.server, self.proxy, self.url = server, proxy, server.bucket()
        self.names = (f"n{number}.bin" for number in itertools.count())
        self.store().scope("shop", "nobody", "s1").save("opened", b"")

    def store(self, **settings: Any) -> ArtifactStore:
        return ArtifactStore(self.url, **self.server.at(self.proxy.url).storage_options, **settings)

    def look(self, name: str) -> list[str]:
        """The digests of the versions that are there."""
        scope = ArtifactStore(self.url, **self.server.storage_options).scope("shop", "alice", "s1")
        return [digest(scope.load(name, version=number).data) for number in scope.versions(name)]

    def strikes(self, fault: Fault, number: int, counts: Callable[[Request], bool]) -> Any:
        """Let *fault* strike the request of that *number*, from 0, among those that count."""
        seen = itertools.count()
        return self.proxy.when(fault, lambda request: counts(request) and next(seen) == number)


@pytest.fixture(params=_ALL)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    server: Server = request.getfixturevalue(request.param)
    with in_front_of(server.url) as proxy:
        yield Wire(server, proxy)


@pytest.fixture(params=_S3)
def s3_wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    server: Server = request.getfixturevalue(request.param)
    with in_front_of(server.url) as proxy:
        yield Wire(server, proxy)


def writes(request: Request) -> bool:
    return request.method in ("PUT", "POST", "DELETE")


def pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 1_000_000):
        yield data[at : at + 1_000_000]


def save_struck(
    wire: Wire, fault: Fault, number: int, data: bytes, *, stream: bool
) -> tuple[str, int, Exception | None]:
    """Save with *fault* at the write of that *number*; the name, how often it struck, and what was raised."""
    name = next(wire.names)
    scope = wire.store().scope("shop", "alice", "s1")
    rule = wire.strikes(fault, number, writes)
    raised: Exception | None = None
    try:
        assert scope.save(name, pieces(data) if stream else data).version == 0
    except ArtifactError as error:
        raised = error
    wire.proxy.clear()
    return name, rule.hits, raised


@pytest.mark.parametrize("fault", FAULTS)
def test_a_save_whose_write_fails_once_makes_one_version(wire: Wire, fault: str) -> None:
    for number in itertools.count():
        name, hits, raised = save_struck(wire, FAULTS[fault], number, SHORT, stream=False)
        assert raised is None
        assert wire.look(name) == [digest(SHORT)]
        assert wire.store().scope("shop", "alice", "s1").save(name, b"next").version == 1
        if not hits:
            break
    assert number == 2, "the claim and the payload are two writes"


@pytest.mark.parametrize(
    "fault", ["drop", "cut", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("refuse", "slow down"))]
)
def test_a_stream_whose_write_fails_once_makes_one_version(s3_wire: Wire, fault: str) -> None:
    data = race_workers.payload(fault, 0, LONG)
    for number in itertools.count():
        name, hits, raised = save_struck(s3_wire, FAULTS[fault], number, data, stream=True)
        assert raised is None
        assert s3_wire.look(name) == [digest(data)]
        assert s3_wire.store().scope("shop", "alice", "s1").save(name, b"next").version == 1
        if not hits:
            break
    assert number == 6, "the claim, the beginning, two parts, the finished record and the completion are six writes"


@pytest.mark.server("fake_gcs")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_to_google_whose_write_fails_makes_one_version_or_none(fake_gcs: Server, fault: str) -> None:
    """An emulator cannot be asked how far an upload got, so a stream may fail; it then says whether it landed."""
    data = race_workers.payload(fault, 0, LONG)
    with in_front_of(fake_gcs.url) as proxy:
        wire = Wire(fake_gcs, proxy)
        for number in itertools.count():
            name, hits, raised = save_struck(wire, FAULTS[fault], number, data, stream=True)
            there = wire.look(name)
            if raised is None:
                assert there == [digest(data)]
            else:
                assert isinstance(raised, BackendUnavailable)
                assert there == [] or (there == [digest(data)] and raised.landed)
            wire.store().scope("shop", "alice", "s1").save(name, b"next")
            assert wire.look(name) == [*there, digest(b"next")]
            if not hits:
                break
        assert number >= 5


READS: dict[str, Callable[[Any], Any]] = {
    "load": lambda scope: scope.load("read.bin").data,
    "load known": lambda scope: scope.load("read.bin", version=0).data,
    "stat": lambda scope: scope.stat("read.bin").sha256,
    "open": lambda scope: scope.open("read.bin").read(),
    "versions": lambda scope: scope.versions("read.bin"),
    "names": lambda scope: list(scope.names()),
    "history": lambda scope: [record.version for record in scope.history("read.bin")],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_read_that_fails_once_is_whole_in_the_end(wire: Wire, fault: str) -> None:
    wire.store().scope("shop", "alice", "s1").save("read.bin", race_workers.payload(fault, 1, 100_000))
    reader = wire.store(read_only=True).scope("shop", "alice", "s1")
    for what, read in READS.items():
        wire.proxy.clear()
        right = read(reader)
        requests = len(wire.proxy.requests)
        assert requests
        for number in range(requests):
            wire.proxy.clear()
            rule = wire.strikes(FAULTS[fault], number, lambda _: True)
            assert read(reader) == right, (what, number)
            assert rule.hits == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_read_that_keeps_failing_is_an_error_and_never_less_than_there_is(wire: Wire, fault: str) -> None:
    wire.store().scope("shop", "alice", "s1").save("read.bin", race_workers.payload(fault, 1, 100_000))
    reader = wire.store(read_only=True, tries=2).scope("shop", "alice", "s1")
    for read in READS.values():
        wire.proxy.clear()
        wire.proxy.when(FAULTS[fault], lambda _: True)
        with pytest.raises(BackendUnavailable) as caught:
            read(reader)
        assert caught.value.landed is False
        assert caught.value.store == wire.url and wire.url in str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_save_that_keeps_failing_says_that_it_may_have_landed_and_where(wire: Wire, fault: str) -> None:
    name = next(wire.names)
    scope = wire.store(tries=2).scope("shop", "alice", "s1")
    scope.save(name, b"first")
    # Past the claim: every try of the payload fails.
    seen = itertools.count()
    wire.proxy.when(FAULTS[fault], lambda request: writes(request) and next(seen) > 0)
    with pytest.raises(BackendUnavailable) as caught:
        scope.save(name, b"second")
    wire.proxy.clear()
    assert caught.value.landed is True
    assert caught.value.store == wire.url
    assert name in str(caught.value) and wire.url in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    there = wire.look(name)
    assert there in ([digest(b"first")], [digest(b"first"), digest(b"second")])
    assert there[1:] == ([digest(b"second")] if fault in ("drop", "cut") else [])
    wire.store().scope("shop", "alice", "s1").save(name, b"third")
    assert wire.look(name) == [*there, digest(b"third")]


def test_a_store_that_cannot_be_reached_is_said_to_have_taken_nothing(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{servers.free_port()}"
    store = ArtifactStore("s3://bucket/prefix", endpoint_url=url, key="k", secret="s", tries=2)
    with pytest.raises(BackendUnavailable, match="bucket") as caught:
        store.scope("shop", "alice", "s1").save("report.csv", b"first")
    assert caught.value.landed is False


def test_a_stream_that_breaks_for_good_leaves_nothing_and_takes_no_number_from_anybody(s3_wire: Wire) -> None:
    name = next(s3_wire.names)
    scope = s3_wire.store(tries=1).scope("shop", "alice", "s1")
    s3_wire.proxy.when(REFUSE, lambda request: "partNumber" in request.query)
    with pytest.raises(BackendUnavailable):
        scope.save(name, pieces(bytes(LONG)))
    s3_wire.proxy.clear()
    assert s3_wire.look(name) == []
    assert list(ArtifactStore(s3_wire.url, **s3_wire.server.storage_options).scope("shop", "alice", "s1").names()) == []
    assert not s3_wire.server.client().list_multipart_uploads(Bucket=s3_wire.url.split("/")[2]).get("Uploads")
    scope.save(name, b"next")
    assert s3_wire.look(name) == [digest(b"next")]


def test_the_lost_answer_catches_a_backend_that_takes_exists_for_anothers(
    moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a claim that does not look whose record is there, as SDKs do, makes the first number a hole."""
    from artifactfs.protocol import claim

    monkeypatch.setattr(claim, "_is_ours", lambda data, write_id: False)
    with in_front_of(moto.url) as proxy:
        wire = Wire(moto, proxy)
        with pytest.raises(AssertionError):
            save_struck(wire, DROP, 0, SHORT, stream=False)


def test_the_cut_answer_catches_a_backend_that_gives_what_it_got(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a read that loses its end is seen."""
    real = S3Backend.get

    async def short(self: S3Backend, key: str, start: int = 0, end: int | None = None) -> Any:
        got = await real(self, key, start, end)
        return got if got is None or key.endswith(".metadata") else got._replace(data=got.data[: got.size // 2])

    monkeypatch.setattr(S3Backend, "get", short)
    scope = ArtifactStore(moto.bucket(), **moto.storage_options).scope("shop", "alice", "s1")
    scope.save("read.bin", SHORT)
    with pytest.raises(ArtifactError, match="does not match its record"):
        scope.load("read.bin")


# --- kill -9 ----------------------------------------------------------------------------------------------------------

KILLS, FOLDERS = 200, 10


@pytest.mark.parametrize("durability", ["fsync", "none"])
def test_savers_that_are_killed_leave_nothing_torn_and_lose_nothing_acknowledged(
    tmp_path: Path, durability: str
) -> None:
    """200 in all: 100 with each durability. The killer is a process of its own, for it forks."""
    results = in_a_process(_kill_all, str(tmp_path), durability)
    assert [wrong for result in results for wrong in result["wrong"]] == []
    assert sum(result["acknowledged"] for result in results) >= KILLS
    # Some were struck between claim and publication, else the kills would prove little.
    assert sum(result["in_the_middle"] for result in results) > 0


def _kill_all(folder: str, durability: str) -> list[dict[str, Any]]:
    return [
        kill_savers(f"{folder}/{number}", durability, KILLS // 2 // (FOLDERS // 2), number)
        for number in range(FOLDERS // 2)
    ]


def test_the_kills_catch_a_store_that_writes_in_place(tmp_path: Path) -> None:
    """The control: payloads that grow under their final name are found torn."""
    results = in_a_process(_kill_writers_in_place, str(tmp_path))
    assert any(result["wrong"] for result in results)


def _kill_writers_in_place(folder: str) -> list[dict[str, Any]]:
    async def create(self: LocalBackend, key: str, data: bytes, content_type: str) -> Any:
        if key.endswith(".metadata") or not data:
            return await real(self, key, data, content_type)
        with open(self._path(key), "xb") as file:
            for at in range(0, len(data), 100):
                file.write(data[at : at + 100])
                file.flush()
        return await real(self, f"{key}.beside", b"", content_type)

    real = LocalBackend.create
    LocalBackend.create = create  # type: ignore[method-assign]
    return [kill_savers(f"{folder}/{number}", "none", 20, number) for number in range(3)]


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What *function* gives back from a spawned process."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        return one.submit(function, *arguments).result(240)
