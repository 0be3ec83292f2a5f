"""A scope becomes what it was at a time, whatever was done there since, and hides nothing that others do meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from artifactfs import (
    AccessDenied,
    ArtifactStore,
    AsyncArtifactStore,
    BackendUnavailable,
    Blob,
    InvalidRef,
    Pointer,
    Record,
    Scope,
    Undo,
)
from artifactfs.backends.local import LocalBackend
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import perform
from artifactfs.errors import ArtifactError
from artifactfs.keys.keyring import new_key
from artifactfs.operations import history as history_module
from artifactfs.operations import undo as undo_module
from artifactfs.protocol.env import Env
from artifactfs.testing.counting import Counting, store_over
from artifactfs.testing.store_base import keys_below
from artifactfs.testing.store_history import shown

from .simulations.faults import planted

KEYS = new_key("v1")


def memory_scope(**options: Any) -> Scope:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}", **options).scope("shop", "alice", "s1")


# --- against a model --------------------------------------------------------------------------------------------------

NAMES = ["a", "a/b", "b"]
DATA = [b"", b"one", b"two"]
METADATA: list[dict[str, Any]] = [{}, {"of": 1}]


class Version(NamedTuple):
    """What the model knows of a version. `content` is None for a removal; `deleted` when it was, for good."""

    number: int
    at: datetime
    content: tuple[Any, ...] | None
    deleted: datetime | None = None


class UndoMachine(RuleBasedStateMachine):
    """Whatever was done, and whenever it is undone to: the scope is what the model says that it was."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, list[Version]] = {name: [] for name in NAMES}
        self.times = [datetime(2020, 1, 1, tzinfo=UTC)]

    def open(self) -> ArtifactStore:
        return ArtifactStore(f"memory://{uuid.uuid4().hex}", **self.options)

    @initialize()
    def begin(self) -> None:
        self.scope = self.open().scope("shop", "alice", "s1")
        self.scope.save("user:a", b"never touched")

    def there(self, name: str) -> list[Version]:
        return [version for version in self.model[name] if version.deleted is None]

    def state(self, at: datetime | None = None) -> dict[str, tuple[Any, ...]]:
        """What is there now, or of what was there at a time whatever still is."""
        found = {}
        for name in NAMES:
            known = [version for version in self.there(name) if at is None or version.at <= at]
            if known and known[-1].content is not None:
                found[name] = known[-1].content
        return found

    def note(self, name: str, record: Record, content: tuple[Any, ...] | None) -> None:
        assert all(record.version > version.number for version in self.model[name])
        self.model[name].append(Version(record.version, record.timestamp, content))
        self.times.append(record.timestamp)

    names = st.sampled_from(NAMES)

    @rule(name=names, data=st.sampled_from(DATA), metadata=st.sampled_from(METADATA))
    def save(self, name: str, data: bytes, metadata: dict[str, Any]) -> None:
        record = self.scope.save(name, data, mime_type="text/plain", metadata=metadata)
        self.note(name, record, (Blob, "text/plain", metadata, data))

    @rule(name=names, last=st.integers(1, 2))
    def point(self, name: str, last: int) -> None:
        uri = f"https://example.com/{last}"
        self.note(name, self.scope.point(name, uri, mime_type="text/plain"), (Pointer, "text/plain", {}, uri))

    @rule(name=names)
    def remove(self, name: str) -> None:
        if name in self.state():
            self.note(name, self.scope.remove(name), None)

    @rule(name=names, place=st.integers(0, 5))
    def delete(self, name: str, place: int) -> None:
        there = self.there(name)
        if place < len(there):
            version = there[-1 - place]
            self.scope.delete(name, version.number)
            where = self.model[name].index(version)
            self.model[name][where] = version._replace(deleted=datetime.now(UTC))

    @rule(name=names, place=st.integers(0, 5))
    def restore(self, name: str, place: int) -> None:
        there = self.there(name)
        if place < len(there) and there[-1 - place].content is not None:
            self.note(name, self.scope.restore(name, there[-1 - place].number), there[-1 - place].content)

    @precondition(lambda self: any(self.model.values()))
    @rule(back=st.integers(0, 12), shown_first=st.booleans())
    def undo(self, back: int, shown_first: bool) -> None:
        at = self.times[max(len(self.times) - 1 - back, 0)]
        before, wanted = self.state(), self.state(at)
        if shown_first:
            plan = msgspec.json.decode(msgspec.json.encode(self.scope.restore_all(at, dry_run=True)), type=Undo)
            assert shown(self.scope) == before
            undone = self.scope.restore_all(plan=plan)
        else:
            undone = self.scope.restore_all(at)
        steps = {step.name: step for step in undone.steps}
        changed = {name for name in NAMES if before.get(name) != wanted.get(name)}
        assert {name for name, step in steps.items() if step.action != "lost"} == changed
        assert undone.unchanged == len(before) - len((changed | steps.keys()) & before.keys())
        for name in changed:
            step = steps[name]
            assert (step.outcome, step.action) == ("done", "restore" if name in wanted else "remove")
            assert step.expect == self.there(name)[-1].number and step.result is not None
            record = next(iter(self.scope.history(name)))
            assert record.version == step.result
            self.note(name, record, wanted.get(name))
        for name in NAMES:
            self.is_told_what_was_lost(name, at, steps[name].lost if name in steps else ())

    def is_told_what_was_lost(self, name: str, at: datetime, lost: tuple[int, ...]) -> None:
        """The version of then, if it was deleted since, is among those told of; and nothing that was not deleted since."""
        then = [one for one in self.model[name] if one.at <= at and (one.deleted is None or one.deleted > at)]
        if then and then[-1].deleted is not None:
            assert then[-1].number in lost
        deleted = {version.number for version in self.model[name] if version.deleted is not None}
        assert set(lost) <= {one.number for one in self.model[name] if one.deleted and one.deleted > at} & deleted

    def teardown(self) -> None:
        if not hasattr(self, "scope"):
            return
        assert shown(self.scope) == self.state()
        assert self.scope.load("user:a").data == b"never touched"
        for name in NAMES:
            kept = [version.number for version in self.there(name) if version.content is not None]
            assert self.scope.versions(name) == kept
        self.scope.store.close()


class Sealed(UndoMachine):
    options: ClassVar[dict[str, Any]] = {"keys": KEYS}


class InSmallPages(UndoMachine):
    def open(self) -> ArtifactStore:
        return store_over(MemoryBackend(f"memory://{uuid.uuid4().hex}", page_size=7), ArtifactStore)


for _kind in (Sealed, InSmallPages):
    _kind.TestCase.settings = settings(max_examples=settings().max_examples // 4)
TestUndo = UndoMachine.TestCase
TestUndoSealed = Sealed.TestCase
TestUndoInSmallPages = InSmallPages.TestCase

FAULTS: dict[str, tuple[Any, str, str]] = {
    "metadata is not compared": (
        undo_module._same,
        "(one.size_bytes, one.mime_type, one.metadata) != (other.size_bytes, other.mime_type, other.metadata)",
        "one.size_bytes != other.size_bytes",
    ),
    "what was removed then comes back": (
        undo_module._decide,
        "wanted = then is not None and not isinstance(then.record, Removed)",
        "wanted = then is not None",
    ),
    "what came into being since stays": (
        undo_module._decide,
        "now is None or (not wanted and not here)",
        "now is None or (not wanted)",
    ),
    "what is lost goes untold": (
        undo_module._decide,
        'lost=lost, outcome="lost") if lost else here',
        "lost=()) if 0 else here",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    function, old, new = FAULTS[fault]
    with planted(function, (old, new)), pytest.raises((Exception, BaseExceptionGroup)):
        run_state_machine_as_test(
            UndoMachine,
            settings=settings(
                deadline=None,
                derandomize=True,
                database=None,
                max_examples=500,
                stateful_step_count=30,
                phases=[Phase.generate],
            ),
        )


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_for_its_scope_and_says_what_it_was_made_for() -> None:
    scope = memory_scope()
    at = scope.save("a", b"1").timestamp
    scope.save("a", b"2")
    plan = scope.restore_all(at, dry_run=True)
    with pytest.raises(InvalidRef, match=r"the plan is for shop/alice/s1, not for shop/alice/s2"):
        scope.store.scope("shop", "alice", "s2").restore_all(plan=plan)
    wrong = msgspec.structs.replace(plan.steps[0], expect=None)
    with pytest.raises(InvalidRef, match="plan again"):
        scope.restore_all(plan=msgspec.structs.replace(plan, steps=(wrong,)))
    wrong_arguments: list[dict[str, Any]] = [{}, {"at": at, "plan": plan}, {"plan": plan, "dry_run": True}]
    for arguments in wrong_arguments:
        with pytest.raises(InvalidRef, match="a time, with or without dry_run, or a plan"):
            scope.restore_all(**arguments)
    with pytest.raises(InvalidRef, match="an Undo"):
        scope.restore_all(plan=json.loads(msgspec.json.encode(plan)))
    with pytest.raises(InvalidRef, match="no time zone"):
        scope.restore_all(datetime(2026, 1, 1))
    assert scope.versions("a") == [0, 1]


def test_a_plan_can_be_made_without_the_right_to_write() -> None:
    scope = memory_scope()
    at = scope.save("a", b"1").timestamp
    scope.save("a", b"2")
    reader = ArtifactStore(scope.store.url, read_only=True).scope("shop", "alice", "s1")
    assert len(reader.restore_all(at, dry_run=True).steps) == 1
    with pytest.raises(AccessDenied):
        reader.restore_all(at)
    with pytest.raises(AccessDenied):
        reader.restore("a", 0)


def test_a_plan_says_for_people_what_will_be_done_and_what_was() -> None:
    scope = memory_scope()
    at = scope.save("a\n", b"1").timestamp
    scope.save("a\n", b"2")
    scope.save("new", b"")
    plan = scope.restore_all(at, dry_run=True)
    assert str(plan).splitlines()[1:] == [r"restore a\n@0, which is @1 now", "remove new@0, which was not there then"]
    assert str(scope.restore_all(plan=plan)).splitlines()[1:] == [
        r"restore a\n@0, which is @1 now: done, now @2",
        "remove new@0, which was not there then: done, now @1",
    ]


def test_what_was_done_is_not_done_again_and_what_failed_is() -> None:
    scope = memory_scope()
    scope.save("broken", b"broken")
    at = scope.save("whole", b"whole").timestamp
    for name in ("broken", "whole"):
        scope.save(name, b"second")
    payload = scope.id.artifact("broken").payload(0)
    objects = scope.store.backend._root.objects  # type: ignore[attr-defined]
    genuine = objects[payload]
    objects[payload] = genuine._replace(data=b"BROKEN")
    first = scope.restore_all(at)
    assert [(step.name, step.outcome) for step in first.steps] == [("broken", "failed"), ("whole", "done")]
    assert "does not match its record" in str(first)
    assert scope.load("broken").data == b"second"
    objects[payload] = genuine
    second = scope.restore_all(plan=first)
    assert second.complete
    assert (scope.load("broken").data, scope.versions("whole")) == (b"broken", [0, 1, 2])


def test_sealed_content_is_compared_opened_and_what_does_not_open_fails_alone() -> None:
    scope = memory_scope(keys=KEYS)
    long = random.Random(1).randbytes(9_000_000)
    scope.save("long", long)
    at = scope.save("same size", b"one").timestamp
    scope.save("long", long)
    scope.save("same size", b"two")
    done = scope.restore_all(at)
    assert [(step.name, step.outcome) for step in done.steps] == [("same size", "done")]
    assert done.unchanged == 1
    other = ArtifactStore(scope.store.url, keys=new_key("v2")).scope("shop", "alice", "s1")
    failed = other.restore_all(at)
    assert {(step.name, step.action, step.outcome) for step in failed.steps} == {
        ("long", "unreadable", "failed"),
        ("same size", "unreadable", "failed"),
    }
    assert "cannot tell what long was: failed, " in str(failed) and "v1" in str(failed)
    assert other.restore_all(plan=failed) == failed
    assert shown(scope).keys() == {"long", "same size"}
    assert scope.versions("long") == [0, 1]


def test_what_is_deleted_after_the_plan_is_lost() -> None:
    scope = memory_scope()
    at = scope.save("a", b"1").timestamp
    scope.save("a", b"2")
    plan = scope.restore_all(at, dry_run=True)
    scope.delete("a", 0)
    assert scope.restore_all(plan=plan).steps[0].outcome == "lost"
    assert scope.load("a").data == b"2"


def test_a_store_that_fails_for_all_ends_it() -> None:
    backend = Counting(MemoryBackend(f"memory://{uuid.uuid4().hex}"))
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    at = scope.save("a", b"1").timestamp
    scope.save("a", b"2")

    async def down(*_: Any, **__: Any) -> Any:
        raise BackendUnavailable("the store is down")

    vars(backend)["create"] = down
    with pytest.raises(BackendUnavailable, match="is down"):
        scope.restore_all(at)
    del vars(backend)["create"]
    assert scope.restore_all(at).complete


def test_a_plan_costs_a_listing_and_a_read_for_each_artifact_that_is_as_it_was() -> None:
    backend = Counting(MemoryBackend(f"memory://{uuid.uuid4().hex}"))
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    for number in range(40):
        for _ in range(3):
            at = scope.save(f"n{number}", b"1").timestamp
    backend.taken()
    undo = scope.restore_all(at, dry_run=True)
    assert (undo.steps, undo.unchanged) == ((), 40)
    assert [call.method for call in backend.taken()] == ["list"] + 40 * ["get"]


def test_an_artifact_of_more_versions_than_a_page_lists_is_undone_too() -> None:
    scope = memory_scope()
    scope.save("before", b"before")
    times = [scope.save("many", str(number)).timestamp for number in range(1030)]
    scope.save("before", b"after")
    assert scope.restore_all(times[517]).complete
    assert {name: scope.load(name).data for name in scope.names()} == {"before": b"before", "many": b"517"}


def test_what_the_sessions_of_a_user_share_is_undone_from_their_own_scope_alone() -> None:
    session = memory_scope()
    at = session.save("user:a", b"first").timestamp
    session.save("user:a", b"second")
    session.tag("user:a", "good", 0)
    session.save("a", b"of the session")
    shared = session.store.scope("shop", "alice")
    assert [step.name for step in session.restore_all(at, dry_run=True).steps] == ["a"]
    undone = shared.restore_all(at)
    assert (undone.scope, [step.name for step in undone.steps]) == ("shop/alice/user", ["a"])
    assert session.load("user:a").data == b"first"
    assert session.load("a").data == b"of the session"
    assert session.tags("user:a") == {"good": 0}, "a tag stays where it is"


# --- interrupted ------------------------------------------------------------------------------------------------------


def an_afternoon(scope: Scope) -> datetime:
    """A scope to be undone to the time that is returned: each kind of step, and a stream."""
    scope.save("a", b"first")
    scope.save("b", bytes(200))
    at = scope.save("c", b"removed").timestamp
    scope.save("a", b"second")
    scope.save("b", b"second")
    scope.remove("c")
    scope.save("d", b"new")
    return at


class Cut(BaseException):
    """What interrupts."""


def run_until(scope: Scope, steps: Any, cut: int, *, cleans_up: bool) -> bool:
    """Run *steps* to operation number *cut*, which is done, and its answer never seen; False if it ends before."""
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    left = cut
    while True:
        try:
            batch = steps.send(answers) if error is None else steps.throw(error)
        except StopIteration:
            return False
        except Cut:
            return True
        error, answers = None, perform(batch[:left], scope.store.backend, None) if left else ()
        left -= len(batch)
        if left < 0:
            if not cleans_up:  # as after a kill: nothing that is waiting is ever run again
                return True
            answers, error, left = None, Cut(), 1_000_000


@pytest.mark.parametrize("cleans_up", [True, False], ids=["interrupted", "killed"])
def test_after_an_interruption_at_any_operation_another_run_goes_on(
    cleans_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "WHOLE_LIMIT", 100)  # above, it is a stream
    monkeypatch.setattr(history_module, "PIECE", 64)
    cut = 0
    while True:
        scope = memory_scope()
        at = an_afternoon(scope)
        before = {name: scope.load(name, at).data for name in scope.names(at=at)}
        cut += 1
        if not run_until(scope, scope._ops.restore_all(at), cut, cleans_up=cleans_up):
            break
        again = ArtifactStore(scope.store.url).scope("shop", "alice", "s1")
        if not cleans_up:
            again._core.env = Env(claim_ttl=-1.0)  # what the dead one claimed is stale by now
        done = again.restore_all(at)
        assert done.complete, (cut, str(done))
        assert {name: again.load(name).data for name in again.names()} == before
    assert cut > 25


# --- beside savers ----------------------------------------------------------------------------------------------------


def hides_nothing(scope: Scope, undo: Undo) -> None:
    """What was done directly follows what it was planned on: no version in between that nobody then knew of."""
    for step in undo.steps:
        if step.outcome == "done":
            numbers = [record.version for record in scope.history(step.name)]
            place = numbers.index(step.result or 0)
            assert numbers[place + 1] == step.expect, f"{step} hides what was saved in between: {numbers}"


def beside_savers(scope: Scope, enough: Callable[[int], bool]) -> None:
    """Four threads save and remove until it is *enough*, while the scope is brought back again and again."""
    names = [f"n{number}" for number in range(6)]
    for name in names[:4]:
        scope.save(name, f"{name} at first")
    at = max(scope.stat(name).timestamp for name in names[:4])
    before = shown(scope)
    saved: list[tuple[str, int, bytes]] = []
    errors: list[BaseException] = []
    undone: list[Undo] = []

    def work(who: int) -> None:
        chance = random.Random(who)
        turn = 0
        try:
            while not enough(turn) and not errors:
                turn += 1
                name, data = chance.choice(names), b"%d %d" % (who, turn)
                if chance.random() < 0.1:
                    try:
                        scope.remove(name)
                    except ArtifactError:
                        continue
                else:
                    saved.append((name, scope.save(name, data).version, data))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        undone.append(scope.restore_all(at))
    for thread in threads:
        thread.join()
    assert errors == []
    undone.append(scope.restore_all(at))  # the savers may have been quicker than each of the others
    assert undone[-1].complete
    outcomes = {step.outcome for undo in undone for step in undo.steps}
    assert outcomes <= {"done", "changed", "busy"} and "done" in outcomes
    for undo in undone:
        hides_nothing(scope, undo)
    assert len({(name, number) for name, number, _ in saved}) == len(saved)
    for name, number, data in saved:
        assert scope.load(name, number).data == data, "an acknowledged version is lost"
    assert shown(scope) == before


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_savers_beside_it_lose_nothing(kind: str, tmp_path: Path) -> None:
    store = ArtifactStore("memory://" + uuid.uuid4().hex if kind == "memory" else tmp_path, durability="none")
    beside_savers(store.scope("shop", "alice", "s1"), lambda turn: turn == 50)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "kind", ["memory", "local", "sealed", pytest.param("minio", marks=pytest.mark.server("minio"))]
)
def test_savers_beside_it_lose_nothing_for_a_minute(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options: dict[str, Any] = {"keys": KEYS} if kind == "sealed" else {}
    where: Any = "memory://" + uuid.uuid4().hex if kind == "memory" else tmp_path
    if kind == "minio":
        server = request.getfixturevalue(kind)
        where, options = server.bucket(), server.storage_options
    ends = time.monotonic() + 60
    scope = ArtifactStore(where, durability="none", **options).scope("shop", "alice", "s1")
    beside_savers(scope, lambda turn: time.monotonic() > ends)


def test_a_step_that_forgets_what_it_expects_is_found() -> None:
    """The control of the two tests above: they judge what is done by what it directly follows."""
    forgetful = (
        ("step.expect)).version", "None)).version"),
        ("remove(env, artifact, step.expect)", "remove(env, artifact)"),
    )
    with planted(undo_module._done, *forgetful):
        scope = memory_scope()
        at = scope.save("a", b"first").timestamp
        scope.save("a", b"second")
        plan = scope.restore_all(at, dry_run=True)
        scope.save("a", b"meanwhile")
        with pytest.raises(AssertionError, match="hides what was saved in between"):
            hides_nothing(scope, scope.restore_all(plan=plan))


# --- awaited ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "local", "moto"])
def test_an_async_scope_does_the_same(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where: Any = f"memory://{uuid.uuid4().hex}" if kind == "memory" else tmp_path
    options: dict[str, Any] = {}
    if kind == "moto":
        server = request.getfixturevalue(kind)
        where, options = server.bucket(), server.storage_options

    async def main() -> None:
        async with AsyncArtifactStore(where, **options) as store:
            scope = store.scope("shop", "alice", "s1")
            await scope.save("a", b"first\n")
            at = (await scope.save("long", bytes(9_000_000))).timestamp
            await scope.save("a", b"second\n")
            await scope.save("long", b"")
            await scope.save("new", b"")
            assert "-first\n+second\n" in (await scope.diff("a", 0)).text
            plan = await scope.restore_all(at, dry_run=True)
            assert [step.action for step in plan.steps] == ["restore", "restore", "remove"]
            assert (await scope.restore_all(plan=plan)).complete
            assert [name async for name in scope.names()] == ["a", "long"]
            assert (await scope.load("long")).data == bytes(9_000_000)
            await scope.remove("a", expect=2)
            assert (await scope.restore("a")).version == 4
            assert (await scope.side("a")).head == b"first\n"

    asyncio.run(main())


def test_a_cancelled_run_leaves_no_claim_behind(tmp_path: Path) -> None:
    """In a folder every operation is awaited in a thread, so that the cancellation comes while some are under way."""

    class Slow(LocalBackend):
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            begun.set()
            go_on.wait(10)
            return await super().create(*args, **kwargs)

    begun, go_on = threading.Event(), threading.Event()
    plain = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    for name in "abcd":
        at = plain.save(name, b"first").timestamp
    for name in "abcd":
        plain.save(name, b"second")

    async def main() -> None:
        backend = Slow(str(tmp_path), durability="none")
        task = asyncio.create_task(store_over(backend, AsyncArtifactStore).scope("shop", "alice", "s1").restore_all(at))
        while not begun.is_set():
            await asyncio.sleep(0)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    keys = set(keys_below(plain.store, plain.id.folder))
    for name in "abcd":
        artifact = plain.id.artifact(name)
        if artifact.record(2) in keys and artifact.payload(2) not in keys:
            assert plain.save(name, b"third", expect=1).version == 3, "a claim stayed behind"
    assert plain.restore_all(at).complete
