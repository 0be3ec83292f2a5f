"""Keys and secrets as a store is told of them: by its options, or by the environment where those say nothing.

They do not travel when a store is pickled: `FROM_ENVIRONMENT` stands in their place, so that a store which is opened again
elsewhere has to find them in the environment there, and never writes without them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from artifactfs.errors import InvalidConfig, KeyUnavailable
from artifactfs.keys.base import Identity, KeyProvider, told_id

FROM_ENVIRONMENT = "environment"
"""As ``keys`` or ``scope_secret``: it has to be in the environment."""

NOTHING = "none"
"""As ``keys`` or ``scope_secret``: there is none, whatever the environment says."""

KEYS, ACTIVE, SECRET = "ARTIFACTFS_KEYS", "ARTIFACTFS_ACTIVE_KEY_ID", "ARTIFACTFS_SCOPE_SECRET"

LEAST_SECRET = 16
"""Bytes that a scope secret has at least: who could guess it could try users out."""


def provider_of(keys: object) -> KeyProvider | None:
    """Who wraps data keys: as *keys* says, or the environment; None where neither does.

    Raises:
        InvalidConfig: *keys* is not text, a path or a provider, or holds none.
        KeyUnavailable: the environment was to have them.
    """
    if keys == NOTHING:
        return None
    if keys is None or keys == FROM_ENVIRONMENT:
        text = os.environ.get(KEYS, "")
        if not text and keys is None:
            if KEYS in os.environ:
                raise InvalidConfig(f"{KEYS} is set and empty: unset it, if nothing is to be sealed")
            if os.environ.get(ACTIVE):
                raise InvalidConfig(f"{ACTIVE} is set and {KEYS} is not: set both, or none")
            return None
        if not text:
            raise KeyUnavailable(f"this store's keys do not travel with it, and {KEYS} is not set here: set it")
        return _keyring(text, KEYS)
    if isinstance(keys, str):
        return _keyring(keys, "keys")
    if isinstance(keys, os.PathLike):
        from artifactfs.keys.keyring import Keyring

        return Keyring.read_file(keys)
    if isinstance(keys, KeyProvider):
        return keys
    raise InvalidConfig(
        f"keys is text (v1:<base64url>), the path of a file, or an object with wrap and unwrap, not a {type(keys).__name__}"
    )


def _keyring(text: str, where: str) -> KeyProvider:
    from artifactfs.keys.keyring import Keyring

    try:
        return Keyring.parse(text)
    except InvalidConfig as error:
        raise InvalidConfig(f"{where}: {error}") from None


def active_id(given: object, keys: KeyProvider | None) -> str | Callable[[Identity], str]:
    """The id of the key that wraps what is saved, or a function that tells it.

    Raises:
        InvalidConfig: it names no key, or there is none to name, or several and no word on which.
    """
    if keys is None:
        if given is not None:
            raise InvalidConfig(f"active_key_id is {told_id(given)}, and no keys are given: give keys=, or set {KEYS}")
        return ""
    chosen = os.environ.get(ACTIVE) if given is None else given
    ids: tuple[str, ...] | None = getattr(keys, "ids", None)
    if not chosen:
        if ids is not None and len(ids) == 1:
            return ids[0]
        what = f"of the keys {', '.join(ids)}" if ids else "of the provider's keys"
        raise InvalidConfig(f"which {what} is active is not said: give active_key_id=, or set {ACTIVE}")
    if callable(chosen):
        return chosen
    if not isinstance(chosen, str):
        raise InvalidConfig(f"active_key_id is text or a function, not a {type(chosen).__name__}")
    if ids is not None and chosen not in ids:
        raise InvalidConfig(f"active_key_id is {told_id(chosen)}, and the keys are {', '.join(ids)}")
    return chosen


def scope_secret(given: object) -> bytes:
    """The secret that users are hidden by; empty where there is none.

    Raises:
        InvalidConfig: it is no text, or too short.
        KeyUnavailable: the environment was to have it.
    """
    if given == NOTHING:
        return b""
    if given is None and os.environ.get(SECRET) == "":
        raise InvalidConfig(f"{SECRET} is set and empty: unset it, if users are not to be hidden")
    secret: Any = os.environ.get(SECRET, "") if given is None or given == FROM_ENVIRONMENT else given
    if given == FROM_ENVIRONMENT and not secret:
        raise KeyUnavailable(f"this store's scope_secret does not travel with it, and {SECRET} is not set here: set it")
    if isinstance(secret, str):
        secret = secret.encode("utf-8", "surrogatepass")
    if not isinstance(secret, bytes):
        raise InvalidConfig(f"scope_secret is text, not a {type(given).__name__}")
    if 0 < len(secret) < LEAST_SECRET or (given is not None and not secret):
        raise InvalidConfig(f"scope_secret has {len(secret)} bytes; it needs {LEAST_SECRET} or more, chosen at random")
    return secret


def without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """*options* with `FROM_ENVIRONMENT` in the place of keys and secrets, also those of older and of chained stores."""
    shown = dict(options)
    for name in ("keys", "scope_secret"):
        if isinstance(shown.get(name), (str, bytes)) and shown[name] != NOTHING:
            shown[name] = FROM_ENVIRONMENT
    if isinstance(older := shown.get("read_through"), (list, tuple)):
        shown["read_through"] = [without_secrets(one) if isinstance(one, Mapping) else one for one in older]
    if isinstance(target := shown.get("target_options"), Mapping):
        shown["target_options"] = without_secrets(target)
    return shown


def told_by_environment() -> dict[str, str]:
    """Options that say so, of a store that has its keys or its secret from the environment."""
    return {
        name: FROM_ENVIRONMENT
        for name, variable in (("keys", KEYS), ("scope_secret", SECRET))
        if os.environ.get(variable)
    }


def travelling(keys: object, provider: KeyProvider | None) -> object:
    """What stands for *keys* in a pickled store: a path or a provider itself, but never a key. A plain one stays plain."""
    if provider is None:
        return NOTHING
    from artifactfs.keys.keyring import Keyring

    return FROM_ENVIRONMENT if isinstance(provider, Keyring) and not isinstance(keys, os.PathLike) else keys
