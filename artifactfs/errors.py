"""Every error that reaches a user, drawn by what a handler would do about it.

Each derives from `ArtifactError` and from the builtin that a caller of file functions expects, carries its facts as
attributes, and survives pickling. A dependency's exception is never raised bare: it is chained as ``__cause__``.
"""

from __future__ import annotations

import errno as _errno
from typing import Any


class ArtifactError(Exception):
    """The base of all errors of this library.

    Attributes:
        store: URL of the store, without credentials, or None.
        artifact: ``app/user/session/name`` as a person reads it, or None.
    """

    _errno: int | None = None

    def __init__(self, message: str, *, store: str | None = None, artifact: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.store = store
        self.artifact = artifact
        self.__dict__.update(facts)
        if self._errno is not None and isinstance(self, OSError):
            setattr(self, "errno", self._errno)  # noqa: B010  (OSError's own attribute; str() stays the message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), dict(self.__dict__), getattr(self, "errno", None)), {}

    def __setstate__(self, state: object) -> None:
        """All state travels through `_rebuild`."""


def _rebuild(kind: type[ArtifactError], message: str, facts: dict[str, Any], number: int | None) -> ArtifactError:
    error = kind(message, **facts)
    if isinstance(error, OSError):
        error.errno = number
    return error


class InvalidName(ArtifactError, ValueError):
    """A name, user, session or app that cannot be stored: empty, NUL, a lone surrogate, or too long for this store."""


class InvalidRef(ArtifactError, ValueError):
    """A URL or version selector that says nothing, or two things at once."""


class ImmutableVersion(InvalidRef, PermissionError):
    """A version was to be written to or taken away by its reference; versions never change, a save makes a new one."""

    _errno = _errno.EPERM


class InvalidConfig(ArtifactError, ValueError):
    """A setting that cannot be used; says where it stands and what would be right."""


class InvalidMetadata(ArtifactError, ValueError):
    """Metadata, a MIME type or another field of a record that cannot be stored as it was given."""


class PayloadTooLarge(ArtifactError, ValueError):
    """A whole load of more bytes than the store's ``max_bytes``; open the artifact and read it in pieces instead."""


class ArtifactNotFound(ArtifactError, FileNotFoundError):
    """No artifact of that name is there: it was never saved, was removed, or was deleted."""

    _errno = _errno.ENOENT


class VersionNotFound(ArtifactError, FileNotFoundError):
    """The artifact has no such version: never published, or deleted."""

    _errno = _errno.ENOENT


class Conflict(ArtifactError, FileExistsError):
    """A compare-and-set that did not find what it expected; nothing was saved.

    Attributes:
        in_progress: True where another save holds the next number and has not published yet: trying again later may
            succeed. False where another version is there already.
    """

    _errno = _errno.EEXIST
    in_progress: bool = False


class ForeignPayload(ArtifactError, FileExistsError):
    """A payload that this library did not write stands where a claimed number was about to be published.

    Another program writes into the tree while savers run, which the layout does not allow (docs/spec.md).
    """

    _errno = _errno.EEXIST


class IntegrityError(ArtifactError, OSError):
    """Stored bytes do not match their record, or a key in the store is spelled in a way that no name encodes to."""

    _errno = _errno.EIO


class UnsupportedFormat(ArtifactError, ValueError):
    """A record of a format newer than this library."""


class KeyUnavailable(ArtifactError, OSError):
    """What is sealed cannot be opened here: the key that its record names is not configured, or was destroyed.

    Attributes:
        key_id: the id of the key that is needed, or None.
    """

    _errno = getattr(_errno, "ENOKEY", _errno.EACCES)  # Linux alone has it
    key_id: str | None = None


class PointerNotManaged(ArtifactError, OSError):
    """The version is a pointer: its content lies elsewhere, and nothing fetches it unless ``follow`` says so.

    Attributes:
        uri: where the content lies.
        record: the pointer.
    """

    _errno = getattr(_errno, "EREMOTE", _errno.EIO)
    uri: str = ""
    record: Any = None


class BackendError(ArtifactError, OSError):
    """The store answered, and trying again would not help: no such bucket, disk full, a setting it does not know."""


class BackendUnavailable(BackendError, ConnectionError):
    """The store could not be reached, or kept failing, within the tries and the deadline of this store.

    Attributes:
        landed: True where a write was sent whose answer was never seen, so that it may have taken effect.
    """

    landed: bool = False


class AccessDenied(BackendError, PermissionError):
    """The store refused the credentials or the permission, or the store was opened with ``read_only=True``."""

    _errno = _errno.EACCES


class UnsafeBackend(BackendError):
    """The store does not create atomically, so savers would overwrite each other; nothing was written.

    Attributes:
        seen: what the probe saw: ``racy``, ``ignored`` or ``refused``; None where the kind of store is known for it.
    """

    seen: str | None = None
