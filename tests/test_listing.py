"""The newest number is found from whatever keys savers and `compact` leave, in a few requests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from artifactfs import ArtifactNotFound, ArtifactStore, VersionNotFound
from artifactfs.backends.base import Backend
from artifactfs.backends.local import LocalBackend
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import perform, run
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.protocol import compact, listing, save
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.ops import Create
from artifactfs.records import Blob, encode, fence_payload, tombstone
from artifactfs.testing.counting import Counting, store_over

ARTIFACT = ScopeId("shop", "alice", "s1").artifact("report.csv")
SHA256_OF_X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def _memory(page_size: int = 1000) -> MemoryBackend:
    return MemoryBackend(f"memory://{uuid.uuid4().hex}", page_size=page_size)


def _fill(backend: Backend, keys: Iterable[str]) -> None:
    for key in keys:
        perform((Create(key, b"x", "application/octet-stream"),), backend, None)


@dataclass
class Keys:
    """What lies in an artifact's folder."""

    payloads: set[int] = field(default_factory=set)
    records: set[int] = field(default_factory=set)
    hints: set[int] = field(default_factory=set)

    @property
    def top(self) -> int:
        return max(self.payloads | self.records)

    def names(self) -> list[str]:
        return [
            *map(ARTIFACT.payload, sorted(self.payloads)),
            *map(ARTIFACT.record, sorted(self.records)),
            *map(ARTIFACT.hint, sorted(self.hints)),
        ]


@dataclass
class Case:
    hint_every: int
    page_size: int
    keys: Keys


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Numbers as claims leave them, one after the other; then `compact` took some, but for the top and each stone."""
    hint_every = draw(st.sampled_from([5, 10, 100]))
    top = draw(
        st.integers(0, 30) | st.integers(0, 230) | st.sampled_from([9, 10, 11, 99, 100, 101, 199, 200, 999, 1001])
    )
    everything = set(range(top + 1))
    gone: set[int] = set()
    for start, length in draw(st.lists(st.tuples(st.integers(0, top), st.integers(1, top + 1)), max_size=4)):
        gone |= set(range(start, start + length))
    gone |= draw(st.sets(st.integers(0, top), max_size=8))
    gone -= {top} | {number for number in everything if number and number % hint_every == 0}
    unpublished = draw(st.sets(st.integers(0, top), max_size=6)) | (everything if draw(st.booleans()) else set())
    foreign = draw(st.sets(st.integers(0, top), max_size=2)) - unpublished
    hints = draw(st.just(set[int]()) | st.sets(st.integers(0, top), min_size=1, max_size=3))
    keys = Keys(everything - gone - unpublished, everything - gone - foreign, hints)
    return Case(hint_every, draw(st.sampled_from([20, 21, 24, 50, 333, 1000])), keys)


def _look(case: Case) -> View:
    backend = _memory(case.page_size)
    _fill(backend, case.keys.names())
    with pytest.MonkeyPatch.context() as patch:
        for module in (listing, save, compact):
            patch.setattr(module, "HINT_EVERY", case.hint_every)
        return run(look(ARTIFACT), backend)


@given(cases())
@settings(max_examples=3 * settings().max_examples)
@example(Case(100, 20, Keys({0, 1, 2}, {0, 1, 2, 30})))
@example(Case(100, 20, Keys(set(), {100, 200, 250})))
@example(Case(10, 20, Keys(set(), {10, 20, 30, 40, 50, 60, 70, 80, 90, 100})))
@example(Case(5, 20, Keys({5, 10, 11}, {5, 10, 11}, {7})))
@example(Case(5, 20, Keys(set(range(101)), set(range(101)), {3})))
def test_the_newest_number_is_found_with_good_old_and_no_hints(case: Case) -> None:
    assert _look(case).top == case.keys.top


@given(cases())
def test_every_key_at_and_above_the_floor_is_in_the_view(case: Case) -> None:
    view = _look(case)
    assert {number for number in view.payloads if number >= view.floor} == {
        number for number in case.keys.payloads if number >= view.floor
    }
    assert {number for number in view.records if number >= view.floor} == {
        number for number in case.keys.records if number >= view.floor
    }
    assert view.payloads.keys() <= case.keys.payloads
    assert view.records.keys() <= case.keys.records
    assert view.hints <= case.keys.hints


@pytest.mark.parametrize("kind", ["memory", "local"])
@pytest.mark.parametrize(
    "keys",
    [
        Keys({0, 1, 2}, {0, 1, 2, 30}),
        Keys(set(range(8, 13)), set(range(8, 12)) | {100, 101}),
        Keys({5, 99, 1000}, {5, 99, *range(9_998, 10_020)}),
        Keys(set(), {0, 100, 200, 250}),
        Keys({3}, set(range(120, 300)), {100}),
        Keys(set(range(50)), set(range(50)) | set(range(60, 220))),
    ],
)
def test_a_store_that_tells_its_newest_numbers_tells_of_each_key_from_the_floor_on(
    keys: Keys, kind: str, tmp_path: Path
) -> None:
    backend: Backend = LocalBackend(tmp_path, durability="none")
    if kind == "memory":
        backend = MemoryBackend(f"memory://{uuid.uuid4().hex}")
    _fill(backend, keys.names())
    view = run(look(ARTIFACT), backend)
    assert view.top == keys.top
    assert {number for number in view.payloads if number >= view.floor} == {
        number for number in keys.payloads if number >= view.floor
    }
    assert {number for number in view.records if number >= view.floor} == {
        number for number in keys.records if number >= view.floor
    }


def test_a_number_that_is_too_long_for_a_version_hides_none(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path, durability="none")
    _fill(backend, Keys(set(range(7)), set(range(7))).names())
    (tmp_path / ARTIFACT.folder / "20261121182233445566").touch()
    view = run(look(ARTIFACT), backend)
    assert view.top == 6 and view.payloads


def test_the_newest_payload_is_shown_though_one_goes_while_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never 6: version 7 went when 8 was there."""
    backend = LocalBackend(tmp_path, durability="none")
    _fill(backend, Keys(set(range(8)), set(range(9))).names())
    real, reads = os.listdir, list[bytes]()

    def listdir(path: bytes) -> list[bytes]:
        names = real(path)
        if not reads:
            _fill(backend, [ARTIFACT.payload(8)])
            (tmp_path / ARTIFACT.payload(7)).unlink()
        reads.append(path)
        return names

    monkeypatch.setattr(os, "listdir", listdir)
    assert max(run(look(ARTIFACT), backend).payloads) == 8
    assert len(reads) == 2


def test_an_artifact_is_there_though_its_newest_numbers_were_all_fenced() -> None:
    store = ArtifactStore(f"memory://{uuid.uuid4().hex}")
    scope = store.scope("shop", "alice", "s1")
    for _ in range(2):
        scope.save("report.csv", b"x")
    for number in range(2, 8):
        stone = tombstone("report.csv", number, "0" * 32, "fenced", datetime.now(UTC))
        for key, data in ((ARTIFACT.record(number), encode(stone)), (ARTIFACT.payload(number), fence_payload())):
            perform((Create(key, data, "application/octet-stream"),), store.backend, None)
    with pytest.raises(VersionNotFound, match="newest is 1"):
        scope.load("report.csv", 9)


@given(cases())
def test_a_full_look_sees_every_key(case: Case) -> None:
    backend = _memory(case.page_size)
    _fill(backend, [*case.keys.names(), f"{ARTIFACT.folder}!x", f"{ARTIFACT.folder}007", f"{ARTIFACT.folder}z/1"])
    view = run(look_all(ARTIFACT), backend)
    assert (view.payloads.keys(), view.records.keys()) == (case.keys.payloads, case.keys.records)
    assert view.hints == case.keys.hints


def test_a_search_that_goes_by_the_first_page_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: keys sort as text, so the first page is not where the newest is."""
    monkeypatch.setattr(listing, "_climb", lambda artifact, view: (yield from _nothing(artifact, view)))
    keys = Keys(set(range(1200)), set(range(1200)))
    assert _look(Case(100, 1000, keys)).top != keys.top


def _nothing(artifact: ArtifactId, view: View) -> Iterator[object]:
    return
    yield


# numbers across the borders of digits and pages, on a store of a thousand a page


class Grown:
    """An artifact in memory that grows number by number, without the protocol's help."""

    def __init__(self, *, hints: bool) -> None:
        self.backend = Counting(_memory())
        self.hints = hints
        self.next = 0

    def to(self, top: int) -> None:
        inner = self.backend.inner
        for number in range(self.next, top + 1):
            record = Blob(
                filename="report.csv",
                mime_type="text/csv",
                version=number,
                size_bytes=1,
                timestamp=self._now(),
                write_id=f"{number:032x}",
                sha256=SHA256_OF_X,
                stored_bytes=1,
            )
            perform((Create(ARTIFACT.record(number), encode(record), "application/json"),), inner, None)
            _fill(inner, [ARTIFACT.payload(number)])
            if self.hints and number and number % 100 == 50:
                _fill(inner, [ARTIFACT.hint(number)])
        self.next = max(self.next, top + 1)

    @staticmethod
    def _now() -> object:
        from datetime import UTC, datetime

        return datetime(2026, 11, 20, tzinfo=UTC)


BORDERS = [
    *[
        *range(12),
        *range(97, 103),
        *range(197, 203),
        *range(330, 336),
        398,
        399,
        400,
        *range(498, 503),
        *range(995, 1006),
    ],
    *[1049, 1050, 1098, 1099, 1100, 1101, 1999, 2000, 5555, 9899, 9900, 9949],
    *range(9950, 10_051, 7),
    *[9998, 9999, 10_000, 10_001, 10_099, 10_100, 10_101],
]


@pytest.mark.parametrize("hints", [True, False], ids=["with hints", "without hints"])
def test_the_newest_number_is_found_across_the_borders_of_digits(hints: bool) -> None:
    grown = Grown(hints=hints)
    for top in sorted(BORDERS):
        grown.to(top)
        assert run(look(ARTIFACT), grown.backend).top == top


def test_a_look_at_the_newest_costs_at_most_three_listings() -> None:
    grown = Grown(hints=True)
    for top in sorted(BORDERS):
        grown.to(top)
        grown.backend.taken()
        run(look(ARTIFACT), grown.backend)
        calls = grown.backend.taken()
        assert len(calls) <= (1 if top < 400 else 3), (top, calls)
        assert {call.method for call in calls} == {"list"}


def test_a_lost_hint_costs_a_search_that_grows_with_the_logarithm_only() -> None:
    grown = Grown(hints=False)
    grown.to(10_101)
    grown.backend.taken()
    assert run(look(ARTIFACT), grown.backend).top == 10_101
    assert len(grown.backend.taken()) <= 25


def test_requests_do_not_grow_with_the_number_of_versions() -> None:
    """Load of the newest and a cold save: 3 requests up to 400 versions and 5 above; warm saves and known numbers: 2."""
    grown = Grown(hints=True)
    for top in (0, 9, 98, 398, 1234, 9_998, 10_012):
        grown.to(top)
        most = 3 if top < 400 else 5
        store = store_over(grown.backend, ArtifactStore)
        scope = store.scope("shop", "alice", "s1")
        grown.backend.taken()

        assert scope.load("report.csv").record.version == top
        assert len(grown.backend.taken()) <= most

        assert scope.load("report.csv", top // 2).data == b"x"
        assert sorted(call.method for call in grown.backend.taken()) == ["get", "get"]

        assert scope.save("report.csv", b"cold").version == top + 1
        assert len(grown.backend.taken()) <= most

        assert scope.save("report.csv", b"warm").version == top + 2
        assert [call.method for call in grown.backend.taken()] == ["create", "create"]

        assert scope.save("report.csv", b"compared", expect=top + 2).version == top + 3
        assert len(grown.backend.taken()) <= 4
        grown.next = top + 4


def test_an_artifact_that_is_not_there_costs_one_listing() -> None:
    backend = Counting(_memory())
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    with pytest.raises(ArtifactNotFound):
        scope.load("report.csv")
    assert [call.method for call in backend.taken()] == ["list"]


def test_savers_leave_a_hint_every_hundred_versions_and_clear_older_ones() -> None:
    backend = _memory()
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    for number in range(460):
        assert scope.save("report.csv", b"x").version == number
    view = run(look_all(ARTIFACT), backend)
    assert view.hints == {350, 450}


def test_a_saver_that_had_to_search_leaves_a_hint() -> None:
    grown = Grown(hints=False)
    grown.to(1234)
    scope = store_over(grown.backend, ArtifactStore).scope("shop", "alice", "s1")
    assert scope.save("report.csv", b"x").version == 1235
    grown.backend.taken()
    run(look(ARTIFACT), grown.backend)
    assert len(grown.backend.taken()) == 2
