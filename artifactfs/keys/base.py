"""What keeps the keys that wrap data keys: one small protocol, and what is told it of the data key to wrap."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol, runtime_checkable

KEY_BYTES = 32
"""Bytes of a data key, and of a key that wraps it."""

MAX_KEY_ID = 128
"""Characters of a key's id: printable ASCII without space, ``"`` and ``\\``."""

MAX_WRAPPED = 288
"""Bytes that a wrapped data key may have."""

_LIKE_A_KEY = re.compile(r"(?:^'|:)[A-Za-z0-9_+/-]{43}")


def looks_like_a_key(key_id: object) -> bool:
    """Whether *key_id* is rather the text of a key, which is easily given in its place."""
    return _LIKE_A_KEY.search(repr(key_id)) is not None


def told_id(key_id: object) -> str:
    """*key_id* as errors tell it: never the text of a key."""
    return "(not shown: it looks like a key, not like its id)" if looks_like_a_key(key_id) else repr(key_id)[:140]


def length_prefixed(*fields: str) -> bytes:
    """*fields* as UTF-8, each behind its length as 4 bytes, big-endian: different fields never give the same bytes."""
    encoded = [field.encode() for field in fields]
    return b"".join(len(field).to_bytes(4, "big") + field for field in encoded)


class Identity(NamedTuple):
    """Whose data key it is: one save of one artifact.

    `user` is as the store spells it: a digest where the store has a ``scope_secret``. `session` is empty for what all
    sessions of a user share.
    """

    app: str
    user: str
    session: str
    name: str
    write_id: str

    def encode(self) -> bytes:
        """The bytes that a wrapped key and a sealed payload are bound to (docs/spec.md, "Sealing")."""
        return length_prefixed("1", *self)


@runtime_checkable
class KeyProvider(Protocol):
    """Keeps keys by their ids, and wraps data keys by them. Its methods may block; they are called from any thread."""

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        """*data_key* (32 bytes) such that `unwrap` alone gives it back, for that *identity* alone; at most 288 bytes.

        Raises:
            KeyUnavailable: there is no such key.
            BackendUnavailable: whoever keeps it does not answer.
        """
        ...

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        """The data key in *wrapped*.

        Raises:
            KeyUnavailable: there is no such key, or no longer.
            IntegrityError: *wrapped* was altered, or is of another identity or key.
            BackendUnavailable: whoever keeps it does not answer.
        """
        ...
