"""What a store does to protect what it holds: its keys, whose records it believes, and how it spells users.

A `Custody` hangs on every scope, so that all that is done there is done by it. `NONE` is that of a store without keys.
A `Seal` is what one record is authenticated and one payload sealed by (docs/spec.md, "Sealing").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from artifactfs.codecs.base import Codec, Encoder
from artifactfs.codecs.plain import Plain
from artifactfs.errors import BackendUnavailable, IntegrityError, InvalidConfig, KeyUnavailable, UnsupportedFormat
from artifactfs.keys.base import KEY_BYTES, MAX_KEY_ID, MAX_WRAPPED, Identity, KeyProvider, length_prefixed, told_id
from artifactfs.records import Blob, Encryption, Record, TagRecord, Tombstone, longest_tombstone

if TYPE_CHECKING:
    from artifactfs.layout import ArtifactId

CIPHER = "cobblestone-256"
"""What seals payloads: C2SP chunked-encryption with SHA-512 and AES-256-GCM."""

USER_DIGITS = 32
"""Hexadecimal digits that stand for a user in paths where the store has a scope secret."""

_MAC_LABEL = b"artifactfs record mac v1"
_MAC_FIELD = b',"mac":"'
_MAC_SIZE = len(_MAC_FIELD) + 64 + len(b'"}')

_LONGEST_WRAPPED = -(-MAX_WRAPPED * 4 // 3)
SEALED_MORE = len(',"encryption":{"key_id":"","wrapped_key":""}') + MAX_KEY_ID + _LONGEST_WRAPPED + _MAC_SIZE
"""Bytes by which an authenticated tombstone is longer than a plain one, at most."""


class DataKey:
    """The key of one save. No repr, no pickle and no log shows it."""

    __slots__ = ("secret",)

    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "<DataKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled")


@dataclass(frozen=True, slots=True)
class Seal:
    """What one save is sealed and authenticated by: its data key, and how its record tells of it."""

    key: DataKey
    identity: Identity
    key_id: str
    wrapped: bytes

    @property
    def encryption(self) -> Encryption:
        """As a record holds it that has no sealed payload."""
        return Encryption(key_id=self.key_id, wrapped_key=_text(self.wrapped))

    @property
    def of_payload(self) -> Encryption:
        return Encryption(key_id=self.key_id, wrapped_key=_text(self.wrapped), cipher=CIPHER)

    def codec(self) -> Codec:
        return sealed(self.key, self.identity)

    def repeatable(self, sha256: str) -> Encoder:
        """What seals the one content of that digest, to the same bytes every time."""
        from artifactfs.codecs.sealed import Sealed

        return Sealed(self.key.secret, self.identity.encode()).repeatable(bytes.fromhex(sha256))

    def stamp(self, artifact: ArtifactId, record: Record, plain: bytes) -> bytes:
        """*plain*, the encoded *record*, with its ``mac``; longer than any tombstone of that name, if it is none itself."""
        body = plain[:-1]
        if not isinstance(record, Tombstone):
            body = body.ljust(longest_tombstone(artifact.name, record.version) + SEALED_MORE - _MAC_SIZE + 1)
        return self._with_mac(artifact, str(record.version), body)

    def stamp_tag(self, artifact: ArtifactId, record: TagRecord, plain: bytes) -> bytes:
        """*plain*, the encoded *record* of a tag, with its ``mac``."""
        return self._with_mac(artifact, f"@{record.tag}", plain[:-1])

    def _with_mac(self, artifact: ArtifactId, place: str, body: bytes) -> bytes:
        return body + _MAC_FIELD + _mac(self.key, artifact, place, body) + b'"}'


def sealed(key: DataKey, identity: Identity) -> Codec:
    from artifactfs.codecs.sealed import Sealed

    return Sealed(key.secret, identity.encode())


class Custody:
    """Keys and rules of one store.

    Attributes:
        keys: who wraps data keys; None where nothing is sealed.
        local: whether that is done here and at once, without asking anybody.
        provider: the store's own name, which its records bear; empty where it has none.
    """

    def __init__(
        self,
        keys: KeyProvider | None = None,
        active: str | Callable[[Identity], str] = "",
        *,
        accept_plain: bool = False,
        secret: bytes = b"",
        provider: str = "",
        known: Collection[str] = (),
    ) -> None:
        self.keys, self._active, self.accept_plain = keys, active, accept_plain
        # The secret itself is not kept, so that nothing shows it.
        self._users = hmac.new(secret, digestmod=hashlib.sha256) if secret else None
        self.provider, self._known = provider, frozenset({provider, *known})
        self.local = True
        if keys is not None:
            from artifactfs.keys.keyring import Keyring
            from artifactfs.keys.remembered import Remembered

            self.local = isinstance(keys, Keyring)
            self.remembered = Remembered[bytes, bytes](most=1000, seconds=60.0)

    @property
    def active_text(self) -> str | None:
        """The id of the active key where that is one for all; None where a function tells it."""
        return None if callable(self._active) else self._active

    @property
    def hides_users(self) -> bool:
        return self._users is not None

    @property
    def takes_plain(self) -> bool:
        """Whether a record that nothing authenticates is believed."""
        return self.keys is None or self.accept_plain

    def user(self, app: str, user: str) -> str:
        """What the store calls *user* of *app*: the name itself, or digits that tell nobody who that is."""
        if self._users is None:
            return user
        digest = self._users.copy()
        digest.update(length_prefixed(app, user))
        return digest.hexdigest()[:USER_DIGITS]

    def active(self, identity: Identity) -> str:
        """The id of the key that wraps what is saved now.

        Raises:
            InvalidConfig: it is not one that a record can hold.
        """
        return check_key_id(self._active(identity) if callable(self._active) else self._active)

    def may_be_tombstone(self, artifact: ArtifactId, number: int, size: int) -> bool:
        """False only if a record of *size* bytes is surely none: every other record is longer than any tombstone.

        A listing alone then tells which versions are there, but for the few whose records are this short, which are read.
        """
        return size <= longest_tombstone(artifact.name, number) + (0 if self.keys is None else SEALED_MORE)

    def stored_size(self, size: int) -> int:
        """The most bytes that content of *size* bytes takes when stored."""
        if self.keys is None:
            return size
        from artifactfs.codecs.sealed import sealed_size

        return sealed_size(size)

    def needs_key(self, artifact: ArtifactId, record: Record | TagRecord, data: bytes) -> bool:
        """Whether *record*, decoded from *data*, is one to authenticate; else it is to be believed as it is.

        Raises:
            KeyUnavailable: it is, and there are no keys.
            IntegrityError: it should be, and is not.
        """
        has_mac = _has_mac(data)
        if not record.encryption and not has_mac:
            if self.takes_plain:
                return False
            raise unauthenticated(artifact, told(record))
        if not record.encryption or not has_mac:
            raise _altered(_key_of(artifact, record), artifact, "what authenticates it was taken away")
        if self.keys is None:
            raise KeyUnavailable(
                f"{told(record)} of {artifact.label!r} is sealed with the key {record.encryption.key_id!r}, and "
                "this store was opened without keys: give keys=, or set ARTIFACTFS_KEYS",
                artifact=artifact.label,
                key_id=record.encryption.key_id,
            )
        return True

    def check(self, artifact: ArtifactId, number: int, record: Record, data: bytes, key: DataKey) -> None:
        """Check the MAC of a record that `needs_key`.

        Raises:
            IntegrityError: it was altered, or moved from elsewhere.
            UnsupportedFormat: its payload is sealed in a way that this release does not know.
        """
        _check_mac(key, artifact, str(number), data, artifact.record(number))
        if isinstance(record, Blob) and record.encryption and record.encryption.cipher != CIPHER:
            raise UnsupportedFormat(
                f"version {number} of {artifact.label!r} is sealed by {record.encryption.cipher!r}, which this version of "
                "artifactfs does not know; upgrade artifactfs to read it",
                artifact=artifact.label,
            )

    def check_tag(self, artifact: ArtifactId, tag: str, data: bytes, key: DataKey) -> None:
        """Check the MAC of a tag that `needs_key`.

        Raises:
            IntegrityError: it was altered, or moved from elsewhere.
        """
        _check_mac(key, artifact, f"@{tag}", data, artifact.tag(tag))

    def check_provider(self, artifact: ArtifactId, record: Record) -> None:
        """Refuse a record whose content lies in a store that is not read through.

        Raises:
            BackendUnavailable: it names one that is not registered.
        """
        if record.provider and record.provider not in self._known:
            raise BackendUnavailable(
                f"version {record.version} of {artifact.label!r} lies in the store {record.provider!r}, which is not "
                "registered here: name that store in read_through=[…], or give this one provider=… if it is the one",
                artifact=artifact.label,
            )

    def check_older(self, older: Custody, url: str) -> None:
        """Refuse an older store that this one's keys and secret could not be right for.

        Raises:
            InvalidConfig: it spells users in another way, or is sealed, and there are no keys here.
        """
        if older.user("", "") != self.user("", ""):
            raise InvalidConfig(f"{url} has another scope_secret; what is read through has to have the same")
        if older.keys is not None and self.keys is None:
            raise InvalidConfig(f"{url} is opened with keys: give them to the store that reads it through")

    def codec(self, artifact: ArtifactId, record: Blob, key: DataKey | None) -> Codec:
        """How the payload of *record*, which was authenticated by *key*, is stored."""
        if key is None:
            return Plain()
        return sealed(key, artifact.identity(record.write_id))

    def __repr__(self) -> str:
        return f"<Custody {'without' if self.keys is None else 'with'} keys>"

    def __reduce__(self) -> str:
        if self is NONE:
            return "NONE"
        raise TypeError("keys are not pickled; a store is pickled by its URL and options")


NONE = Custody()


def fresh_key() -> DataKey:
    return DataKey(secrets.token_bytes(KEY_BYTES))


def check_key_id(key_id: object) -> str:
    """*key_id*, if a record can hold it."""
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID:
        raise InvalidConfig(f"the id of the active key is text of 1 to {MAX_KEY_ID} characters, not {told_id(key_id)}")
    if any(not "!" <= char <= "~" or char in '"\\' for char in key_id):
        raise InvalidConfig(f'the id of a key is printable ASCII without space, " and \\, not {told_id(key_id)}')
    return key_id


def check_wrapped(wrapped: object, keys: KeyProvider) -> bytes:
    """What a provider has wrapped, if a record can hold it."""
    if not isinstance(wrapped, bytes) or not 0 < len(wrapped) <= MAX_WRAPPED:
        what = f"{len(wrapped)} bytes" if isinstance(wrapped, bytes) else f"a {type(wrapped).__name__}"
        raise InvalidConfig(f"{type(keys).__name__}.wrap gave {what}; it has to give 1 to {MAX_WRAPPED} bytes")
    return wrapped


def check_unwrapped(secret: object, keys: KeyProvider) -> None:
    """Refuse what no data key can be, before the record is said to be altered."""
    if not isinstance(secret, bytes) or len(secret) != KEY_BYTES:
        what = f"{len(secret)} bytes" if isinstance(secret, bytes) else f"a {type(secret).__name__}"
        raise InvalidConfig(
            f"{type(keys).__name__}.unwrap gave {what}; it has to give the {KEY_BYTES} bytes of the data key"
        )


def wrapped_of(artifact: ArtifactId, record: Record | TagRecord) -> bytes:
    """The wrapped data key that a record holds."""
    encryption = record.encryption
    assert isinstance(encryption, Encryption)
    try:
        text = encryption.wrapped_key
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _altered(_key_of(artifact, record), artifact, "its wrapped key is no base64url") from error


def unauthenticated(artifact: ArtifactId, what: str) -> IntegrityError:
    return IntegrityError(
        f"{what} of {artifact.label!r} is authenticated by no key, and this store has keys: it was altered, or "
        "saved before there were any; to read such data open the store with accept_plain=True",
        artifact=artifact.label,
    )


def told(record: Record | TagRecord) -> str:
    """What *record* is of, as an error says it."""
    return f"tag {record.tag!r}" if isinstance(record, TagRecord) else f"version {record.version}"


def _key_of(artifact: ArtifactId, record: Record | TagRecord) -> str:
    return artifact.tag(record.tag) if isinstance(record, TagRecord) else artifact.record(record.version)


def _altered(key: str, artifact: ArtifactId, why: str) -> IntegrityError:
    return IntegrityError(
        f"the record {key!r} is not what was saved: {why}; other versions are not affected", artifact=artifact.label
    )


def _check_mac(key: DataKey, artifact: ArtifactId, place: str, data: bytes, at: str) -> None:
    mac = data[-_MAC_SIZE + len(_MAC_FIELD) : -2]
    if not hmac.compare_digest(mac, _mac(key, artifact, place, data[:-_MAC_SIZE])):
        raise _altered(at, artifact, "it was altered, or moved from elsewhere")


def _mac(key: DataKey, artifact: ArtifactId, place: str, body: bytes) -> bytes:
    """*place* is a number as text, or a tag after ``@``."""
    bound = length_prefixed("1", *artifact.identity("")[:4], place)
    digest = hmac.new(_mac_key(key), bound, hashlib.sha256)
    digest.update(body)
    return digest.hexdigest().encode()


def _mac_key(key: DataKey) -> bytes:
    """HKDF-Expand (RFC 5869, section 2.3) with SHA-512: one block is more than is needed."""
    return hmac.digest(key.secret, _MAC_LABEL + b"\1", "sha512")[:32]


def _has_mac(data: bytes) -> bool:
    return data[-_MAC_SIZE : -_MAC_SIZE + len(_MAC_FIELD)] == _MAC_FIELD and data.endswith(b'"}')


def _text(wrapped: bytes) -> str:
    return base64.urlsafe_b64encode(wrapped).rstrip(b"=").decode()
