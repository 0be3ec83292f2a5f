"""Keys that a program holds itself: from text, from a file, or fresh ones."""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from typing import NoReturn

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from artifactfs.errors import IntegrityError, InvalidConfig, KeyUnavailable
from artifactfs.keys.base import KEY_BYTES, MAX_KEY_ID, Identity, told_id

NONCE_BYTES = 12
"""Bytes of the random nonce in front of a wrapped key (RFC 8452)."""

WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + 16
"""Bytes of a data key as a `Keyring` wraps it: nonce, ciphertext, tag."""

MAX_FILE = 64 * 1024
"""Bytes that a file of keys may have."""

_ID = re.compile(rf"[!#-\[\]-~]{{1,{MAX_KEY_ID}}}", re.ASCII)
_ID_IN_TEXT = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_KEY_ID}}}", re.ASCII)
_KEY_IN_TEXT = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)
_TEXT_ID_RULE = f"an id has 1 to {MAX_KEY_ID} characters, each a letter, a digit, '.', '_' or '-'"


class Keyring:
    """Wraps data keys by keys that it holds: AES-256-GCM-SIV, bound to the identity.

    It may be used from any thread and after a fork. It shows its ids and nothing else of its keys, and cannot be pickled.

    >>> ring = Keyring.parse(new_key("v1"))
    >>> ring
    <Keyring v1>
    >>> whose = Identity("shop", "alice", "s1", "report.csv", "5f0c")
    >>> ring.unwrap("v1", ring.wrap("v1", b"k" * 32, whose), whose) == b"k" * 32
    True

    Args:
        keys: 32 random bytes by their id, which has 1 to 128 printable ASCII characters, none of them a space, ``"`` or
            ``\\``.

    Raises:
        InvalidConfig: there is no key, an id or a key is not of that form, or this build of the cryptography library
            has no AES-GCM-SIV.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise InvalidConfig("no keys: give at least one, such as Keyring.parse(new_key('v1'))")
        self._aeads: dict[str, AESGCMSIV] = {}
        for place, (key_id, key) in enumerate(keys.items(), 1):
            if not isinstance(key_id, str) or not _ID.fullmatch(key_id):
                raise InvalidConfig(
                    f"key {place}: an id has 1 to {MAX_KEY_ID} printable ASCII characters, without space, '\"' and '\\'"
                )
            self._aeads[key_id] = aead(key, f"key {place}")

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, in the order in which they were given."""
        return tuple(self._aeads)

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """The keys in *text*: ``id:key``, several separated by commas, white space around each ignored.

        An id has letters, digits, ``.``, ``_`` and ``-``. A key is base64url of 32 bytes, with padding or without.

        Raises:
            InvalidConfig: *text* is not of that form, names an id twice, or holds a key of zeros. The message tells the
                place of what is wrong, never its text.
        """
        if not text.strip():
            raise InvalidConfig(
                "the text of keys is empty: it has to be id:key, as artifactfs.keys.keyring.new_key makes it"
            )
        return cls(_parsed((f"entry {place} of the keys", entry) for place, entry in enumerate(text.split(","), 1)))

    @classmethod
    def read_file(cls, path: str | os.PathLike[str]) -> Keyring:
        """The keys in the file at *path*: as `parse`, one a line or separated by commas; ``#`` begins a comment.

        Raises:
            InvalidConfig: there is no such file, others than its owner may read it, it is no regular file, larger than
                64 KiB, not UTF-8, or what `parse` refuses.
        """
        text = _text(os.fspath(path))
        keys = _parsed(
            (f"{os.fspath(path)}, line {number}", entry)
            for number, line in enumerate(text.splitlines(), 1)
            for entry in line.partition("#")[0].split(",")
            if entry.strip()
        )
        if not keys:
            raise InvalidConfig(f"{os.fspath(path)}: no keys in it: write one a line, as id:key")
        return cls(keys)

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        """*data_key* (32 bytes), wrapped by the key of that id for that *identity* alone: 60 bytes.

        Raises:
            KeyUnavailable: there is no key of that id here.
        """
        return wrap_by(self._aead(key_id), data_key, identity)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        """The data key in *wrapped*.

        Raises:
            KeyUnavailable: there is no key of that id here.
            IntegrityError: *wrapped* was altered, is of another identity, or was wrapped by another key of that id.
        """
        data_key = unwrap_by(self._aead(key_id), wrapped, identity)
        if data_key is None:
            raise IntegrityError(
                f"a wrapped key does not open: the record was altered, or {key_id!r} is another key now than the one "
                "that it was wrapped by"
            )
        return data_key

    def shred(self, key_id: str) -> None:
        """Forget a key: this process reads nothing more that it wraps. Copies elsewhere are yours to destroy.

        Raises:
            KeyUnavailable: there is no key of that id here.
        """
        self._aead(key_id)
        del self._aeads[key_id]

    def _aead(self, key_id: str) -> AESGCMSIV:
        found = self._aeads.get(key_id)
        if found is None:
            raise KeyUnavailable(
                f"no key {key_id!r} is configured here (there are {', '.join(self._aeads)}): add it to the keys; if it was "
                "destroyed, what it wraps cannot be read any more",
                key_id=key_id,
            )
        return found

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self._aeads)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Keyring holds keys and is not pickled: let each process read them from its environment or a file"
        )


def new_key(key_id: str) -> str:
    """A fresh random key as text, ``id:key``, for `Keyring.parse` or a file. Keep it secret, and keep a copy.

    Raises:
        InvalidConfig: *key_id* cannot stand in such text.
    """
    if not _ID_IN_TEXT.fullmatch(key_id):
        raise InvalidConfig(f"a key's id that cannot be used: {_TEXT_ID_RULE}")
    return f"{key_id}:{_base64url(secrets.token_bytes(KEY_BYTES))}"


def aead(key: bytes, where: str) -> AESGCMSIV:
    """What wraps by *key*; *where* it stands is told in errors.

    Raises:
        InvalidConfig: it is no key, or AES-GCM-SIV is missing.
    """
    if not isinstance(key, (bytes, bytearray, memoryview)):
        raise InvalidConfig(f"{where}: its key has to be bytes, and is {type(key).__name__}")
    if (size := memoryview(key).nbytes) != KEY_BYTES:
        raise InvalidConfig(f"{where}: its key has {size} bytes, and {KEY_BYTES} are needed")
    if not any(memoryview(key).cast("B")):
        raise InvalidConfig(f"{where}: its key is all zeros: make a random one with artifactfs.keys.keyring.new_key")
    try:
        return AESGCMSIV(key)
    except UnsupportedAlgorithm as error:
        raise InvalidConfig(
            "keys cannot be used here: this build of the cryptography library has no AES-GCM-SIV (OpenSSL 3.2 or later "
            "brings it); install cryptography from PyPI's wheels"
        ) from error


def wrap_by(key: AESGCMSIV, data_key: bytes, identity: Identity) -> bytes:
    """Random nonce, ciphertext and tag of *data_key*: 60 bytes, bound to *identity*."""
    if len(data_key) != KEY_BYTES:
        raise ValueError(f"a data key has {KEY_BYTES} bytes, not {len(data_key)}")
    nonce = os.urandom(NONCE_BYTES)
    return nonce + key.encrypt(nonce, data_key, identity.encode())


def unwrap_by(key: AESGCMSIV, wrapped: bytes, identity: Identity) -> bytes | None:
    """What `wrap_by` was given, or None where *wrapped* is not of that key and identity."""
    if len(wrapped) != WRAPPED_BYTES:
        return None
    try:
        return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], identity.encode())
    except InvalidTag:
        return None


# --- text -------------------------------------------------------------------------------------------------------------


def _parsed(entries: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """Keys by id, from where each stands and its text. What is wrong may be a key in the wrong place: no text is shown."""
    keys: dict[str, bytes] = {}
    places: dict[str, str] = {}
    for where, entry in entries:
        if not entry.strip():
            raise InvalidConfig(f"{where} is empty: leave the comma out, or write id:key")
        key_id, colon, text = (part.strip() for part in entry.strip().partition(":"))
        if not colon:
            raise InvalidConfig(f"{where}: no colon in it: write id:key, such as v1:…")
        if not _ID_IN_TEXT.fullmatch(key_id):
            raise InvalidConfig(f"{where}: its id cannot be used: {_TEXT_ID_RULE}")
        if key_id in keys:
            raise InvalidConfig(f"{where} has the same id as {places[key_id]}: each key needs an id of its own")
        keys[key_id], places[key_id] = _key(text, where), where
        aead(keys[key_id], where)
    return keys


def _key(text: str, where: str) -> bytes:
    if "+" in text or "/" in text:
        raise InvalidConfig(f"{where}: its key is standard base64: write '-' for '+' and '_' for '/'")
    bare = text.rstrip("=")
    # One spelling, with padding or without: bits that no byte uses have to be zero. Of a key cut off, the length is told.
    if _KEY_IN_TEXT.fullmatch(text) and len(bare) % 4 != 1 and (text == bare or len(text) % 4 == 0):
        key = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
        if len(key) != KEY_BYTES or _base64url(key) == bare:
            return key
    raise InvalidConfig(
        f"{where}: its key is not base64url: that has letters, digits, '-' and '_', 43 of them for 32 bytes"
    )


def _base64url(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def _text(path: str) -> str:
    """The text of a file that its owner alone can read. Errors of decoding would carry the keys: none is chained."""
    # What is looked at is what is read, by one descriptor. Opening a pipe would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise InvalidConfig(f"{path}: no regular file: keys are read from a file alone")
            if os.name == "posix" and about.st_mode & 0o077:
                raise InvalidConfig(
                    f"{path}: others may use the keys in it (mode {stat.S_IMODE(about.st_mode):04o}): chmod 600 {path}"
                )
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except InvalidConfig:
        raise
    except FileNotFoundError as error:
        raise InvalidConfig(f"there is no file of keys at {told_id(path)}") from (
            error if told_id(path) == repr(path) else None
        )
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"the file of keys cannot be read: {error}") from error
    if len(content) > MAX_FILE:
        raise InvalidConfig(f"{path}: larger than {MAX_FILE:,} bytes, so it is no file of keys")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise InvalidConfig(f"{path}: not UTF-8 text, so it is no file of keys")
