"""Steps that take keys: a fresh one for a save, and that of a record that was read.

Where keys are kept elsewhere and asked for over a network, that is an operation like any other: drivers run it where it
blocks nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from artifactfs.backends.base import SUSPENDING, Backend
from artifactfs.custody import Custody, DataKey, Seal, check_unwrapped, check_wrapped, fresh_key, told, wrapped_of
from artifactfs.errors import ArtifactError, BackendError, IntegrityError, InvalidConfig, KeyUnavailable
from artifactfs.keys.base import told_id
from artifactfs.layout import ArtifactId
from artifactfs.protocol.ops import Op, Steps
from artifactfs.records import Encryption, Record, TagRecord, decode
from artifactfs.waiting import in_thread


@dataclass(frozen=True, slots=True)
class Ask(Op):
    """A call of whoever keeps the keys, which may block."""

    call: Callable[[], Any] = field(repr=False)

    async def perform(self, backend: Backend) -> Any:
        return await in_thread(self.call) if backend.placement in SUSPENDING else self.call()


def begin(artifact: ArtifactId, write_id: str) -> Steps[Seal | None]:
    """What a save is sealed by: a data key of its own, wrapped by the active key. None in a store without keys."""
    custody = artifact.custody
    if custody.keys is None:
        return None
    identity = artifact.identity(write_id)
    return (yield from _wrapped(artifact, fresh_key(), custody.active(identity), write_id))


def rewrap(artifact: ArtifactId, record: Record | TagRecord, key: DataKey, key_id: str) -> Steps[Seal]:
    """The data key of a record that was read, wrapped by another key."""
    return (yield from _wrapped(artifact, key, key_id, record.write_id))


def _wrapped(artifact: ArtifactId, key: DataKey, key_id: str, write_id: str) -> Steps[Seal]:
    keys, identity = artifact.custody.keys, artifact.identity(write_id)
    assert keys is not None
    wrapped = yield from _asked(artifact.custody, lambda: keys.wrap(key_id, key.secret, identity))
    return Seal(key, identity, key_id, check_wrapped(wrapped, keys))


def _asked(custody: Custody, call: Callable[[], Any]) -> Steps[Any]:
    """What whoever keeps the keys answers."""
    keys = custody.keys

    def answer() -> Any:
        """Errors come without the frames below, whose variables hold keys, and as the provider's contract has them."""
        try:
            return call()
        except ArtifactError as error:
            raise error.with_traceback(None) from error.__cause__
        except Exception as error:  # noqa: BLE001  (whatever somebody else's code raises)
            raise BackendError(
                f"{type(keys).__name__}, which keeps the keys, failed by a {type(error).__name__}; it should raise "
                "KeyUnavailable, IntegrityError or BackendUnavailable"
            ) from error.with_traceback(None)

    if custody.local:
        return answer()
    (answered,) = yield (Ask(answer),)
    return answered


def shred(custody: Custody, key_id: str) -> Steps[None]:
    """Have a key destroyed by whoever keeps it, and forget all that it has unwrapped here.

    Raises:
        InvalidConfig: there are no keys, it is the active one, or whoever keeps them cannot destroy any.
        KeyUnavailable: there is no such key.
    """
    keys, active = custody.keys, custody.active_text
    destroy: Callable[[str], object] | None = getattr(keys, "shred", None)
    if keys is None or destroy is None:
        who = "this store has no keys" if keys is None else f"{type(keys).__name__} has no method shred"
        raise InvalidConfig(f"{who}: destroy the key where it is kept")
    if key_id == active:
        raise InvalidConfig(
            f"the key {told_id(key_id)} is the active one: open the store with another, then destroy it"
        )
    yield from _asked(custody, lambda: destroy(key_id))
    custody.remembered.clear()


def authenticated(artifact: ArtifactId, number: int, data: bytes) -> Steps[tuple[Record, DataKey | None]]:
    """The record in *data*, which is what a saver wrote there, and its data key; None where it needs none.

    Raises:
        IntegrityError: it is not, or it is none at all.
        KeyUnavailable: the key that it names is not to be had.
        UnsupportedFormat: a later release wrote it.
    """
    custody = artifact.custody
    record = decode(data, artifact.record(number))
    key: DataKey | None = None
    if custody.needs_key(artifact, record, data):
        key = yield from data_key(artifact, record)
        custody.check(artifact, number, record, data, key)
    if record.version != number:
        raise IntegrityError(
            f"the record {artifact.record(number)!r} says that it is of version {record.version}: it was moved or altered; "
            "other versions are not affected",
            artifact=artifact.label,
        )
    return record, key


def data_key(artifact: ArtifactId, record: Record | TagRecord) -> Steps[DataKey]:
    """The data key that *record* holds wrapped."""
    custody, encryption = artifact.custody, record.encryption
    keys = custody.keys
    assert keys is not None and isinstance(encryption, Encryption)
    identity = artifact.identity(record.write_id)
    wrapped = wrapped_of(artifact, record)
    place = identity.encode() + encryption.key_id.encode() + wrapped
    secret = None if custody.local else custody.remembered.get(place)
    if secret is None:
        try:
            secret = yield from _asked(custody, lambda: keys.unwrap(encryption.key_id, wrapped, identity))
        except (IntegrityError, KeyUnavailable) as error:
            kind = IntegrityError if isinstance(error, IntegrityError) else KeyUnavailable
            message = f"{told(record)} of {artifact.label!r}: {error}"
            raise kind(message, artifact=artifact.label, key_id=encryption.key_id) from error
        check_unwrapped(secret, keys)
        if not custody.local:
            custody.remembered.put(place, secret)
    return DataKey(secret)
