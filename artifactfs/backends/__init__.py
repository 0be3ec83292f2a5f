"""The stores that artifacts can live in, one module each, behind the protocol of `artifactfs.backends.base`."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from typing import Any, Literal

from artifactfs.backends.base import Backend
from artifactfs.errors import InvalidConfig, UnsafeBackend

_EXTRAS = {"s3": ("s3", "S3Backend"), "gcs": ("gcs", "GCSBackend")}
_ENGINES = {"s3": "s3fs", "gcs": "gcsfs"}
"""What a family of stores is reached through where nothing else is said or can be had."""

_FAST = {"s3": ("obstore_s3", "ObstoreS3Backend"), "gcs": ("obstore_gcs", "ObstoreGCSBackend")}
"""Families that the engine obstore can serve: module and class of each; the module's `unfit` tells what keeps it off."""

_KNOWN = re.compile(r"0\.12\.[1-9]\d*")
"""Releases of obstore that the engine can use. It reads the text of errors, which others word otherwise."""

_SCHEMES = {"s3": "s3", "r2": "s3", "gs": "gcs", "gcs": "gcs"}


def open_backend(
    url: str,
    options: Mapping[str, Any],
    *,
    single_writer: bool = False,
    read_only: bool = False,
    durability: Literal["fsync", "none"] = "fsync",
    tries: int = 5,
    deadline: float = 60.0,
) -> Backend:
    """The backend for *url*: ``memory://…``, a path or ``file://…``, ``s3://…``, ``gs://…``, or any other of fsspec's.

    *options* are the filesystem's own, and ``engine``: ``"obstore"``, or ``"s3fs"`` or ``"gcsfs"`` (see docs/engines.md).
    Its module, and the libraries that it stands on, are imported only now.

    Raises:
        InvalidConfig: nothing answers to the URL, an option is unknown, or an extra is not installed.
        UnsafeBackend: a filesystem without an atomic create, and nobody said that there is only one writer.
    """
    scheme, separator, rest = url.partition("://")
    scheme = {"s3a": "s3"}.get(scheme.lower(), scheme.lower()) if separator else scheme
    url = scheme + separator + rest
    if "::" in url:
        raise InvalidConfig(f"a store's URL is that of one filesystem, not a chain: {url!r}")
    if not separator or scheme in ("file", "local"):
        _no_options(url, options)
        from artifactfs.backends.local import LocalBackend

        return LocalBackend(url, durability=durability, read_only=read_only)
    if scheme == "memory":
        _no_options(url, options)
        from artifactfs.backends.memory import MemoryBackend

        return MemoryBackend(url)
    if scheme in _SCHEMES:
        family = _SCHEMES[scheme]
        extra, name = _EXTRAS[family]
        options = dict(options)
        engine = options.pop("engine", None)
        try:
            kind = getattr(importlib.import_module(f"artifactfs.backends.{extra}"), name)
            kind = _fast(family, engine, url, options) or kind
        except ImportError as error:
            raise InvalidConfig(
                f'{scheme}:// needs more than is installed ({error}); pip install "artifactfs[{extra}]"'
            ) from error
        backend: Backend = kind(url, options=options, single_writer=single_writer, tries=tries, deadline=deadline)
        return backend
    from fsspec.registry import get_filesystem_class

    try:
        get_filesystem_class(scheme)
    except (ValueError, ImportError) as error:
        raise InvalidConfig(f"no filesystem answers to {scheme}:// ({error}); check the scheme of {url!r}") from error
    if "engine" in options:
        _no_options(url, {"engine": options["engine"]})
    if not (single_writer or read_only):
        raise UnsafeBackend(
            f"fsspec's {scheme!r} filesystem has no create that only one of several writers wins, so saves could be lost; "
            "if this process is the only writer, say single_writer=True; to read only, read_only=True",
            store=url,
        )
    from artifactfs.backends.generic import GenericBackend

    return GenericBackend(url, options=dict(options))


def _fast(family: str, engine: object, url: str, options: Mapping[str, Any]) -> type[Any] | None:
    """The backend of the engine obstore where it is asked for, or installed and fit; else None."""
    own = _ENGINES[family]
    if engine == own:
        return None
    if engine not in (None, "obstore"):
        raise InvalidConfig(f'engine is "{own}" or "obstore" for {url!r}, not {engine!r:.80}')
    if (lacking := _lacks_obstore()) is not None:
        if engine is None:
            return None
        raise InvalidConfig(f'engine="obstore" needs obstore, {lacking}; pip install "artifactfs[fast]"')
    where, name = _FAST[family]
    module = importlib.import_module(f"artifactfs.backends.{where}")
    unfit = module.unfit(url, options, asked=engine is not None)
    if unfit is None:
        kind: type[Any] = getattr(module, name)
        return kind
    if engine is None:
        return None
    raise InvalidConfig(f'engine="obstore" cannot serve {url!r} with {unfit}: leave engine out, or say engine="{own}"')


def _lacks_obstore() -> str | None:
    """What keeps obstore from being used, whatever the options; None where nothing does."""
    if importlib.util.find_spec("obstore") is None:
        return "which is not installed"
    from importlib import metadata

    try:
        version = metadata.version("obstore")
    except metadata.PackageNotFoundError:
        return "of which only a part is installed"
    return None if _KNOWN.fullmatch(version) else f"from 0.12.1 on and below 0.13, not {version}"


def _no_options(url: str, options: Mapping[str, Any]) -> None:
    if options:
        raise InvalidConfig(f"{url!r} takes no such option: {', '.join(sorted(options))}")
