"""Following a pointer: fetching what it points to, which happens only where a caller asks for it by name (docs/pointers.md).

Nothing of the content is given out before all of it was checked against the record.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from artifactfs import guarded_http
from artifactfs.errors import (
    AccessDenied,
    ArtifactError,
    BackendError,
    BackendUnavailable,
    IntegrityError,
    InvalidConfig,
    InvalidRef,
    PayloadTooLarge,
    PointerNotManaged,
)
from artifactfs.pointers import check_uri, scheme_of, shown
from artifactfs.records import Pointer

MAX_BYTES = 100 * 1024 * 1024
"""Bytes: what is fetched at most, unless `Follow` says otherwise."""

DEADLINE = 60.0
"""Seconds that a fetch may take, for each `MAX_BYTES` (begun or whole) that it may bring."""

_SPOOL = 8 * 1024 * 1024
_PIECE = 1024 * 1024
_WEB = frozenset({"http", "https"})
# Where these lead is set on this side: their URIs name a bucket, a digest or a path, and no host to connect to.
_WITHOUT_HOST = frozenset({"s3", "s3a", "gs", "gcs", "ipfs", "file", "local", "data", "memory"})
_INSTALL = {"s3": "artifactfs[s3]", "s3a": "artifactfs[s3]", "gs": "artifactfs[gcs]", "gcs": "artifactfs[gcs]"}


@dataclass(frozen=True, repr=False)
class Follow:
    """How a pointer may be followed: ``load(name, follow=Follow(…))``; ``follow=True`` is ``Follow()``.

    Args:
        max_bytes: more content than this is refused. It is also the time that it may take: 60 seconds, and as much again
            for each further 100 MiB.
        private: allow addresses that are not of the public internet, and schemes other than https, http, s3, gs and ipfs
            whose URIs name a host.
        options: by scheme, what ``fsspec.filesystem`` is given, such as credentials: ``{"s3": {"key": …}}``. For https and
            http: ``headers`` and ``ssl``, as `aiohttp <https://docs.aiohttp.org>`_ has them, sent to the URI's own origin
            only. Never shown.

    >>> Follow(options={"s3": {"key": "me", "secret": "hush"}})
    Follow(max_bytes=104857600, private=False, options={'s3': ['key', 'secret']})

    Raises:
        InvalidConfig: one of them is of another kind.
    """

    max_bytes: int = MAX_BYTES
    private: bool = False
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.max_bytes, bool) or not isinstance(self.max_bytes, int) or self.max_bytes < 0:
            raise InvalidConfig(f"max_bytes is {self.max_bytes!r:.80}: give a number of bytes, 0 or more")
        if not isinstance(self.private, bool):
            raise InvalidConfig(f"private is a {type(self.private).__name__}: give True or False")
        if not isinstance(self.options, Mapping) or not all(
            isinstance(scheme, str) and isinstance(options, Mapping) and all(isinstance(name, str) for name in options)
            for scheme, options in self.options.items()
        ):
            raise InvalidConfig("options of a Follow are mappings by scheme, such as {'s3': {'key': …, 'secret': …}}")
        for scheme in _WEB & self.options.keys():
            guarded_http.check_options(self.options[scheme])

    def __repr__(self) -> str:
        names = {scheme: sorted(options) for scheme, options in self.options.items()}
        return f"Follow(max_bytes={self.max_bytes}, private={self.private}, options={names})"


def fetch(pointer: Pointer, follow: Follow, schemes: Collection[str], label: str) -> BinaryIO:
    """The content that *pointer* points to, checked, in a temporary file at its beginning. Blocks.

    All of it was fetched and has the size and the digest that the record expects, before this returns. What is not of
    one of *schemes* is not fetched, whoever wrote the record. *label* names the version in messages.

    Raises:
        PointerNotManaged: its URI is not one that is followed.
        IntegrityError: what lies there is not what the record expects.
        PayloadTooLarge: it has more than ``follow.max_bytes``.
        AccessDenied: credentials are missing, or the way leads where it may not (`Follow.private`).
        BackendError, BackendUnavailable: it cannot be had, for good or for now.
        InvalidConfig: an option that cannot be used, a package that is not installed.
    """
    place = f"{label} points to {shown(pointer.uri)!a:.200}"
    try:
        uri = check_uri(pointer.uri, schemes)
    except InvalidRef as error:
        raise PointerNotManaged(f"{label} is a pointer that is not followed: {error}", uri=pointer.uri) from error
    scheme = scheme_of(uri)
    content = _Content(pointer, follow, place)
    try:
        if scheme in _WEB:
            options = follow.options.get(scheme, {})
            guarded_http.download(
                *(uri, content.take), private=follow.private, options=options, seconds=content.seconds, place=place
            )
        else:
            _copy(uri, scheme, content.take, follow, place)
        return content.checked()
    except BaseException:
        content.file.close()
        raise


class _Spool(tempfile.SpooledTemporaryFile[bytes]):
    """Closed when nobody holds it any longer, and no warning of it: a reader of an artifact need not be closed either."""

    def __del__(self) -> None:
        self.close()


class _Content:
    """What was fetched so far. `take` raises as soon as it is too much, or took too long."""

    def __init__(self, pointer: Pointer, follow: Follow, place: str) -> None:
        self._place = place
        self._limit = follow.max_bytes
        self._size = pointer.size_bytes if pointer.expected_size is None else pointer.expected_size
        self._digest = pointer.expected_sha256
        if self._size is not None and self._size > self._limit:
            raise self._too_large(f"{self._size} bytes")
        self.seconds = DEADLINE * max(1, -(-self._limit // MAX_BYTES))
        self._until = time.monotonic() + self.seconds
        self._taken = 0
        self._sha256 = hashlib.sha256()
        self.file = _Spool(_SPOOL)

    def take(self, piece: bytes) -> None:
        self._taken += len(piece)
        if self._size is not None and self._taken > self._size:
            raise self._altered(f"it has more than {self._size} bytes")
        if self._taken > self._limit:
            raise self._too_large("more")
        if time.monotonic() > self._until:
            raise BackendUnavailable(
                f"{self._place}: it was not there whole after {self.seconds:.0f} seconds; try again later"
            )
        self._sha256.update(piece)
        self.file.write(piece)

    def checked(self) -> BinaryIO:
        if self._size is not None and self._taken != self._size:
            raise self._altered(f"it has {self._taken} bytes, and not {self._size}")
        if self._digest is not None and self._sha256.hexdigest() != self._digest:
            raise self._altered(f"its SHA-256 is {self._sha256.hexdigest()}, and not {self._digest}")
        self.file.seek(0)
        return cast(BinaryIO, self.file)

    def _too_large(self, has: str) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"{self._place}: it has {has}, and at most {self._limit} bytes are fetched; allow it by "
            "follow=Follow(max_bytes=…)"
        )

    def _altered(self, how: str) -> IntegrityError:
        return IntegrityError(
            f"{self._place}, and what lies there is not what the record expects: {how}; it was replaced, or the record is "
            "wrong, and nothing of it is given out"
        )


def _copy(uri: str, scheme: str, take: Callable[[bytes], object], follow: Follow, place: str) -> None:
    """Read *uri* by fsspec's filesystem for *scheme*, and by that one only: ``::`` means nothing here."""
    import fsspec

    if scheme not in _WITHOUT_HOST and not follow.private:
        raise AccessDenied(
            f"{place}: where a URI of {scheme} leads cannot be judged before it is opened; where it may lead anywhere, "
            "allow it by follow=Follow(private=True)"
        )
    try:
        filesystem = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        needed = f"pip install '{_INSTALL[scheme]}'" if scheme in _INSTALL else str(error)
        raise InvalidConfig(f"{place}: following it needs a package that is not installed: {needed}") from error
    except ValueError as error:
        if scheme == "ipfs":
            raise InvalidConfig(f"{place}: following it needs a package that is not installed: ipfsspec") from error
        raise PointerNotManaged(
            f"{place}: fsspec has no filesystem for {scheme!r}, so there is nothing to open; use the URI by other means",
            uri=uri,
        ) from error
    try:
        # No instance is kept for others, and no other's taken: its options hold credentials.
        opened = filesystem(**{**follow.options.get(scheme, {}), "skip_instance_cache": True})
        path = opened._strip_protocol(scheme + uri[len(scheme) :])
        with opened.open(path if scheme == "data" else unquote(path), "rb", block_size=_PIECE) as file:
            while piece := file.read(_PIECE):
                take(piece)
    except ArtifactError:
        raise
    except Exception as error:
        raise _translated(error, place) from error


def _translated(error: Exception, place: str) -> ArtifactError:
    """Our error for whatever a filesystem raises: by its kind alone, since its text may hold options."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, FileNotFoundError):
        return BackendError(f"{place}: nothing is there any more; save the content as a new version")
    if isinstance(error, PermissionError) or any("Credential" in kind for kind in kinds):
        return AccessDenied(
            f"{place}: the credentials are missing or may not read it ({type(error).__name__}); give them by "
            "follow=Follow(options={scheme: {…}})"
        )
    # By name, since each library has its own and none of them need be installed.
    if kinds & {"ConnectionError", "TimeoutError", "Timeout", "HTTPClientError", "ClientConnectionError"}:
        return BackendUnavailable(f"{place}: it cannot be reached ({type(error).__name__}); try again later")
    if isinstance(error, (TypeError, ValueError)):
        return InvalidConfig(
            f"{place}: the URI or the options for it cannot be used ({type(error).__name__}); see the filesystem's own "
            "documentation"
        )
    return BackendError(f"{place}: it cannot be read ({type(error).__name__})")
