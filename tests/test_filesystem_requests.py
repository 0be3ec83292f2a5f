"""What calls of the filesystem cost: requests counted at the wire, and operations on a backend that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest

from artifactfs.filesystem import ArtifactFileSystem, recent, tree
from artifactfs.testing.counting import Counting

from .proxy import in_front_of
from .servers import Server
from .test_requests import Wire

S = "shop/alice/s1"


@pytest.fixture(scope="module")
def wire(moto: Server) -> Iterator[Wire]:
    with in_front_of(moto.url) as proxy:
        yield Wire(moto, proxy, moto.bucket())


def reader(wire: Wire) -> ArtifactFileSystem:
    """A filesystem that has seen nothing yet."""
    options = wire.server.at(wire.proxy.url).storage_options
    return ArtifactFileSystem(wire.bucket, read_only=True, skip_instance_cache=True, **options)


def writer(wire: Wire) -> ArtifactFileSystem:
    """One that knows what its bucket can do, and nothing of what is in it."""
    fs = ArtifactFileSystem(wire.bucket, skip_instance_cache=True, **wire.server.at(wire.proxy.url).storage_options)
    fs.pipe("shop/nobody/s1/opened", b"")
    return fs


@pytest.fixture(scope="module")
def told(wire: Wire) -> Wire:
    """Three artifacts, one of two versions, two of them in a folder."""
    fs = writer(wire)
    for data in (b"first", b"second"):
        fs.pipe_file(f"{S}/a.csv", data)
    fs.pipe_file(f"{S}/reports/q1.csv", b"q1")
    fs.pipe_file(f"{S}/reports/q2.csv", b"q2")
    return wire


NEWEST, PINNED = {"lists": 1, "reads": 1}, {"reads": 2}
COSTS: dict[str, tuple[Any, dict[str, int], dict[str, int]]] = {
    "info": (lambda fs, path: fs.info(path), NEWEST, PINNED),
    "isfile": (lambda fs, path: fs.isfile(path), NEWEST, PINNED),
    "exists": (lambda fs, path: fs.exists(path), NEWEST, PINNED),
    "ukey": (lambda fs, path: fs.ukey(path), NEWEST, PINNED),
    "modified": (lambda fs, path: fs.modified(path), NEWEST, PINNED),
    "open": (lambda fs, path: fs.open(path).close(), NEWEST, PINNED),
    "open and read": (lambda fs, path: fs.open(path).read(), {"lists": 1, "reads": 2}, {"reads": 3}),
    "cat_file": (lambda fs, path: fs.cat_file(path), {"lists": 1, "reads": 2}, {"reads": 2}),
    "a slice": (lambda fs, path: fs.cat_file(path, 1, 3), {"lists": 1, "reads": 2}, {"reads": 3}),
    "an empty slice": (lambda fs, path: fs.cat_file(path, 3, 3), NEWEST, PINNED),
    "five slices": (
        lambda fs, path: fs.cat_ranges([path] * 5, range(5), range(1, 6)),
        {"lists": 1, "reads": 1 + 5},
        {"reads": 2 + 5},
    ),
}


def test_a_call_costs_what_finding_the_version_does_and_its_bytes(told: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was looked at a short while ago."""
    monkeypatch.setattr(recent, "FRESH", 0.0)
    fs = reader(told)
    for use, newest, pinned in COSTS.values():
        for path, cost in {f"{S}/a.csv": newest, f"{S}/a.csv@0": pinned, f"{S}/@1/a.csv": pinned}.items():
            with told.costs(**cost):
                use(fs, path)


def test_listings_cost_one_request_and_one_for_each_record_that_is_asked_for(told: Wire) -> None:
    fs = reader(told)
    with told.costs(lists=1):
        assert len(fs.ls(S, detail=False)) == 2
    with told.costs(lists=1, reads=1):
        assert [info["size"] for info in fs.ls(S) if info["type"] == "file"] == [6]
    with told.costs(lists=1):
        assert len(fs.find(S)) == 3
    with told.costs(lists=1, reads=3):
        assert len(fs.find(S, detail=True)) == 3
    with told.costs(lists=1):
        assert len(fs.glob(f"{S}/**/*.csv")) == 3
    with told.costs(lists=1):
        assert fs.isdir(S)
    # Where not the whole session is listed, what was removed from it is listed beside.
    with told.costs(lists=2):
        assert len(fs.ls(f"{S}/reports", detail=False)) == 2
    with told.costs(lists=3):
        assert [files for _, _, files in fs.walk(S)] == [["a.csv"], ["q1.csv", "q2.csv"]]
    with told.costs(lists=2 + 1):
        assert fs.exists(f"{S}/reports")  # no artifact of that name; then what is below it


def test_a_session_at_a_time_costs_a_listing_and_the_records_that_tell_which_version_was_newest(told: Wire) -> None:
    """For each artifact the middle one of its versions is read first."""
    fs = reader(told)
    then = f"{S}/@{fs.modified(f'{S}/a.csv@0').isoformat().replace('+00:00', 'Z')}"
    with told.costs(lists=1, reads=4):
        assert fs.find(then) == [f"{then}/a.csv"]
    with told.costs(lists=1, reads=4):
        assert fs.find(then, detail=True)[f"{then}/a.csv"]["version"] == 0
    with told.costs(lists=1, reads=4):
        assert fs.cat_file(f"{then}/a.csv") == b"first"


def test_saving_costs_two_requests_and_from_cold_one_listing_more(wire: Wire) -> None:
    path = "shop/alice/saving/a.csv"
    saves: list[Callable[[ArtifactFileSystem], Any]] = [
        lambda fs: fs.pipe_file(path, b"data"),
        lambda fs: fs.pipe(path, b"data"),
        lambda fs: fs.write_bytes(path, b"data"),
    ]
    for save in saves:
        fs = writer(wire)
        with wire.costs(writes=2, lists=1):
            save(fs)
        for again in saves:
            with wire.costs(writes=2):
                again(fs)


def test_taking_out_of_view_costs_a_look_a_mark_and_a_save(wire: Wire) -> None:
    fs = writer(wire)
    fs.pipe_file("shop/alice/taking/a.csv", b"data")
    with wire.costs(lists=1, reads=1, writes=3):
        fs.rm_file("shop/alice/taking/a.csv")


def test_looking_and_then_opening_a_version_costs_two_requests_before_its_bytes(told: Wire) -> None:
    """As pyarrow and pandas go about it: what is there, is it a file, open it; the end of it, and then the rest."""
    fs = reader(told)
    with told.costs(reads=2):
        assert fs.info(f"{S}/a.csv@1")["type"] == "file" and fs.isfile(f"{S}/a.csv@1")
        file = fs.open(f"{S}/a.csv@1")
    with told.costs(reads=1), file:
        file.seek(-2, 2)
        assert file.read() == b"nd"
    fs = reader(told)
    with told.costs(lists=2, reads=1):
        assert fs.info(f"{S}/a.csv")["type"] == "file" and fs.isfile(f"{S}/a.csv")
        file = fs.open(f"{S}/a.csv")
    with told.costs(reads=1), file:
        assert file.read() == b"second"
    # Each opening asks what is newest; its record is read once.
    fs = reader(told)
    with told.costs(lists=3, reads=1):
        assert fs.isfile(f"{S}/a.csv") and fs.open(f"{S}/a.csv").size == fs.open(f"{S}/a.csv").size == 6


def test_a_version_that_was_just_open_is_opened_again_without_a_request(told: Wire) -> None:
    fs = reader(told)
    fs.open(f"{S}/a.csv@1").close()
    with told.costs():
        assert fs.open(f"{S}/a.csv@1").size == fs.open(f"{S}/@1/a.csv").size == 6
    with told.costs(reads=1), fs.open(f"{S}/a.csv@1") as file:
        assert file.read() == b"second"
    with told.costs(reads=2):
        assert fs.open(f"{S}/a.csv@0").size == 5


def test_it_is_opened_again_without_a_request_by_url_too(told: Wire) -> None:
    options = told.server.at(told.proxy.url).storage_options
    url = f"artifact://{S}/a.csv@1::{told.bucket}"
    with told.costs(reads=3), fsspec.open(url, s3=options) as file:
        assert file.read() == b"second"
    with told.costs(reads=1), fsspec.open(url, s3=options) as file:
        assert file.read() == b"second"


def test_the_count_sees_a_filesystem_that_remembers_no_version(told: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(recent, "FRESH", 0.0)
    with pytest.raises(AssertionError, match="read"):
        test_a_version_that_was_just_open_is_opened_again_without_a_request(told)
    with pytest.raises(AssertionError, match="read"):
        test_looking_and_then_opening_a_version_costs_two_requests_before_its_bytes(told)


def test_a_version_that_is_deleted_after_it_was_seen_gives_no_bytes() -> None:
    fs = ArtifactFileSystem("memory://requests-deleted", skip_instance_cache=True)
    for data in (b"first", b"second"):
        fs.pipe_file(f"{S}/a.csv", data)
    fs.open(f"{S}/a.csv@0").close()
    fs.store.scope("shop", "alice", "s1").delete("a.csv", 0)
    with fs.open(f"{S}/a.csv@0") as file, pytest.raises(FileNotFoundError, match="was deleted while it was read"):
        file.read()
    for read in (
        fs.cat_file,
        fs.info,
        lambda path: fs.cat_file(path, 0, 2),
        lambda path: fs.cat_ranges([path], 0, 2, on_error="raise"),
    ):
        with pytest.raises(FileNotFoundError):
            read(f"{S}/a.csv@0")
    assert not fs.exists(f"{S}/a.csv@0")


# very many


def test_twelve_hundred_keys_are_two_listings_at_the_wire(wire: Wire) -> None:
    fs, session = writer(wire), "shop/alice/many"
    for number in range(5):
        fs.pipe({f"{session}/n{name:03}": b"%d" % number for name in range(120)})
    fs = reader(wire)
    with wire.costs(lists=1):
        assert len(fs.find(session)) == 120
    with wire.costs(lists=2, reads=120):
        assert {info["version"] for info in fs.find(session, detail=True).values()} == {4}


@pytest.fixture(scope="module")
def many() -> ArtifactFileSystem:
    """A session of 2,000 artifacts of 5 versions: 20,000 keys."""
    fs = ArtifactFileSystem("memory://requests-many", skip_instance_cache=True)
    scope = fs.store.scope("shop", "alice", "s1")
    for number in range(2000):
        for _ in range(5):
            scope.save(f"n{number:04}", b"x")
    return fs


@pytest.fixture
def counted(many: ArtifactFileSystem) -> Iterator[Counting]:
    inner = many.store.backend
    many.store._core.backend = backend = Counting(inner)
    yield backend
    many.store._core.backend = inner


def asked(backend: Counting) -> dict[str, int]:
    return dict(Counter(call.method for call in backend.taken()))


def test_find_costs_a_listing_for_a_thousand_names_or_keys_and_a_read_for_each_record_asked_for(
    many: ArtifactFileSystem, counted: Counting
) -> None:
    assert len(many.find(S)) == 2000
    assert asked(counted) == {"list": 2}
    assert len(many.find(S, withdirs=True)) == 2001
    assert asked(counted) == {"list": 2}
    assert {info["version"] for info in many.find(S, detail=True).values()} == {4}
    assert asked(counted) == {"list": 20, "get": 2000}
    assert {info["size"] for info in many.find(S, detail=True, sizes=False).values()} == {None}
    assert asked(counted) == {"list": 2}
    assert len(many.glob(f"{S}/n19*")) == 100
    assert asked(counted) == {"list": 2}
    assert len(many.ls(S, detail=False)) == len(next(many.walk(S))[2]) == 2000
    assert asked(counted) == {"list": 4}


def test_the_count_sees_a_find_that_reads_records_for_nothing(
    many: ArtifactFileSystem, counted: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    below = tree.below
    monkeypatch.setattr(
        "artifactfs.filesystem.looking.below", lambda *args, **kwargs: below(*args, **{**kwargs, "records": True})
    )
    assert len(many.find(S)) == 2000
    assert asked(counted) != {"list": 2}
