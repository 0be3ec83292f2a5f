"""Faults of the protocol, planted by changing the text of one function; each must be found by the simulator.

A suite that has never failed proves nothing. The change is to the code of the function itself, so that whoever imported
it runs the changed one.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from artifactfs.protocol.claim import bury, try_claim
from artifactfs.protocol.compact import leftovers
from artifactfs.protocol.delete import end_version, is_deletable
from artifactfs.protocol.expect import claim_after, followed_version, still_there
from artifactfs.protocol.fence import fence
from artifactfs.protocol.names import is_visible
from artifactfs.protocol.publish import publish
from artifactfs.protocol.read import _ended, newest
from artifactfs.protocol.save import _save, remove
from artifactfs.records import fits_size
from artifactfs.testing.simulated_processes import Process

from .processes import compactor, deleter, fencer, known_reader, newest_reader, remover, saver, streamer

BODY = ""


@contextmanager
def planted(function: Any, *changes: tuple[str, str]) -> Iterator[None]:
    """Within the block *function* has another text: of each change the first string is replaced by the second.

    Each must stand there exactly once, so that no fault is silently planted nowhere. `BODY` stands for all of the body.
    """
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        if old == BODY:
            old = text[text.index(":\n", text.index(") ->")) + 2 :]
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {function.__qualname__}, not once"
        text = text.replace(old, new)
    names: dict[str, Any] = {}
    exec(compile(f"from __future__ import annotations\n{text}", f"<{function.__name__}, changed>", "exec"),
         function.__globals__, names)  # fmt: skip
    original = function.__code__
    function.__code__ = names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = original


@dataclass(frozen=True)
class Fault:
    """A planted fault: what to change, and the smallest scenario that finds it."""

    name: str
    changes: tuple[tuple[Any, str, str], ...]
    start: str
    processes: tuple[Callable[[], Process], ...]
    faults: int = 0


def _two(**settings: Any) -> tuple[Callable[[], Process], ...]:
    return partial(saver, "A", **settings), partial(saver, "B", **settings)


CHECK_THEN_WRITE = """
{0}(there,) = yield (Get({1}),)
{0}written = Written(False)
{0}if there is None:
{0}    from artifactfs.protocol.ops import Put as _Put
{0}    (written,) = yield (_Put({1}, {2}),)
"""

FAULTS = (
    Fault(
        "check-then-write claim",
        ((try_claim, "        (written,) = yield (Create(key, data, CONTENT_TYPE),)\n",
          CHECK_THEN_WRITE.format(" " * 8, "key", "data, CONTENT_TYPE")),),
        "empty",
        _two(),
    ),
    Fault(
        "check-then-write publish",
        ((publish,
          "        return (yield from attempt.send(Create(artifact.payload(claim.number), data, content_type)))\n",
          CHECK_THEN_WRITE.format(" " * 8, "artifact.payload(claim.number)", "data, content_type")
          + "        return written\n"),),
        "empty",
        (partial(saver, "A"), fencer),
    ),
    Fault(
        "payload before claim",
        ((_save, "        claim = yield from claim_for(env, artifact, draft, expect, memory)\n",
          "        from artifactfs.protocol.ops import Create\n"
          "        view = yield from look(artifact)\n"
          "        yield (Create(artifact.payload(view.top + 1), data, content_type),)\n"
          "        claim = yield from claim_for(env, artifact, draft, expect, memory)\n"),),
        "empty",
        _two(),
    ),
    Fault(
        "tombstone before fence, without a second look",
        ((fence, "    written: Written\n",
          "    (got,) = yield (Get(artifact.record(number)),)\n"
          "    yield from bury(env, artifact, number, got, 'fenced')\n"),),
        "empty",
        (partial(saver, "A"), fencer),
    ),
    Fault(
        "records removed on delete",
        ((end_version, "        yield (Delete((artifact.payload(number),)),)\n",
          "        yield (Delete((artifact.payload(number),)),)\n"
          "        yield (Delete((artifact.record(number),)),)\n"),),
        "one",
        (partial(deleter, 0), partial(saver, "A")),
    ),
    Fault(
        "delete without looking first",
        ((is_deletable, BODY,
          "    from artifactfs.protocol.ops import Get\n"
          "    from artifactfs.records import decode\n"
          "    (got,) = yield (Get(artifact.record(number)),)\n"
          "    if got is None:\n"
          "        return 'vanished'\n"
          "    return Found(number, decode(got.data), got)\n"),),
        "empty",
        (partial(saver, "A"), partial(deleter, 0)),
    ),
    Fault(
        "compare-and-set that takes the next number",
        ((claim_after, "        if claim is None:\n            continue\n",
          "        from artifactfs.protocol.claim import claim_next\n"
          "        if claim is None:\n"
          "            claim = yield from claim_next(env, artifact, draft, number + 1, seen)\n"),),
        "one",
        (partial(saver, "A", 0), partial(saver, "B")),
    ),
    Fault(
        "unfinished record that fits anything",
        ((fits_size, "return payload_size(record) == size", "return payload_size(record) in (-1, size)"),),
        "empty",
        (partial(streamer, "A"), partial(known_reader, 0)),
    ),
    Fault(
        "fence that overwrites a tombstone",
        ((bury, "    if isinstance(record, Tombstone):\n        return record\n", ""),),
        "empty",
        (partial(saver, "A"), partial(deleter, 0), fencer),
        1,
    ),
    Fault(
        "older answer without a second listing",
        ((newest, "        if not doubtful and lister is look:\n", "        if True:\n"),),
        "two",
        (newest_reader, partial(deleter, 1), partial(saver, "A")),
    ),
    Fault(
        "remove without its mark",
        ((remove, "yield from mark_hidden(artifact, claim.number)\n", "yield ()\n"),),
        "one",
        (partial(remover, "A"),),
    ),
    Fault(
        "compare-and-set removal that looks first and then takes the next number",
        ((remove, "        if expect is None:\n", "        if expect is None or found.number == expect:\n"),),
        "one",
        (partial(remover, "A", 0), partial(saver, "B")),
    ),
    Fault(
        "names listing that trusts a mark without looking inside",
        ((is_visible, BODY, "    yield ()\n    return False\n"),),
        "removed",
        (partial(saver, "A"),),
    ),
    Fault(
        "compact that takes the record first",
        ((leftovers, "return (artifact.payload(number), artifact.record(number))",
          "return (artifact.record(number), artifact.payload(number))"),),
        "older deleted, payload left",
        (compactor,),
    ),
    Fault(
        '`expect="absent"` that overlooks claims',
        ((followed_version, 'if state == "live":', 'if state == "live" and expect != "absent":'),),
        "empty",
        (partial(saver, "A", "absent"), partial(saver, "B")),
    ),
    Fault(
        "compare-and-set that does not look whether N is still there",
        ((still_there, BODY, "    yield ()\n    return True\n"),),
        "newest deleted",
        (partial(saver, "A", 1, memory=2),),
    ),
    Fault(
        "delete that takes a fence away",
        ((_ended, BODY, "    return 'deleted'\n"),),
        "empty",
        (partial(saver, "A"), partial(deleter, 0), fencer),
    ),
)  # fmt: skip
