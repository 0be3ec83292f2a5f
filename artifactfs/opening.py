"""Opening a store: its URL and settings checked, and its backend, keys and older stores put together."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from artifactfs.backends import open_backend
from artifactfs.custody import Custody
from artifactfs.errors import InvalidConfig
from artifactfs.keys import settings as key_settings
from artifactfs.operations.core import Core, Mode
from artifactfs.pointers import check_schemes


def open_core(
    url: str | os.PathLike[str] | None,
    *,
    read_only: bool,
    max_bytes: int | None,
    single_writer: bool,
    durability: Literal["fsync", "none"],
    tries: int,
    deadline: float,
    keys: object,
    active_key_id: object,
    accept_plain: bool,
    scope_secret: object,
    mode: Mode,
    pointer_schemes: Collection[str],
    provider: str,
    older: Sequence[Core],
    options: Mapping[str, Any],
) -> tuple[Core, dict[str, Any]]:
    """The store below *url*, or below the variable ``ARTIFACTFS_URL``, over *older* ones, with its settings checked.

    And those settings that are others when it is opened once more elsewhere: no key and no secret travels.
    """
    where = os.environ.get("ARTIFACTFS_URL") if url is None else os.fspath(url)
    if not where:
        raise InvalidConfig("no store is named: give a URL or a path, or set ARTIFACTFS_URL")
    if not isinstance(where, str):
        raise InvalidConfig(f"a store's URL or path is text, not {type(where).__name__}")
    if re.match(r"(s3a?|gs|gcs|r2|memory|file|https?)(:(?!//)|//)", where):
        raise InvalidConfig(f"{where!r} looks like a URL and is none: write :// behind the scheme, or ./ before a path")
    if "\0" in where:
        raise InvalidConfig(f"a store's URL or path holds no NUL: {where!r}")
    flags = {"read_only": read_only, "single_writer": single_writer, "accept_plain": accept_plain}
    for setting, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidConfig(f"{setting} is True or False, not {value!r}")
    if not (max_bytes is None or (type(max_bytes) is int and max_bytes >= 0)):
        raise InvalidConfig(f"max_bytes is a number of bytes, not {max_bytes!r}")
    if not (type(tries) is int and tries >= 1 and isinstance(deadline, (int, float)) and deadline > 0):
        raise InvalidConfig(f"tries must be at least 1 and deadline above 0 seconds, not {tries!r} and {deadline!r}")
    if mode not in ("managed", "pointer_only"):
        raise InvalidConfig(f"mode is 'managed' or 'pointer_only', not {mode!r}")
    if not isinstance(provider, str) or len(provider) > 100 or not (provider.isprintable() and provider.isascii()):
        raise InvalidConfig(f"provider is at most 100 characters of printable ASCII, not {provider!r:.120}")
    schemes = check_schemes(pointer_schemes)
    keeper = key_settings.provider_of(keys)
    secret = key_settings.scope_secret(scope_secret)
    active = key_settings.active_id(active_key_id, keeper)
    if accept_plain and keeper is None:
        raise InvalidConfig(
            "accept_plain=True is for a store with keys, and no keys are given: give keys=, or leave it out"
        )
    if "://" not in where:
        where = os.path.abspath(os.path.expanduser(where))  # the same store from wherever it is unpickled
    backend = open_backend(
        where,
        options,
        single_writer=single_writer,
        read_only=read_only,
        durability=durability,
        tries=tries,
        deadline=deadline,
    )
    known = {one.custody.provider for one in older} - {""}
    custody = Custody(keeper, active, accept_plain=accept_plain, secret=secret, provider=provider, known=known)
    if older:
        for one in older:
            custody.check_older(one.custody, one.backend.url)
        from artifactfs.backends.read_through import ReadThrough

        backend = ReadThrough(backend, [one.backend for one in older])
    core = Core(
        backend,
        where,
        read_only=read_only,
        single_writer=single_writer,
        max_bytes=max_bytes,
        custody=custody,
        mode=mode,
        schemes=schemes,
    )
    travels = {
        "keys": key_settings.travelling(keys, keeper),
        "active_key_id": active or None,
        "scope_secret": key_settings.FROM_ENVIRONMENT if secret else key_settings.NOTHING,
        "pointer_schemes": schemes,
        **options,
    }
    return core, travels
