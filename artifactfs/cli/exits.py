"""Exit codes, and the one line that tells of an error (docs/cli.md, which has the table)."""

from __future__ import annotations

from enum import IntEnum

from artifactfs import errors
from artifactfs.cli.output import one_line


class Exit(IntEnum):
    """What the process ends with."""

    OK = 0
    FAILED_CHECK = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    DENIED = 6
    LOCAL = 7
    INTERNAL = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


# The first that fits.
_CODES: tuple[tuple[type[Exception], Exit], ...] = (
    (errors.Conflict, Exit.CONFLICT),
    (errors.ForeignPayload, Exit.CONFLICT),
    (errors.ArtifactNotFound, Exit.NOT_FOUND),
    (errors.VersionNotFound, Exit.NOT_FOUND),
    (errors.AccessDenied, Exit.DENIED),
    (errors.KeyUnavailable, Exit.DENIED),
    (errors.BackendError, Exit.UNAVAILABLE),
    (errors.IntegrityError, Exit.FAILED_CHECK),
    (errors.UnsupportedFormat, Exit.FAILED_CHECK),
    (errors.ArtifactError, Exit.USAGE),
    (FileNotFoundError, Exit.USAGE),
    (NotADirectoryError, Exit.USAGE),
    (IsADirectoryError, Exit.USAGE),
    (OSError, Exit.LOCAL),
)

# What to do here, where the error's own words are for a program, or leave it open.
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (errors.UnsafeBackend, "; what this store lacks tells: artifactfs doctor"),
    (errors.BackendUnavailable, "; is --store (or ARTIFACTFS_URL) right, and the network up? ask: artifactfs doctor"),
    (errors.AccessDenied, "; which permission is missing tells: artifactfs doctor"),
    (
        errors.KeyUnavailable,
        "; keys come from ARTIFACTFS_KEYS, or from the file that keys_file in artifactfs.yaml names",
    ),
    (errors.VersionNotFound, "; what there is shows: artifactfs log"),
    (errors.ArtifactNotFound, "; what there is shows: artifactfs ls"),
)


def code_of(error: Exception) -> Exit:
    """The exit code that *error* ends the process with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.INTERNAL)


def told(error: Exception) -> str:
    """*error* in one line, with what to do about it, and no control characters of anybody's."""
    if isinstance(error, errors.ArtifactError):
        text = _said(error)
        return one_line(text + next((advice for kind, advice in _ADVICE if isinstance(error, kind)), ""))
    if isinstance(error, OSError):
        where = error.filename if error.filename is not None else ""
        if isinstance(where, bytes):
            where = where.decode(errors="replace")
        said = error.strerror or str(error) or type(error).__name__
        return one_line(f"{where}: {said}" if where else said)
    return one_line(f"internal error, {type(error).__name__}: {error}; artifactfs --debug … shows where")


def _said(error: errors.ArtifactError) -> str:
    if isinstance(error, errors.PointerNotManaged) and error.record is not None:
        from artifactfs.pointers import shown

        return f"{error.artifact} holds no bytes but points to {shown(error.uri)}: add --follow to fetch it from there"
    if isinstance(error, errors.ImmutableVersion):
        return f"{error}: leave the version out"
    return str(error)
