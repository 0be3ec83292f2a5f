"""Calls of the library as processes of the simulator, and stores to start from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

from artifactfs.errors import ArtifactNotFound, BackendUnavailable, Conflict, VersionNotFound
from artifactfs.layout import ScopeId
from artifactfs.operations import history as history_module
from artifactfs.protocol import compact as compact_module
from artifactfs.protocol import delete as delete_module
from artifactfs.protocol import fence as fence_module
from artifactfs.protocol import names as names_module
from artifactfs.protocol import read as read_module
from artifactfs.protocol import save as save_module
from artifactfs.protocol import stream as stream_module
from artifactfs.protocol.claim import Memory, Seen
from artifactfs.protocol.env import Clocked, Env
from artifactfs.protocol.listing import look, look_all
from artifactfs.protocol.ops import Steps
from artifactfs.records import Removed, Tombstone
from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulated_store import Contents, Item
from artifactfs.testing.simulator import Simulator

from .properties import FOLDER, Promises, Role, View, content_of, view

SCOPE = ScopeId("a", "u", "s")
ARTIFACT = SCOPE.artifact("n")
assert ARTIFACT.folder == FOLDER

NOW = 1_900_000_000.0
LONG_AGO = NOW - 30 * 86400
"""When the stores to start from were written: every claim in them is stale, every tombstone may be compacted."""


class _Ids:
    """Write ids that tell whose they are."""

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0

    def __call__(self) -> str:
        self.count += 1
        return f"{self.name}{'' if self.count == 1 else f'-{self.count}'}".ljust(32, ".")


class _Fences:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> bytes:
        return b"artifactfs fence" + self.name.encode().ljust(16, b".")


class _Still:
    """A clock that stands still."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def env(name: str, *, at: float = NOW, eager: bool = False, conditional: bool = True, streams: bool = True) -> Env:
    """An environment of its own for one run. *eager*: every claim counts as stale."""
    clock = _Still(at)
    return Env(
        wall=clock,
        monotonic=clock,
        write_id=_Ids(name),
        fence=_Fences(name),
        claim_ttl=-1.0 if eager else 600.0,
        conditional=conditional,
        fence_streams=streams,
    )


def data_of(name: str) -> bytes:
    """What the saver of that name saves: all of one size, so that sizes tell nothing."""
    return f"bytes-{name}".ljust(12, "_").encode()


def _plainly(result: Any, emitted: Sequence[Any]) -> Hashable:
    match result:
        case Conflict():
            return ("conflict", result.in_progress)
        case ArtifactNotFound() | VersionNotFound():
            return ("none",)
        case BackendUnavailable():
            return ("unknown",)
        case Exception():
            return ("error", type(result).__name__, str(result)[:100])
    return result


def _saved(result: Any, emitted: Sequence[Any]) -> Hashable:
    return _plainly(result, emitted) if isinstance(result, Exception) else ("saved", result.version)


Expect = int | Literal["absent"] | None


def saver(
    name: str,
    expect: Expect = None,
    *,
    memory: int | None = None,
    mark: int | None = None,
    data: bytes | None = None,
    at: float = NOW,
    may_fail: bool = False,
    **settings: Any,
) -> Process:
    """A save of bytes. *memory*: the number that it would try first, *mark* the one it may take away after."""
    payload = data_of(name) if data is None else data
    marks = () if mark is None else (mark,)

    def steps() -> Steps[Any]:
        return save_module.save(
            env(name, at=at, **settings),
            ARTIFACT,
            payload,
            mime_type="text/plain",
            metadata={},
            expect=expect,
            memory=None if memory is None else Memory(memory, Seen(Clocked(at, at), marks=marks)),
        )

    role = Role("save", content_of(payload, name), expect, may_fail=may_fail)
    return Process(name, steps, _saved, role=role)


def streamer(name: str, expect: Expect = None, *, may_fail: bool = False, **settings: Any) -> Process:
    """A save of a stream of two pieces."""
    payload = data_of(name)

    def steps() -> Steps[Any]:
        return stream_module.save_stream(
            env(name, **settings), ARTIFACT, mime_type="text/plain", metadata={}, expect=expect
        )

    role = Role("save", content_of(payload, name), expect, may_fail=may_fail)
    return Process(name, steps, _saved, (payload[:5], payload[5:]), rewinds=True, role=role)


def remover(
    name: str, expect: int | None = None, *, at: float = NOW, may_fail: bool = False, **settings: Any
) -> Process:
    def steps() -> Steps[Any]:
        return save_module.remove(env(name, at=at, **settings), ARTIFACT, expect)

    return Process(name, steps, _saved, role=Role("remove", content_of(b"", name, True), expect, may_fail=may_fail))


def restorer(name: str, number: int, expect: Expect, *, of: str, may_fail: bool = False, **settings: Any) -> Process:
    """Makes version *number*, which the saver *of* has saved, the newest again."""
    core: Any = SimpleNamespace(backend=None, mode="managed", schemes=())

    def steps() -> Steps[Any]:
        found = yield from read_module.fetch(ARTIFACT, number)
        assert isinstance(found, read_module.Found)
        own = env(name, **settings)
        return (yield from history_module.copied(core, own, ARTIFACT, found.record, None, expect=expect, memory=None))

    return Process(name, steps, _saved, role=Role("save", content_of(data_of(of), name), expect, may_fail=may_fail))


def newest_reader(name: str = "newest", *, may_fail: bool = False) -> Process:
    def steps() -> Steps[Any]:
        found, _ = yield from read_module.newest(ARTIFACT, whole=True)
        return found

    return Process(name, steps, _newest, role=Role("newest", may_fail=may_fail))


def _newest(result: Any, emitted: Sequence[Any]) -> Hashable:
    if isinstance(result, read_module.Found) and isinstance(result.record, Removed):
        return ("none",)
    return _known(result, emitted)


def _known(result: Any, emitted: Sequence[Any]) -> Hashable:
    if isinstance(result, Exception):
        return _plainly(result, emitted)
    if not isinstance(result, read_module.Found):
        return ("none",)
    record, data = result.record, result.data or b""
    if record.size_bytes != len(data) or record.version != result.number or isinstance(record, Tombstone):
        return ("wrong record", result.number, str(record), data)
    return ("version", result.number, content_of(data, record.write_id or "nobody", isinstance(record, Removed)))


def known_reader(number: int, name: str | None = None, *, may_fail: bool = False) -> Process:
    def steps() -> Steps[Any]:
        return read_module.fetch(ARTIFACT, number, whole=True)

    return Process(name or f"known {number}", steps, _known, role=Role("known", number=number, may_fail=may_fail))


def namer(name: str = "names", *, may_fail: bool = False) -> Process:
    def steps() -> Steps[Any]:
        return names_module.names(SCOPE)

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        if isinstance(result, Exception):
            return _plainly(result, emitted)
        return ("names", list(emitted) == ["n"])

    return Process(name, steps, outcome, role=Role("names", may_fail=may_fail))


def lister(name: str = "versions", *, may_fail: bool = False) -> Process:
    def steps() -> Steps[Any]:
        view = yield from look_all(ARTIFACT)
        return (yield from read_module.existing(ARTIFACT, view))

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        return _plainly(result, emitted) if isinstance(result, Exception) else ("versions", *result)

    return Process(name, steps, outcome, role=Role("versions", may_fail=may_fail))


def _done(word: str) -> Callable[[Any, Sequence[Any]], Hashable]:
    return lambda result, emitted: _plainly(result, emitted) if isinstance(result, Exception) else (word,)


def deleter(
    number: int, name: str | None = None, *, at: float = NOW, may_fail: bool = False, **settings: Any
) -> Process:
    name = name or f"delete {number}"

    def steps() -> Steps[Any]:
        return delete_module.delete_version(env(name, at=at, **settings), ARTIFACT, number)

    return Process(name, steps, _done("deleted"), role=Role("delete", number=number, may_fail=may_fail))


def all_deleter(name: str = "delete all", *, at: float = NOW, may_fail: bool = False, **settings: Any) -> Process:
    def steps() -> Steps[Any]:
        return delete_module.delete_all(env(name, at=at, **settings), ARTIFACT)

    return Process(name, steps, _done("deleted"), role=Role("delete all", may_fail=may_fail))


def fencer(name: str = "fence", *, at: float = NOW, may_fail: bool = False, **settings: Any) -> Process:
    """Settles every claim, as a collector of what crashed savers left does, and takes live ones for stale."""

    def steps() -> Steps[Any]:
        own = env(name, at=at, eager=True, **settings)
        view = yield from look(ARTIFACT)
        settled = []
        for number in sorted(view.records.keys() - view.payloads.keys()):
            mark = None if view.payloads else view.top
            state = yield from fence_module.settle(own, ARTIFACT, number, mark)
            if state != "live":
                settled.append((number, state == "ended"))
        return ("settled", *settled)

    return Process(name, steps, _plainly, role=Role("fence", may_fail=may_fail))


def compactor(name: str = "compact", *, may_fail: bool = False) -> Process:
    def steps() -> Steps[Any]:
        return compact_module.compact(env(name), ARTIFACT)

    return Process(name, steps, _done("done"), role=Role("other", may_fail=may_fail))


AUDIT_NEWEST, AUDIT_NAMES, AUDIT_LIST = newest_reader("the newest"), namer("the names"), lister("the versions")
AUDIT_SAVE = saver("another save")
AUDIT_KNOWN = {number: known_reader(number, f"version {number}") for number in range(12)}


def audits(view: View) -> list[tuple[Process, Callable[[Any], bool], str]]:
    """What a call that runs alone must answer."""
    wanted: list[tuple[Process, Callable[[Any], bool], str]] = [
        (AUDIT_NEWEST, view.newest.__eq__, str(view.newest)),
        (AUDIT_NAMES, lambda answer: answer[0] == "names" and answer[1] in view.shown, str(view.shown)),
        (AUDIT_LIST, ("versions", *sorted(view.loadable)).__eq__, str(view.loadable)),
        (AUDIT_SAVE, lambda answer: answer[0] == "saved" and answer[1] > view.top, f"above {view.top}"),
    ]
    knowns = [(AUDIT_KNOWN[number], view.known(number)) for number in range(view.top + 2)]
    return wanted + [(process, answer.__eq__, str(answer)) for process, answer in knowns]


def simulator(contents: Contents, more: int = 3, **settings: Any) -> Simulator:
    """A simulator for what starts from *contents* and uses up to so many more numbers."""
    return Simulator(Promises(audits, view(contents).top + more), now=NOW, **settings)


# Stores to start from


def after(*processes: Process, contents: Contents | None = None) -> Contents:
    """What is stored when these have run one after the other, long ago."""
    contents = contents or {}
    for process in processes:
        run = Simulator(Promises(audits), now=LONG_AGO)
        outcome, contents = run.alone(process, contents)
        assert isinstance(outcome, tuple) and outcome[0] in ("saved", "deleted", "settled", "done"), outcome
    return contents


def without_payload(contents: Contents, number: int) -> Contents:
    """As though the saver of *number* had crashed before it published."""
    return {key: item for key, item in contents.items() if key != ARTIFACT.payload(number)}


def _old(name: str, **settings: Any) -> Process:
    return saver(name, at=LONG_AGO, **settings)


def starts() -> Mapping[str, Contents]:
    one = after(_old("s0"))
    two = after(_old("s1"), contents=one)
    return {
        "empty": {},
        "one": one,
        "two": two,
        "removed": after(remover("r1", at=LONG_AGO), contents=one),
        "claimed": without_payload(one, 0),
        "one, claimed": without_payload(two, 1),
        "newest deleted": after(deleter(1, at=LONG_AGO), contents=two),
        "all deleted": after(all_deleter(at=LONG_AGO), contents=one),
        "older deleted": after(deleter(0, at=LONG_AGO), contents=two),
        "older deleted, payload left": {
            **after(deleter(0, at=LONG_AGO), contents=two),
            ARTIFACT.payload(0): Item(two[ARTIFACT.payload(0)].data, LONG_AGO),
        },
        "fenced": after(fencer(at=LONG_AGO), contents=without_payload(one, 0)),
        "deleted, payload left": {
            **after(deleter(1, at=LONG_AGO), contents=two),
            ARTIFACT.payload(1): Item(two[ARTIFACT.payload(1)].data, LONG_AGO),
        },
        "removed, deleted": after(
            deleter(1, "d", at=LONG_AGO), contents=after(remover("r1", at=LONG_AGO), contents=one)
        ),
    }
