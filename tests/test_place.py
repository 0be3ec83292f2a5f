"""Placing: versions from elsewhere come in under their own numbers, and nothing that stands there is touched."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from artifactfs import ArtifactStore, VersionNotFound
from artifactfs.drivers import run
from artifactfs.errors import IntegrityError
from artifactfs.layout import ArtifactId
from artifactfs.protocol import place as place_module
from artifactfs.protocol.listing import look_all
from artifactfs.protocol.ops import Steps
from artifactfs.protocol.place import Coming, fill, place, standings
from artifactfs.sources import PieceSource
from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulator import Violation

from .simulations.placing import placer
from .simulations.processes import (
    compactor,
    deleter,
    fencer,
    lister,
    namer,
    newest_reader,
    remover,
    saver,
    simulator,
    starts,
    without_payload,
)

AT = datetime(2024, 5, 17, 12, 30, 45, 123456, tzinfo=UTC)
KEYS = "v1:" + base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
LONG = bytes(range(256)) * 4 * 9 * 1024  # 9 MiB, so that it is pulled


@pytest.fixture(params=[None, KEYS], ids=["plain", "sealed"])
def store(request: pytest.FixtureRequest) -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}", keys=request.param or "none")


def artifact_in(store: ArtifactStore, name: str = "report.csv") -> ArtifactId:
    return store.scope("shop", "alice", "s1").id.artifact(name)


def coming(number: int, data: bytes, *, at: datetime = AT, **more: Any) -> Coming:
    held = data if len(data) < len(LONG) else None
    digest = hashlib.sha256(data).hexdigest()
    return Coming(number, at, "text/csv", {"from": "elsewhere"}, size=len(data), sha256=digest, data=held, **more)


def placed(store: ArtifactStore, number: int, data: bytes, **more: Any) -> str:
    """Place a version as an import does; what became of it."""
    artifact = artifact_in(store)
    env = run(store._core.writing(), store.backend)
    view = run(look_all(artifact), store.backend)
    run(fill(env, artifact, range(view.top + 1, number), first=not view.payloads), store.backend)
    outcome: str = run(place(env, artifact, coming(number, data, **more)), store.backend, PieceSource(BytesIO(data)))
    return outcome


@pytest.mark.parametrize("data", [b"", b"day,sold\n", LONG], ids=["empty", "short", "long"])
def test_a_placed_version_has_the_number_time_type_and_metadata_that_it_had(store: ArtifactStore, data: bytes) -> None:
    assert placed(store, 3, data) == "placed"
    scope = store.scope("shop", "alice", "s1")
    artifact = scope.load("report.csv")
    assert artifact.data == data
    record = artifact.record
    assert (record.version, record.timestamp, record.mime_type) == (3, AT, "text/csv")
    assert record.metadata == {"from": "elsewhere"} and (record.encryption is not None) == (record.sha256 is not None)
    assert scope.versions("report.csv") == [3] and list(scope.names()) == ["report.csv"]
    assert scope.save("report.csv", b"next").version == 4
    assert scope.verify("report.csv", 3).version == 3


def test_numbers_that_were_never_given_are_ended_and_hide_nothing_else(store: ArtifactStore) -> None:
    artifact = artifact_in(store)
    env = run(store._core.writing(), store.backend)
    run(fill(env, artifact, range(2), first=True), store.backend)
    scope = store.scope("shop", "alice", "s1")
    assert list(scope.names()) == [] and scope.versions("report.csv") == []
    assert placed(store, 2, b"two") == "placed"
    assert list(scope.names()) == ["report.csv"] and scope.versions("report.csv") == [2]
    with pytest.raises(VersionNotFound):
        scope.load("report.csv", 1)


@pytest.mark.parametrize("data", [b"short", LONG], ids=["short", "long"])
def test_a_claim_that_a_crash_has_left_is_gone_on_with(store: ArtifactStore, data: bytes) -> None:
    """The payload never came: then the same version comes again, and is what its record says."""
    assert placed(store, 0, data) == "placed"
    artifact = artifact_in(store)
    stored = _stored(store, artifact.payload(0))
    _delete(store, artifact.payload(0))
    assert placed(store, 0, b"other bytes" + data) == "taken"
    assert placed(store, 0, data) == "placed"
    assert _stored(store, artifact.payload(0)) == stored
    assert store.scope("shop", "alice", "s1").load("report.csv", 0).data == data


def test_what_stands_under_a_number_is_left_alone(store: ArtifactStore) -> None:
    scope = store.scope("shop", "alice", "s1")
    scope.save("report.csv", b"its own")
    assert placed(store, 0, b"its own") == "taken"
    assert placed(store, 1, b"one") == "placed"
    assert placed(store, 1, b"one") == "placed"
    assert placed(store, 1, b"two") == "taken"
    scope.delete("report.csv", 1)
    assert placed(store, 1, b"one") == "ended"
    assert scope.versions("report.csv") == [0] and scope.load("report.csv").data == b"its own"


def test_a_listing_tells_how_each_number_stands(store: ArtifactStore) -> None:
    scope, artifact = store.scope("shop", "alice", "s1"), artifact_in(store)
    scope.save("report.csv", b"its own")
    for number in (1, 2, 3, 4):
        placed(store, number, b"%d" % number)
    scope.delete("report.csv", 2)
    _delete(store, artifact.payload(3))
    view = run(look_all(artifact), store.backend)
    wanted = [(0, AT, 7), (1, AT, 1), (2, AT, 1), (3, AT, 1), (4, AT, 2), (5, AT, 1)]
    assert run(standings(artifact, view, wanted), store.backend) == {
        0: "taken", 1: "there", 2: "ended", 3: "begun", 4: "changed", 5: "free",
    }  # fmt: skip


def test_a_file_that_changes_while_it_is_sent_is_not_published(store: ArtifactStore) -> None:
    artifact = artifact_in(store)
    env = run(store._core.writing(), store.backend)
    changed = bytearray(LONG)
    changed[-1] ^= 1
    with pytest.raises(IntegrityError, match="changed while it was read"):
        run(place(env, artifact, coming(0, LONG)), store.backend, PieceSource(BytesIO(changed)))
    assert store.scope("shop", "alice", "s1").versions("report.csv") == []


def test_other_content_is_sealed_with_another_salt_under_the_same_key() -> None:
    from artifactfs.codecs.sealed import SALT, Sealed

    codec = Sealed(b"k" * 32, b"context")
    one, other = (hashlib.sha256(data).digest() for data in (b"one", b"two"))
    assert codec.repeatable(one).finish(b"one") == codec.repeatable(one).finish(b"one")
    assert codec.repeatable(one).finish(b"one")[:SALT] != codec.repeatable(other).finish(b"two")[:SALT]
    assert one[:8] not in codec.repeatable(one).finish(b"one")


def _stored(store: ArtifactStore, key: str) -> bytes:
    from artifactfs.drivers import call

    got = call(store.backend, lambda: store.backend.get(key))
    assert got is not None
    return got.data


def _delete(store: ArtifactStore, key: str) -> None:
    from artifactfs.drivers import call

    call(store.backend, lambda: store.backend.delete((key,)))


# --- every interleaving -----------------------------------------------------------------------------------------------


def _begun() -> Any:
    """The store after an import that was killed before it published."""
    _, contents = simulator({}).alone(placer("p", 0), {})
    return without_payload(contents, 0)


STARTS: dict[str, Callable[[], Any]] = {
    "empty": dict,
    "one": lambda: starts()["one"],
    "begun": _begun,
    "removed": lambda: starts()["removed"],
    "fenced": lambda: starts()["fenced"],
}

BESIDE: dict[str, Sequence[Callable[[], Process]]] = {
    "the same one again": [lambda: placer("p1", 0), lambda: placer("p2", 0)],
    "another one": [lambda: placer("p1", 0), lambda: placer("p2", 0, "nowhere")],
    "a saver": [lambda: placer("p1", 1), lambda: saver("s")],
    "a saver who remembers": [lambda: placer("p1", 2), lambda: saver("s", memory=1)],
    "a higher one": [lambda: placer("p1", 1), lambda: placer("p2", 3, "nowhere")],
    "who expects nothing": [lambda: placer("p1", 1), lambda: saver("s", "absent")],
    "a deleter": [lambda: placer("p1", 0), lambda: placer("p2", 0), lambda: deleter(0)],
    "a collector": [lambda: placer("p1", 1), lambda: fencer()],
    "a remover": [lambda: placer("p1", 1), lambda: remover("r")],
    "readers": [lambda: placer("p1", 1), newest_reader],
    "listers": [lambda: placer("p1", 1), lister],
    "names": [lambda: placer("p1", 2), namer],
    "compaction": [lambda: placer("p1", 2), compactor],
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("beside", BESIDE)
def test_placing_beside_others_loses_and_overwrites_nothing(start: str, beside: str) -> None:
    contents = STARTS[start]()
    seen = simulator(contents).explore([make() for make in BESIDE[beside]], contents, faults=1)
    assert seen.exhausted


@pytest.mark.nightly
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("beside", BESIDE)
def test_placing_beside_others_with_two_faults(start: str, beside: str) -> None:
    contents = STARTS[start]()
    assert simulator(contents).explore([make() for make in BESIDE[beside]], contents, faults=2).exhausted


def _without_a_second_look(env: Any, artifact: ArtifactId, coming: Coming) -> Steps[Any]:
    """As `place` would be if it took every claim of that identity for its own content."""
    original = place_module._same_content
    place_module._same_content = lambda one, other: True
    try:
        return (yield from place(env, artifact, coming))
    finally:
        place_module._same_content = original


def test_the_exploration_finds_a_place_that_believes_any_claim() -> None:
    two = [
        placer("p1", 0, place=_without_a_second_look),
        placer("p2", 0, "nowhere", place=_without_a_second_look),
    ]
    with pytest.raises(Violation):
        simulator({}).explore(two, {}, faults=0)
