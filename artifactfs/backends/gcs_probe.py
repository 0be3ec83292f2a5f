"""Find out whether an endpoint that speaks Google Cloud Storage's API keeps the preconditions of writes.

For emulators and gateways; Google's own service is not probed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from artifactfs.backends.base import Abilities, Ability, Backend
from artifactfs.backends.gcs_errors import Refused, transient
from artifactfs.backends.gcs_wire import Answer, Wire, multipart
from artifactfs.backends.race import Paced, Race, judge, race
from artifactfs.backends.retry import GaveUp, retrying

TEXT = "text/plain"
ONE, TWO = b"the first writer's bytes\n" * 64, b"what the second one wrote\n" * 64

Outcome = Literal["kept", "ignored", "refused"]
Begin = Callable[[str, str], Awaitable["Writer"]]
"""Prepares a write to a key if its generation is the one given ("0": none)."""
Writer = Callable[[bytes, Paced | None], Awaitable[Outcome]]
"""Writes the bytes, pausing half-way where paced; "ignored" where nothing kept it from that."""


Put = Callable[[str, str, bytes, Paced | None], Awaitable[Answer]]
"""Sends one write of the bytes to a key if its generation is the one given, and returns whatever was answered."""


async def probe(backend: Backend, wire: Wire, root: str, folder: str, also: Put | None = None) -> Abilities:
    """Race writers below *folder*, and leave nothing there.

    Args:
        also: another way to write whole objects, which is to keep its precondition just so.

    Raises:
        BackendError: or what else of `artifactfs.errors`, where the races could not be run.
    """

    async def attempt(_: int) -> Abilities:
        run = _Probe(backend, wire, root, f"{folder}{uuid.uuid4().hex}/")
        try:
            ways = [run.begin_whole, *([run.by(also)] if also else [])]
            complete, *seen = await asyncio.gather(
                run.judge_new(run.begin_session), *map(run.judge_new, ways), *map(run.judge_rewrite, ways)
            )
        finally:
            await backend.delete(run.keys)
        return Abilities(_weakest(seen[: len(ways)]), complete, _weakest(seen[len(ways) :]))

    try:
        return (await retrying(attempt, tries=wire.tries, deadline=wire.deadline, transient=transient))[0]
    except GaveUp as gave_up:
        raise wire.explained(gave_up, "probe what the store guarantees", False) from gave_up.last


class _Probe:
    def __init__(self, backend: Backend, wire: Wire, root: str, folder: str) -> None:
        self.backend = backend
        self.wire = wire
        self.root = root
        self.folder = folder
        self.keys: list[str] = []

    def _key(self) -> str:
        self.keys.append(f"{self.folder}{len(self.keys)}")
        return self.keys[-1]

    async def _there(self, key: str) -> bytes | None:
        got = await self.backend.get(key)
        return None if got is None else got.data

    # how to write

    async def begin_whole(self, key: str, generation: str) -> Writer:
        async def write(data: bytes, paced: Paced | None) -> Outcome:
            boundary, body = multipart(self.wire.resource(self.root + key, TEXT), TEXT, data)
            return _outcome(
                await self.wire.exchange(
                    "POST",
                    self.wire.objects(kind="/upload"),
                    {"uploadType": "multipart", "ifGenerationMatch": generation},
                    {
                        "Content-Type": f"multipart/related; boundary={boundary}",
                        "Content-Length": str(len(body)),
                    },
                    paced(body) if paced else body,
                )
            )

        return write

    def by(self, put: Put) -> Begin:
        async def begin(key: str, generation: str) -> Writer:
            async def write(data: bytes, paced: Paced | None) -> Outcome:
                return _outcome(await put(key, generation, data, paced))

            return write

        return begin

    async def begin_session(self, key: str, generation: str) -> Writer:
        name = self.root + key
        begun = await self.wire.exchange(
            "POST",
            self.wire.objects(kind="/upload"),
            {"uploadType": "resumable", "name": name, "ifGenerationMatch": generation},
            {"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Type": TEXT},
            self.wire.resource(name, TEXT),
        )
        refused = _outcome(begun)
        session = begun.headers.get("Location")

        async def write(data: bytes, paced: Paced | None) -> Outcome:
            if refused != "ignored" or session is None:  # it was told so at the beginning
                return refused
            size = len(data)
            headers = {
                "Content-Range": f"bytes 0-{size - 1}/{size}",
                "Content-Type": TEXT,
                "Content-Length": str(size),
            }
            return _outcome(await self.wire.exchange("PUT", session, None, headers, paced(data) if paced else data))

        return write

    # how to judge

    async def judge_new(self, begin: Begin) -> Ability:
        """Writes of which each wants the key to be free."""

        async def alone() -> Outcome:
            key = self._key()
            await self.backend.put(key, ONE, TEXT)
            return await self._kept(key, await begin(key, "0"), ONE)

        async def contest() -> Race:
            key = self._key()
            return await self._race(key, await begin(key, "0"), await begin(key, "0"))

        return await judge(alone, contest)

    async def judge_rewrite(self, begin: Begin) -> Ability:
        """Writes of which each wants the generation that was there when it began."""

        async def alone() -> Outcome:
            key = self._key()
            old = (await self.backend.put(key, b"older", TEXT)).tag
            await self.backend.put(key, ONE, TEXT)
            return await self._kept(key, await begin(key, old), ONE)

        async def contest() -> Race:
            key = self._key()
            now = (await self.backend.put(key, b"older", TEXT)).tag
            return await self._race(key, await begin(key, now), await begin(key, now))

        return await judge(alone, contest)

    async def _kept(self, key: str, write: Writer, there: bytes) -> Outcome:
        said = await write(TWO, None)
        return "ignored" if said == "kept" and await self._there(key) != there else said

    async def _race(self, key: str, one: Writer, two: Writer) -> Race:
        async def first(paced: Paced) -> bool:
            return await one(ONE, paced) == "ignored"

        async def second() -> bool:
            return await two(TWO, None) == "ignored"

        return Race(await race(first, second), (ONE, TWO), await self._there(key))


def _weakest(seen: Sequence[Ability]) -> Ability:
    """What can be relied on where one does not know which of several ways is taken."""
    order: tuple[Ability, ...] = ("ignored", "racy", "refused", "atomic")
    return min(seen, key=order.index)


def _outcome(answer: Answer) -> Outcome:
    """What a write's answer says of its precondition.

    Raises:
        Refused: it says nothing of it: the service is failing, or forbids the write.
    """
    if answer.status in (200, 201):
        return "ignored"
    if answer.status in (404, 410, 412):  # a session that lost may be gone
        return "kept"
    if answer.status in (400, 405, 501):
        return "refused"
    raise Refused(answer.status, answer.body)
