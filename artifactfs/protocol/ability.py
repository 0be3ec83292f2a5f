"""What a store really guarantees: found out by a probe once, kept in the store, and asked for before the first save."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import msgspec

from artifactfs.backends.base import SUSPENDING, Abilities, Backend, Got
from artifactfs.errors import UnsafeBackend
from artifactfs.layout import STORE_FOLDER
from artifactfs.protocol.ops import Get, Op, Put, Steps
from artifactfs.records import CONTENT_TYPE

VALID = 30 * 24 * 3600.0
"""Seconds that a probe's answer is believed: servers are upgraded, and proxies put in front of them."""

DOES = {
    "racy": "lets several of the writers that race for one key succeed",
    "ignored": "ignores that a key exists already and overwrites it",
    "refused": "does not know creates that succeed only where nothing is there",
}


class _Seen(msgspec.Struct):
    """The stored answer, for one endpoint and bucket; `at` is in seconds since the epoch."""

    identity: str
    at: float
    create: str
    complete: str
    rewrite: str


# Of each backend, the probe that is under way, or was last.
_PROBES: WeakKeyDictionary[Backend, asyncio.Future[Abilities]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Probe(Op):
    """A probe; where one of the same backend is under way, that one's answer. All of a backend's run on one loop."""

    folder: str

    async def perform(self, backend: Backend) -> Abilities:
        if backend.placement not in SUSPENDING:
            return await backend.probe(self.folder)
        under_way = _PROBES.get(backend)
        # A fork leaves a future behind that nobody will ever end.
        if under_way is None or under_way.done() or under_way.get_loop() is not asyncio.get_running_loop():
            under_way = _PROBES[backend] = asyncio.ensure_future(backend.probe(self.folder))
        return await asyncio.shield(under_way)


def known(identity: str, now: float) -> Steps[Abilities | None]:
    """What a probe of this endpoint and bucket has seen, if one has within `VALID`. Writes nothing."""
    got: Got | None
    (got,) = yield (Get(_key(identity)),)
    if got is None:
        return None
    try:
        seen = msgspec.json.decode(got.data, type=_Seen)
        abilities = msgspec.convert((seen.create, seen.complete, seen.rewrite), Abilities)
    except msgspec.MsgspecError:
        return None
    return abilities if seen.identity == identity and 0 <= now - seen.at < VALID else None


def probe(identity: str, now: float) -> Steps[Abilities]:
    """Race writers in the store, and keep what was seen."""
    abilities: Abilities
    (abilities,) = yield (Probe(f"{STORE_FOLDER}probe/"),)
    if abilities.create == "atomic":
        seen = _Seen(identity, now, *abilities)
        yield (Put(_key(identity), msgspec.json.encode(seen), CONTENT_TYPE),)
    return abilities


def refuse(abilities: Abilities, url: str) -> None:
    """Raise `UnsafeBackend` unless a create is atomic."""
    if abilities.create != "atomic":
        raise UnsafeBackend(
            f"{url} {DOES[abilities.create]} (seen: {abilities.create}), so saves could be lost without anyone noticing; "
            "nothing was written. Use a store with atomic If-None-Match (docs/spec.md, Stores), or say "
            "single_writer=True if this process is the only one that ever writes there",
            store=url,
            seen=abilities.create,
        )


def _key(identity: str) -> str:
    return f"{STORE_FOLDER}seen/{hashlib.sha256(identity.encode()).hexdigest()[:32]}"
