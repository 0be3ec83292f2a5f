"""A scope with its records, now and as of a time: right against a model, beside writers, and at the promised cost."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from artifactfs import ArtifactStore, AsyncArtifactStore, BackendError, BackendUnavailable, InvalidRef, Scope
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import iterate, perform
from artifactfs.protocol import overview
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Create, Steps
from artifactfs.records import Pointer, pointer_payload
from artifactfs.records import encode as encode_record
from artifactfs.testing.counting import Counting, store_over
from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulated_store import Contents, Item
from artifactfs.testing.simulator import Seen, Violation

from .simulations.faults import planted
from .simulations.processes import (
    LONG_AGO,
    SCOPE,
    after,
    all_deleter,
    data_of,
    deleter,
    remover,
    saver,
    simulator,
    starts,
)
from .simulations.properties import Role, content_of
from .test_names_listing import ODD, PLAIN, _order, prefixes
from .test_names_listing import names as all_names

STARTS = starts()
BEGINNING = datetime(2040, 1, 1, tzinfo=UTC)
"""Later than any clock that these tests run by, so that the stamps of records are the tests' own."""


def _backend(page_size: int = 1000) -> Counting:
    return Counting(MemoryBackend(f"memory://{uuid.uuid4().hex}", page_size=page_size))


# against a model


class Version(NamedTuple):
    number: int
    at: int
    removal: bool


class Model:
    """A session and its user's scope, changed once a second, and what is there of each artifact."""

    def __init__(self, page_size: int) -> None:
        self.store = store_over(_backend(page_size), ArtifactStore)
        self.store._core.env = Env(wall=lambda: self.time(self.now).timestamp(), give_up=float("inf"))
        self.session, self.user = self.store.scope("shop", "alice", "s1"), self.store.scope("shop", "alice")
        self.now = 0
        self.there: dict[str, list[Version]] = {}

    @staticmethod
    def time(seconds: float) -> datetime:
        return BEGINNING + timedelta(seconds=seconds)

    def act(self, of_user: bool, name: str, what: str) -> None:
        self.now += 1
        called = f"user:{name}" if of_user else name
        versions = self.there.setdefault(called, [])
        if what.startswith("save"):
            for _ in range(12 if what == "save many" else 1):
                versions.append(Version(self.session.save(called, b"x").version, self.now, False))
        elif what == "remove" and versions and not versions[-1].removal:
            versions.append(Version(self.session.remove(called).version, self.now, True))
        elif what == "delete" and versions:
            self.session.delete(called)
            versions.clear()
        elif what == "delete the newest" and versions:
            self.session.delete(called, versions.pop().number)
        elif what == "delete the first" and versions:
            self.session.delete(called, versions.pop(0).number)

    def at(self, moment: float, prefix: str = "", *, of_user: bool = False) -> list[tuple[str, int]]:
        """Names and numbers, by the model."""
        found = {}
        for called, versions in self.there.items():
            then = [version for version in versions if version.at <= moment]
            if then and not then[-1].removal and (called.startswith("user:") or not of_user):
                found[called.removeprefix("user:") if of_user else called] = then[-1].number
        return [(name, found[name]) for name in sorted(found, key=_order) if name.startswith(prefix)]


def _told(scope: Scope, prefix: str = "", at: datetime | None = None) -> list[tuple[str, int]]:
    return [(name, record.version) for name, record in scope.records(prefix, at)]


ACTIONS = ["save"] * 5 + ["save many", "remove", "delete", "delete the newest", "delete the first"]
actions = st.lists(st.tuples(st.booleans(), all_names, st.sampled_from(ACTIONS)), max_size=20)


@given(
    actions, st.sampled_from([1, 3, 7, 20, 50, 1000]), st.sampled_from([1, 7, 50_000]), st.lists(prefixes, max_size=3)
)
@settings(max_examples=2 * settings().max_examples)
@example([(False, name, "save") for name in PLAIN + ODD], 7, 50_000, ["a", "a/", "user:"])
@example(
    [(user, name, "save many") for user in (True, False) for name in ["a.csv", "a", "a b"]], 50, 1, ["a", "user:a"]
)
@example([(False, "a", what) for what in ("save", "remove", "save", "delete the newest", "save many")], 20, 7, [])
def test_records_are_those_of_the_model_at_every_time(
    done: list[tuple[bool, str, str]], page_size: int, held: int, asked: list[str]
) -> None:
    model = Model(page_size)
    for action in done:
        model.act(*action)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overview, "HELD", held)
        for prefix in ("", *asked):
            assert _told(model.session, prefix) == model.at(model.now, prefix)
        assert _told(model.user) == model.at(model.now, of_user=True)
        for second in range(model.now + 1):
            for prefix in ("", *asked):
                found = _told(model.session, prefix, model.time(second + 0.5))
                assert found == model.at(second, prefix)
                assert list(model.session.names(prefix, at=model.time(second))) == [name for name, _ in found]
        everything = [name for name, _ in model.at(model.now)]
        for place, name in enumerate(everything):
            assert list(model.session.names(after=name, at=model.time(model.now))) == everything[place + 1 :]


def _checked(done: list[tuple[bool, str, str]], page_size: int) -> None:
    test_records_are_those_of_the_model_at_every_time.hypothesis.inner_test(  # type: ignore[attr-defined]
        done, page_size, 50_000, []
    )


PLANTED = {
    "a removal that is forgotten": (
        (overview._record, "isinstance(found.record, (Blob, Pointer))", "True"),
        [(False, "a", "save"), (False, "a", "remove")],
    ),
    "a page's border that cuts an artifact in two": (
        (overview._KeyWalk.fill, "if segment != self.open:", "if True:"),
        [(False, name, "save many") for name in "abc"],
    ),
    "a time that is passed over": (
        (overview._record, "if at is None:", "if True:"),
        [(False, "a", "save"), (False, "a", "save")],
    ),
    "a folder that is taken for passed where its name begins another's": (
        (overview._KeyWalk.fill, "position if self.open is None else self.until", "position"),
        [(False, name, "save many") for name in ("a", "a.csv", "b")],
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_the_model_tells(fault: str) -> None:
    """The controls: a listing with a fault, which the comparison above must see."""
    change, done = PLANTED[fault]
    _checked(done, 40)
    with planted(change[0], change[1:]), pytest.raises((AssertionError, KeyError)):
        _checked(done, 40)


# beside writers: every interleaving. What is answered must have been so at some instant since the listing began, so an
# artifact that is there throughout is never missed.


def overviewer(*, wanted: Callable[[str], bool] = lambda name: name == "n") -> Process:
    def steps() -> Steps[Any]:
        return overview.records(SCOPE, wanted=wanted)

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        if isinstance(result, Exception):
            return ("error", repr(result))
        record = dict(emitted).get("n")
        if record is None:
            return ("none",)
        return ("version", record.version, content_of(data_of(record.write_id.rstrip(".")), record.write_id))

    return Process("overview", steps, outcome, role=Role("newest"))


def _explore(contents: Contents, *processes: Process, page: int = 1000) -> Seen:
    return simulator(contents, page=page).explore(processes, contents)


BESIDE: dict[str, Callable[[], Process]] = {
    "a save": lambda: saver("A"),
    "a removal": lambda: remover("B"),
    "a deletion": lambda: deleter(0),
    "a deletion of the second": lambda: deleter(1),
    "a deletion of all": all_deleter,
}


@pytest.mark.parametrize("page", [1000, 3])
@pytest.mark.parametrize("start", ["empty", "one", "two", "removed", "claimed", "newest deleted", "all deleted"])
def test_an_overview_tells_what_was_so_beside_any_writer(start: str, page: int) -> None:
    for one in BESIDE.values():
        assert _explore(STARTS[start], one(), overviewer(), page=page).exhausted


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(BESIDE, 2)))
def test_an_overview_tells_what_was_so_beside_two_writers(one: str, other: str) -> None:
    assert _explore(STARTS["one"], BESIDE[one](), BESIDE[other](), overviewer()).exhausted


def divided() -> Contents:
    """Nine versions, of which a page of 24 keys brings some: it ends behind where 10 would be, and before 9."""
    contents: Contents = {}
    for number in range(9):
        contents = after(saver(f"s{number}", at=LONG_AGO), contents=contents)
    return {**contents, **{f"{SCOPE.folder}@tags/n/{number}": Item(b"", LONG_AGO) for number in range(10)}}


LATE: dict[str, Callable[[], tuple[Process, ...]]] = {
    "a removal that is overtaken by a save": lambda: (remover("B"), saver("A", memory=9)),
    "the newest deleted after a save": lambda: (saver("A"), deleter(8)),
}


@pytest.mark.parametrize("case", LATE)
def test_an_artifact_that_two_pages_share_is_told_of_as_it_was(case: str) -> None:
    assert _explore(divided(), *LATE[case](), overviewer(), page=24).exhausted


def test_what_two_pages_show_misleads_without_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: where 10 came behind the first page, and 9 onto the second, 9 seems to be the newest."""
    monkeypatch.setattr(overview, "_may_mislead", lambda view: False)
    with pytest.raises(Violation, match="true meanwhile"):
        _explore(divided(), *LATE["a removal that is overtaken by a save"](), overviewer(), page=24)


# what it costs


def _filled(artifacts: int, versions: int, name: str = "report-{:04}.csv") -> tuple[Scope, Counting]:
    backend = _backend()
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    for number in range(artifacts):
        for version in range(versions):
            scope.save(name.format(number), f"{number} {version}")
    backend.taken()
    return scope, backend


def _counted(backend: Counting) -> Counter[str]:
    return Counter(call.method for call in backend.taken())


def test_two_thousand_artifacts_of_five_versions_cost_a_listing_a_thousand_keys_and_a_read_each() -> None:
    scope, backend = _filled(2000, 5)
    found = list(scope.records(shared=False))
    assert _counted(backend) == {"list": 20, "get": 2000}
    assert [name for name, _ in found] == [f"report-{number:04}.csv" for number in range(2000)]
    assert {record.version for _, record in found} == {4}
    assert len(list(scope.records())) == 2000
    assert _counted(backend) == {"list": 21, "get": 2000}  # one of the user's scope
    assert len(list(scope.names(shared=False))) == 2000
    assert _counted(backend)["get"] == 0
    some = list(iterate(scope._ops.overview("", None, lambda name: name.endswith("7.csv")), backend))
    assert [name for name, record in some if record is not None] == [name for name, _ in found if name[-5] == "7"]
    assert len(some) == 2000
    assert _counted(backend) == {"list": 20, "get": 200}
    assert len(list(scope.records("report-12", shared=False))) == 100
    assert _counted(backend) == {"list": 2, "get": 100}
    assert list(scope.records("nothing", shared=False)) == []
    assert _counted(backend) == {"list": 1}


def test_records_as_of_a_time_cost_a_read_for_each_halving_of_the_versions() -> None:
    scope, backend = _filled(200, 5)
    then = datetime.now(UTC)
    assert {record.version for _, record in scope.records(at=then, shared=False)} == {4}
    counted = _counted(backend)
    assert counted["list"] == 2
    assert counted["get"] <= 3 * 200
    assert len(list(scope.names(at=then, shared=False))) == 200
    assert _counted(backend)["list"] == 2


def test_removals_cost_a_read_and_deletions_a_second_look_only_where_they_come_meanwhile() -> None:
    scope, backend = _filled(100, 2)
    for number in range(10):
        scope.remove(f"report-{number:04}.csv")
        scope.delete(f"report-{number + 10:04}.csv")
        scope.delete(f"report-{number + 20:04}.csv", 1)
    backend.taken()
    found = _told(scope)
    assert _counted(backend) == {"list": 2, "get": 90}
    assert found == [(f"report-{number:04}.csv", 0 if number < 30 else 1) for number in range(20, 100)]
    records = scope.records(shared=False)
    next(records)
    backend.taken()
    scope.delete("report-0090.csv", 1)
    backend.taken()
    assert {name: record.version for name, record in records}["report-0090.csv"] == 0
    assert _counted(backend)["list"] == 1  # the look after the deleted one was met


def test_the_first_record_costs_a_page_and_some_reads() -> None:
    scope, backend = _filled(1500, 1, "r{:04}")
    records = scope.records()
    assert backend.taken() == []
    assert next(records)[0] == "r0000"
    assert _counted(backend) == {"list": 2, "get": overview.AT_ONCE}
    assert len(list(records)) == 1499
    assert _counted(backend) == {"list": 2, "get": 1500 - overview.AT_ONCE}


def test_an_artifact_of_very_many_versions_is_passed_over_by_one_that_lists_the_rest() -> None:
    scope, backend = _filled(20, 3, "small {:02}")
    for name in ("a small one", "the big one", "zero"):
        for _ in range(3000 if name == "the big one" else 2):
            scope.save(name, b"x")
    then = scope.stat("the big one").timestamp
    backend.taken()
    found = _told(scope)
    counted = _counted(backend)
    assert counted["list"] <= 1 + 2 + 1 + 3, counted  # of the user's scope, up to the big one, behind it, into it
    assert counted["get"] == 23
    assert dict(found)["the big one"] == 2999
    assert [name for name, _ in found] == list(scope.names())
    backend.taken()
    assert dict(_told(scope, at=then))["the big one"] == 2999
    counted = _counted(backend)
    assert counted["list"] <= 1 + 7
    assert counted["get"] <= 23 * 2 + 12
    assert dict(_told(scope, "the", then)) == {"the big one": 2999}


def test_marks_and_what_else_lies_there_cost_a_page_and_are_no_names() -> None:
    scope, backend = _filled(3, 1, "N{}")
    theirs = [f"@hidden/N{number:05}/7" for number in range(3000)] + ["@tags/N0/prod", "stray", "N1/x/y", "0"]
    for key in theirs:
        perform((Create(scope.id.folder + key, b"", "application/octet-stream"),), backend.inner, None)
    assert [name for name, _ in scope.records(shared=False)] == ["N0", "N1", "N2"]
    assert _counted(backend)["list"] <= 3


def test_names_that_wait_for_a_name_before_them_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "HELD", 1500)
    scope, backend = _filled(3000, 1, "img.{:04}")
    held = []
    close = overview._KeyWalk._close
    monkeypatch.setattr(
        overview._KeyWalk, "_close", lambda walk, **how: (held.append(walk.keys), close(walk, **how))[1]
    )
    assert [name for name, _ in scope.records(shared=False)] == [f"img.{number:04}" for number in range(3000)]
    assert max(held) < 1500 + 2 * 1500
    assert _counted(backend)["list"] == 6 + 1  # one for the name that all wait for


# errors, and the asynchronous methods


def test_a_store_that_fails_is_an_error_and_no_shorter_listing() -> None:
    scope, backend = _filled(30, 1)
    reads = itertools.count()

    async def get(key: str, start: int = 0, end: int | None = None) -> Any:
        if next(reads) == 20:
            raise BackendUnavailable("no answer")
        return await MemoryBackend.get(backend.inner, key, start, end)

    backend.inner.get = get  # type: ignore[method-assign]
    records = scope.records()
    assert len(list(itertools.islice(records, 16))) == 16
    with pytest.raises(BackendUnavailable, match="no answer"):
        next(records)


def _drained(items: AsyncIterator[Any]) -> list[Any]:
    async def main() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(main())


def test_the_asynchronous_methods_tell_the_same() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    scope = ArtifactStore(url).scope("shop", "alice", "s1")
    first = scope.save("a", b"0").timestamp
    for name in ("a", "a.csv", "user:x"):
        scope.save(name, b"1")
    scope.remove("a")
    other = AsyncArtifactStore(url).scope("shop", "alice", "s1")
    assert _drained(other.records()) == list(scope.records())
    assert [name for name, _ in _drained(other.records())] == ["a.csv", "user:x"]
    assert _drained(other.records("a", first)) == [("a", scope.stat("a", 0))]
    assert _drained(other.names(at=first)) == ["a"]
    assert _drained(other.names(shared=False)) == ["a.csv"]
    with pytest.raises(BackendError, match="cannot sign"):
        asyncio.run(other.sign("a.csv"))
    with pytest.raises(InvalidRef, match="no time zone"):
        other.records(at=datetime(2026, 11, 20))


def test_a_pointer_is_told_of_as_what_it_is() -> None:
    scope, backend = _filled(2, 1, "a{}")
    uri = "https://example.org/paper.pdf"
    pointer = Pointer(
        filename="a0",
        mime_type="application/pdf",
        version=1,
        size_bytes=None,
        timestamp=BEGINNING,
        write_id="0" * 32,
        uri=uri,
    )
    artifact = scope.id.artifact("a0")
    for key, data in ((artifact.record(1), encode_record(pointer)), (artifact.payload(1), pointer_payload(uri))):
        perform((Create(key, data, "text/uri-list"),), backend.inner, None)
    assert dict(scope.records())["a0"] == pointer
