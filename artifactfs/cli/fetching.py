"""``get`` and ``cat``: the bytes of versions, in bounded memory, held against their records."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from artifactfs.cli.exits import Exit
from artifactfs.cli.invocation import REF, Invocation, command, usage
from artifactfs.cli.output import dumps, note, plain, record_json, say, say_array
from artifactfs.cli.progress import LONG, progress, progress_of_lines
from artifactfs.errors import (
    ArtifactError,
    ArtifactNotFound,
    Conflict,
    IntegrityError,
    KeyUnavailable,
    PointerNotManaged,
)

if TYPE_CHECKING:
    from artifactfs.cli.listing import Entry
    from artifactfs.files import ArtifactReader
    from artifactfs.records import Record
    from artifactfs.refs import Ref

PIECE = 1024 * 1024
"""Bytes that are read and written at a time."""

follow_option = click.option("--follow", is_flag=True, help="Fetch what a pointer points to.")


@command("cat")
@click.argument("ref", type=REF)
@follow_option
def cat(invocation: Invocation, ref: str, follow: bool) -> None:
    """Write the bytes of a version to standard output."""
    if invocation.json:
        usage("cat writes the bytes alone: leave --json out, or ask stat.")
    out = sys.stdout.buffer
    with _opened(invocation, invocation.artifact(ref), follow) as file:
        copy(file, out)
    out.flush()


@command("get")
@click.argument("ref", type=REF)
@click.option(
    "-o", "--output", metavar="FILE", help="The file to write, a folder for it (DIR/), or - for standard output."
)
@click.option("-r", "--recursive", is_flag=True, help="Write all that lies below REF, into a folder.")
@follow_option
def get(invocation: Invocation, ref: str, output: str | None, recursive: bool, follow: bool) -> None:
    """Write a version to a file, whole or not at all.

    Without -o the file has the artifact's own name, in this folder, and must not be there yet.
    """
    if recursive:
        _get_all(invocation, invocation.ref(ref), output, follow)
        return
    where = invocation.artifact(ref)
    assert where.name is not None
    if output == "-":
        if invocation.json:
            usage("with -o - standard output gets the bytes alone: leave --json out.")
        out = sys.stdout.buffer
        with _opened(invocation, where, follow) as file:
            copy(file, out)
        out.flush()
        return
    own = file_name(_pieces(where.name)[-1])
    make_folder = output is not None and output.endswith(("/", os.sep))
    if output is None:
        path = _not_here(Path(own))
    else:
        path = Path(output, own) if make_folder or os.path.isdir(output) else Path(output)
    record = _write(invocation, where, path, follow, make_folder=make_folder)
    if invocation.json:
        say(dumps({"file": os.fspath(path), **record_json(record, where)}))


def _not_here(path: Path) -> Path:
    if os.path.lexists(path):
        raise Conflict(f"{path} is here already: to write there all the same, say -o {path}")
    return path


def _write(
    invocation: Invocation, ref: Ref, path: Path, follow: bool, *, make_folder: bool, alone: bool = True
) -> Record:
    """One version as a file, which is there whole or as it was before."""
    with _opened(invocation, ref, follow) as file:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        size = file.record.size_bytes
        if (size is not None and size < LONG) or not alone:
            with whole(path) as out:
                copy(file, out)
        else:
            with progress(f"getting {ref.name}", size) as show, whole(path) as out:
                copy(file, out, show)
        return file.record


def _opened(invocation: Invocation, ref: Ref, follow: bool) -> ArtifactReader:
    assert ref.name is not None
    scope = invocation.scope_of(ref)
    try:
        return scope.open(ref.name, "rb", ref.version, follow=follow)
    except ArtifactNotFound as error:
        if any(True for _ in scope.names(f"{ref.name}/", shared=False)):
            raise ArtifactNotFound(
                f"{ref} is a folder of artifacts; get it whole with -r, or name one in it"
            ) from error
        raise


def write_all(out: BinaryIO, data: bytes) -> None:
    """Write all of *data*, also to a file without a buffer, which standard output is under ``PYTHONUNBUFFERED``."""
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) :]


def copy(file: ArtifactReader, out: BinaryIO, show: Callable[[float], None] | None = None) -> None:
    """Write a version to *out* piece by piece, and check it: what is sealed as it is read, the rest at its end.

    Raises:
        IntegrityError: it is not what was saved. Part of it was written.
    """
    digest, done = hashlib.sha256(), 0
    while piece := file.read(PIECE):
        write_all(out, piece)
        digest.update(piece)
        done += len(piece)
        if show is not None:
            show(done)
    told = file.record.public(digest=True)
    if done != told["size_bytes"] or told.get("sha256") not in (None, digest.hexdigest()):
        raise IntegrityError(f"version {told['version']} of {told['filename']!r} does not match its record")


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes *path*'s place at the end, with all of its bytes on the disk; on an error nothing is left.

    What is no regular file, a pipe or a device, is written to as it is.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            yield file
        return
    beside = path.with_name(f".artifactfs-{secrets.token_hex(8)}.part")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(beside, flags, mode), "wb") as file:
            if path.exists():
                os.chmod(beside, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, ArtifactError):
            error.filename = os.fspath(path)  # which is the one that somebody has named
        raise


def _get_all(invocation: Invocation, where: Ref, output: str | None, follow: bool) -> None:
    from artifactfs.cli.listing import all_below

    if where.app is None or not (where.session or where.user_scope):
        usage(f"{where} is too much to get at once: write app/user/session, or a folder in it.")
    if output == "-":
        usage("-r writes many files, and standard output is one: give -o a folder.")
    inner = where.name.split("/")[-1] if where.name else where.session or "user"
    folder = Path(output if output is not None else file_name(inner))
    if output is None:
        _not_here(folder)
    entries = list(all_below(invocation, where, records=False))
    paths = [_path_of(entry, where) for entry in entries]
    folders = {path[:depth] for path in paths for depth in range(1, len(path))}
    left_out: list[str] = []

    def written() -> Iterator[tuple[Path, Record, Ref]]:
        with progress_of_lines(f"getting {where}", len(entries)) as show:
            for place, (entry, pieces) in enumerate(zip(entries, paths, strict=True)):
                show(place)
                if pieces in folders:
                    left_out.append(f"{entry.ref}: a folder has its name; get it by itself")
                    continue
                path = folder.joinpath(*pieces)
                try:
                    yield path, _write(invocation, entry.ref, path, follow, make_folder=True, alone=False), entry.ref
                except PointerNotManaged:
                    left_out.append(f"{entry.ref}: it is a pointer; add --follow to fetch what it points to")
                except (IntegrityError, KeyUnavailable) as error:  # the others are not to be lost with it
                    left_out.append(f"{entry.ref}: {error}")

    if invocation.json:
        say_array({"file": os.fspath(path), **record_json(record, ref)} for path, record, ref in written())
    else:
        for path, _, _ in written():
            say(plain(os.fspath(path)))
    for why in left_out:
        note(f"left out {why}")
    if left_out:
        click.get_current_context().exit(Exit.FAILED_CHECK)


def _path_of(entry: Entry, where: Ref) -> tuple[str, ...]:
    """The file that an artifact below *where* becomes, from the folder that is written to."""
    name = entry.ref.name
    assert name is not None
    rest = name if where.name is None else name[len(where.name) + 1 :]
    return tuple(file_name(piece) for piece in _pieces(rest or name))


def _pieces(name: str) -> list[str]:
    from artifactfs.refs import components

    return components(name)


def file_name(piece: str) -> str:
    """What a file of that name is called here: itself, but encoded where that is no name of a file, or leads elsewhere."""
    if piece in {"", ".", ".."} or set(piece) & {"/", "\\", "\0", os.sep}:
        from artifactfs.refs import spell

        return spell(piece)
    return piece
