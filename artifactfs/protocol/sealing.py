"""Steps that take keys: a fresh one for a save, and that of a record that was read.

Where keys are kept elsewhere and asked for over a network, that is an operation like any other: drivers run it where it
blocks nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from artifactfs.backends.base import Backend
from artifactfs.codecs.base import Codec
from artifactfs.custody import DataKey, Seal, check_wrapped, fresh_key, wrapped_of
from artifactfs.errors import ArtifactError, IntegrityError, KeyUnavailable
from artifactfs.keys.base import Identity, KeyProvider
from artifactfs.layout import ArtifactId
from artifactfs.protocol.ops import Op, Steps
from artifactfs.records import Blob, Encryption, Record, decode
from artifactfs.waiting import in_thread


@dataclass(frozen=True, slots=True)
class Ask(Op):
    """A call of whoever keeps the keys, which may block."""

    call: Callable[[], bytes] = field(repr=False)

    async def perform(self, backend: Backend) -> bytes:
        return await in_thread(self.call) if backend.placement == "loop" else self.call()


def begin(artifact: ArtifactId, write_id: str) -> Steps[Seal | None]:
    """What a save is sealed by: a data key of its own, wrapped by the active key. None in a store without keys."""
    custody = artifact.custody
    if custody.keys is None:
        return None
    identity = artifact.identity(write_id)
    return (yield from _wrapped(artifact, fresh_key(), custody.active(identity), write_id))


def rewrap(artifact: ArtifactId, record: Record, key: DataKey, key_id: str) -> Steps[Seal]:
    """The data key of a record that was read, wrapped by another key."""
    return (yield from _wrapped(artifact, key, key_id, record.write_id))


def _wrapped(artifact: ArtifactId, key: DataKey, key_id: str, write_id: str) -> Steps[Seal]:
    keys, identity = artifact.custody.keys, artifact.identity(write_id)
    assert keys is not None
    wrapped: bytes
    if artifact.custody.local:
        wrapped = _wrap(keys, key_id, key, identity)
    else:
        (wrapped,) = yield (Ask(lambda: _wrap(keys, key_id, key, identity)),)
    return Seal(key, identity, key_id, check_wrapped(wrapped, keys))


def _wrap(keys: KeyProvider, key_id: str, key: DataKey, identity: Identity) -> bytes:
    """What *keys* makes of a data key. An error comes without the frames below, whose variables hold that key."""
    try:
        return keys.wrap(key_id, key.secret, identity)
    except ArtifactError as error:
        raise error.with_traceback(None) from error.__cause__


def authenticated(artifact: ArtifactId, number: int, data: bytes) -> Steps[tuple[Record, DataKey | None]]:
    """The record in *data*, which is what a saver wrote there, and its data key; None where it needs none.

    Raises:
        IntegrityError: it is not, or it is none at all.
        KeyUnavailable: the key that it names is not to be had.
        UnsupportedFormat: a later release wrote it.
        BackendUnavailable: its content lies in a store that is not registered.
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
    custody.check_provider(artifact, record)
    return record, key


def data_key(artifact: ArtifactId, record: Record) -> Steps[DataKey]:
    """The data key that *record* holds wrapped."""
    custody, encryption = artifact.custody, record.encryption
    keys = custody.keys
    assert keys is not None and isinstance(encryption, Encryption)
    identity = artifact.identity(record.write_id)
    wrapped = wrapped_of(artifact, record.version, encryption)
    try:
        if custody.local:
            return DataKey(keys.unwrap(encryption.key_id, wrapped, identity))
        place = identity.encode() + encryption.key_id.encode() + wrapped
        secret = custody.remembered.get(place)
        if secret is None:
            (secret,) = yield (Ask(lambda: keys.unwrap(encryption.key_id, wrapped, identity)),)
            custody.remembered.put(place, secret)
        return DataKey(secret)
    except (IntegrityError, KeyUnavailable) as error:
        message = f"version {record.version} of {artifact.label!r}: {error}"
        raise type(error)(message, artifact=artifact.label, key_id=encryption.key_id) from error


def codec_of(artifact: ArtifactId, record: Blob) -> Steps[Codec]:
    """How the payload of *record*, which was authenticated before, is stored."""
    key = (yield from data_key(artifact, record)) if record.encryption else None
    return artifact.custody.codec(artifact, record, key)
