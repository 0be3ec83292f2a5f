"""Verifying all versions of a scope or a store: many at a time, in bounded memory, and going on where a run was cut off.

A listing of all keys is cut into shards of a hundred versions, which threads or an executor's workers verify by the rules
of one version (`artifactfs.protocol.verify`). Their findings are counted in the order of the listing, so that one key
tells how far a run has come; a checkpoint file holds that key and what was found before it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing, closing
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec

from artifactfs.backends.base import Got, Page, Stat
from artifactfs.bulk import Executor, Shared, each
from artifactfs.custody import Custody
from artifactfs.drivers import aiterate, arun, iterate, run
from artifactfs.errors import BackendUnavailable, InvalidConfig, VersionNotFound
from artifactfs.layout import RECORD, ArtifactId
from artifactfs.operations.core import Core
from artifactfs.protocol.env import CLAIM_TTL
from artifactfs.protocol.ops import Emit, Get, Lazy, List, Now, StatOf, Steps, together
from artifactfs.protocol.places import Place, Places
from artifactfs.protocol.read import AT_ONCE
from artifactfs.protocol.verify import PIECE, State, Verified, verify
from artifactfs.records import decode
from artifactfs.refs import Ref
from artifactfs.waiting import in_thread

SHARD = 100
"""Versions that are verified by one call of a worker."""

BUDGET = 2 * PIECE
"""Bytes of payloads that a worker holds at a time, about: two pieces of one, or several small ones whole."""

TASKS = 8
"""Shards at a time where the asynchronous form has no executor."""

MOST_TOLD = 1000
"""Damaged versions that are named; more are counted."""

Checkpoint: TypeAlias = "str | os.PathLike[str] | None"
Progress: TypeAlias = "Callable[[VerifyReport], object] | None"


class Damaged(msgspec.Struct, frozen=True, kw_only=True):
    """A version that is not what was saved, or of which nothing tells.

    Attributes:
        ref: where it is, as ``artifact://app/user/session/name@N``; a user is named as the store names them.
        state: what it was found to be, as `Verified` tells it.
        detail: what was seen, for a person.
    """

    ref: str
    state: State
    detail: str


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying many versions has shown.

    Attributes:
        counts: versions by what they were found to be: the states of `Verified`; ``in progress`` where a record of the
            last ten minutes waits for its payload, as a running save leaves it; ``elsewhere`` where a record says that
            its content lies in another store, which is not read through.
        damaged: the first thousand that are not whole, neither in progress nor elsewhere, and not for want of a key.
        damaged_more: how many more there are.
        keys_lacking: for each key that is not to be had, how many versions it seals.
        bytes_checked: bytes of stored payloads that were read.
    """

    counts: dict[str, int] = {}
    damaged: tuple[Damaged, ...] = ()
    damaged_more: int = 0
    keys_lacking: dict[str, int] = {}
    bytes_checked: int = 0

    @property
    def versions(self) -> int:
        """How many versions were looked at."""
        return sum(self.counts.values())

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged, and no key was lacking to tell."""
        return not (self.damaged or self.keys_lacking)


class Shard(NamedTuple):
    """Some versions, each by the key of its payload and that payload's bytes. `after` is the last key that was listed."""

    order: int
    versions: tuple[tuple[str, int], ...]
    after: str


Result: TypeAlias = "tuple[Shard, VerifyReport | Exception]"


def verify_all(
    core: Core, store: object, folder: str, checkpoint: Checkpoint, executor: Executor | None, progress: Progress
) -> VerifyReport:
    """Verify every version below *folder* of the *store* that *core* is of."""
    going = _Run(core, folder, checkpoint, progress)
    work = partial(_work, core) if executor is None else partial(_work_elsewhere, Shared(store))
    shards = iterate(_shards(core.custody, folder, going.after), core.backend)
    with closing(cast("Generator[Result]", each(work, shards, executor))) as results:
        for result in results:
            going.take(*result)
            while going.advance():
                going.tell()
    return going.end()


async def averify_all(
    core: Core, store: object, folder: str, checkpoint: Checkpoint, executor: Executor | None, progress: Progress
) -> VerifyReport:
    """As `verify_all`, from an event loop: some shards at a time as tasks of it, or by the workers of *executor*."""
    if executor is not None:
        return await _by_executor(core, store, folder, checkpoint, executor, progress)
    going = _Run(core, folder, checkpoint, progress)
    flying: deque[asyncio.Task[Result]] = deque()

    async def take() -> None:
        going.take(*await flying.popleft())
        await _advance(going)

    try:
        async with aclosing(aiterate(_shards(core.custody, folder, going.after), core.backend)) as shards:  # type: ignore[type-var]
            async for shard in shards:
                if len(flying) == TASKS:
                    await take()
                flying.append(asyncio.ensure_future(_awork(core, shard)))
            while flying:
                await take()
    finally:
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
    return going.end()


async def _by_executor(
    core: Core, store: object, folder: str, checkpoint: Checkpoint, executor: Executor, progress: Progress
) -> VerifyReport:
    """Shards are handed over, and waited for, in a thread; findings are told of on the loop."""
    going = _Run(core, folder, checkpoint, progress)
    shards = iterate(_shards(core.custody, folder, going.after), core.backend)
    results = cast("Generator[Result]", each(partial(_work_elsewhere, Shared(store)), shards, executor))
    try:
        while (result := await in_thread(partial(next, results, None))) is not None:
            going.take(*result)
            await _advance(going)
    finally:
        await in_thread(results.close)
    return going.end()


async def _advance(going: _Run) -> None:
    while await in_thread(going.advance):
        going.tell()


class _Run:
    """A run that is under way: what is counted so far, and what is ready before its turn."""

    def __init__(self, core: Core, folder: str, checkpoint: Checkpoint, progress: Progress) -> None:
        self.place = core.backend.url, folder
        self.path = None if checkpoint is None else os.fspath(checkpoint)
        self.progress = progress
        saved = None if self.path is None else _read(self.path, self.place)
        self.after, self.report = ("", VerifyReport()) if saved is None else (saved.after, saved.report)
        self.next = 0
        self.ready: dict[int, Result] = {}

    def take(self, shard: Shard, found: VerifyReport | Exception) -> None:
        """What was found in a shard, perhaps before its turn."""
        self.ready[shard.order] = shard, found

    def advance(self) -> bool:
        """Count the shard whose turn it is, and have a later run go on behind it; False where it is not ready.

        A failure is raised in its turn: all before it is counted.
        """
        if self.next not in self.ready:
            return False
        shard, part = self.ready.pop(self.next)
        if isinstance(part, Exception):
            raise part
        self.next += 1
        self.after, self.report = shard.after, _merged(self.report, part)
        if self.path is not None:
            store, folder = self.place
            _write(self.path, _Saved(store=store, folder=folder, after=self.after, report=self.report))
        return True

    def tell(self) -> None:
        if self.progress is not None:
            self.progress(self.report)

    def end(self) -> VerifyReport:
        if self.path is not None and os.path.exists(self.path):
            os.unlink(self.path)
        return self.report


class _Saved(msgspec.Struct, kw_only=True):
    """A checkpoint file, JSON."""

    format: int = 1
    store: str
    folder: str
    after: str
    report: VerifyReport


def _read(path: str, place: tuple[str, str]) -> _Saved | None:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    try:
        saved = msgspec.json.decode(data, type=_Saved)
    except msgspec.MsgspecError as error:
        raise InvalidConfig(f"{path!r} is no checkpoint of a verification: give another path") from error
    if saved.format != 1 or (saved.store, saved.folder) != place:
        raise InvalidConfig(
            f"{path!r} is the checkpoint of another verification, of {saved.folder or 'all'} in {saved.store}: give each "
            "its own path, or remove the file to begin anew"
        )
    return saved


def _write(path: str, saved: _Saved) -> None:
    """Whole or not at all, however this process ends."""
    temporary = f"{path}.tmp-{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(msgspec.json.encode(saved))
    os.replace(temporary, path)


def _merged(one: VerifyReport, other: VerifyReport) -> VerifyReport:
    damaged = one.damaged + other.damaged
    return VerifyReport(
        counts=_added(one.counts, other.counts),
        damaged=damaged[:MOST_TOLD],
        damaged_more=one.damaged_more + other.damaged_more + len(damaged[MOST_TOLD:]),
        keys_lacking=_added(one.keys_lacking, other.keys_lacking),
        bytes_checked=one.bytes_checked + other.bytes_checked,
    )


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted(one.keys() | other.keys())}


# what is listed


def _shards(custody: Custody, folder: str, after: str) -> Lazy[Shard]:
    """Emit the versions, and the claims, whose keys sort after *after*; the record of one whose payload is *after* is not
    taken for another.
    """
    places = Places(custody)
    versions: list[tuple[str, int]] = []
    order, payload = 0, after
    position: str | None = after
    while position is not None:
        page: Page
        (page,) = yield (List(folder, position, deep=True),)
        for entry in page.entries:
            match places.of(folder + entry.name):
                case Place(_, "payload", _):
                    payload = entry.name
                    versions.append((folder + payload, entry.size))
                case Place(_, "record", _) if entry.name != payload + RECORD:
                    versions.append((folder + entry.name.removesuffix(RECORD), 0))
            if len(versions) == SHARD:
                yield (Emit(Shard(order, tuple(versions), entry.name)),)
                order, versions = order + 1, []
        position = page.next
    if versions:
        yield (Emit(Shard(order, tuple(versions), page.entries[-1].name if page.entries else after)),)


# what is done with it


def _work(core: Core, shard: Shard) -> Result:
    try:
        return shard, run(_verified(core.custody, shard), core.backend)
    except Exception as error:  # noqa: BLE001  (raised by whoever waits for it, so that nothing more is begun)
        return shard, error


def _work_elsewhere(store: Shared[Any], shard: Shard) -> Result:
    return _work(store.get()._core, shard)


async def _awork(core: Core, shard: Shard) -> Result:
    try:
        return shard, await arun(_verified(core.custody, shard), core.backend)
    except Exception as error:  # noqa: BLE001
        return shard, error


def _verified(custody: Custody, shard: Shard) -> Steps[VerifyReport]:
    places = Places(custody)
    report = VerifyReport()
    for some in _batches(shard.versions):
        found = [places.of(key) for key in some]
        reports = yield from together(*(_look(one.artifact, one.number) for one in found if one is not None))
        for one in reports:
            report = _merged(report, one)
    return report


def _batches(versions: tuple[tuple[str, int], ...]) -> Iterator[list[str]]:
    """Versions to be verified at the same time: as many as `BUDGET` holds."""
    some: list[str] = []
    held = 0
    for key, size in versions:
        takes = 2 * min(size, PIECE)
        if some and (held + takes > BUDGET or len(some) == AT_ONCE):
            yield some
            some, held = [], 0
        some.append(key)
        held += takes
    if some:
        yield some


def _look(artifact: ArtifactId, number: int) -> Steps[VerifyReport]:
    """What one version is; nothing where it was deleted or fenced."""
    try:
        told: Verified = yield from verify(artifact, number)
    except VersionNotFound:
        return VerifyReport()
    except BackendUnavailable:
        if not (yield from _lies_elsewhere(artifact, number)):
            raise
        return VerifyReport(counts={"elsewhere": 1})
    state: str = told.state
    if state == "missing payload" and (yield from _is_in_progress(artifact, number)):
        state = "in progress"
    report = VerifyReport(counts={state: 1}, bytes_checked=told.bytes_checked)
    if state == "key unavailable":
        return msgspec.structs.replace(report, keys_lacking={told.key_id or "": 1})
    if told.ok or state == "in progress":
        return report
    scope = artifact.scope
    ref = Ref(scope.app, scope.user, scope.session, artifact.name, number, user_scope=scope.session is None)
    return msgspec.structs.replace(report, damaged=(Damaged(ref=str(ref), state=told.state, detail=told.detail),))


def _lies_elsewhere(artifact: ArtifactId, number: int) -> Steps[bool]:
    """Whether the record names a store that is not read through, rather than that this one gave no answer."""
    got: Got | None
    (got,) = yield (Get(artifact.record(number)),)
    if got is None:
        return False
    try:
        artifact.custody.check_provider(artifact, decode(got.data))
    except BackendUnavailable:
        return True
    return False


def _is_in_progress(artifact: ArtifactId, number: int) -> Steps[bool]:
    there: Stat | None
    now: float
    there, now = yield (StatOf(artifact.record(number)), Now())
    return there is not None and now - there.modified < CLAIM_TTL
