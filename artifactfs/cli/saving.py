"""``put``, ``point`` and ``tag``: what makes versions, and names for them."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn, TypeVar

import click

from artifactfs.cli.invocation import REF, Invocation, command, usage
from artifactfs.cli.output import dumps, note, plain, record_json, say, say_array, version_ref
from artifactfs.cli.progress import LONG, progress, progress_of_lines

if TYPE_CHECKING:
    from artifactfs.records import Record
    from artifactfs.refs import Ref
    from artifactfs.store import Scope

F = TypeVar("F", bound=Callable[..., Any])


class Expect(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 alone
    """A version number, or ``absent``."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value != "absent" and not (value.isascii() and value.isdecimal()):
            self.fail(f"{value!r} is neither a version number nor 'absent'", param, ctx)
        return value if value == "absent" else int(value)


def version_options(what: F) -> F:
    """The options of whatever makes a version."""
    what = click.option("--mime-type", metavar="TYPE", help="Else it is guessed from the name, or the first bytes.")(
        what
    )
    what = click.option(
        "--metadata",
        metavar="KEY=VALUE|JSON",
        multiple=True,
        help="Metadata of your own: a key and a text, or a JSON object. May be repeated.",
    )(what)
    return click.option(
        "--expect",
        type=Expect(),
        metavar="N|absent",
        help="Save only if the newest version is this one, or there is none.",
    )(what)


def metadata_of(given: tuple[str, ...], option: str = "--metadata") -> dict[str, Any] | None:
    """What the options of that name say together; None where there are none."""
    found: dict[str, Any] = {}
    for text in given:
        if text.lstrip().startswith("{"):
            try:
                said = json.loads(text)
            except ValueError as error:
                usage(f"{option} {text:.80} is no JSON object: {error}.")
            found.update(said)
            continue
        key, equals, value = text.partition("=")
        if not equals or not key:
            usage(f"{option} {text:.80} is neither KEY=VALUE nor a JSON object.")
        found[key] = value
    return found or None


@command("put")
@click.argument("file")
@click.argument("ref", type=REF)
@version_options
@click.option("-r", "--recursive", is_flag=True, help="FILE is a folder: save every file in it, below REF.")
def put(
    invocation: Invocation,
    file: str,
    ref: str,
    mime_type: str | None,
    metadata: tuple[str, ...],
    expect: int | Literal["absent"] | None,
    recursive: bool,
) -> None:
    """Save a file as the next version of an artifact.

    FILE is - for standard input. A REF that is a session, or ends with a slash, takes the file's own name.
    """
    extra = metadata_of(metadata)
    if recursive:
        if expect is not None:
            usage("--expect is about one artifact, and -r saves many.")
        _put_all(invocation, file, ref, mime_type, extra)
        return
    where = _target(invocation, file, ref)
    if file != "-" and os.path.isdir(file):
        usage(f"{file} is a folder: add -r to save every file in it.")
    record = _save(invocation.scope_of(where, writes=True), where, file, mime_type, extra, expect)
    say_version(invocation, record, where)


def say_version(invocation: Invocation, record: Record, ref: Ref) -> None:
    """The version that was made."""
    if invocation.json:
        say(dumps(record_json(record, ref)))
    else:
        say(str(version_ref(ref, record.version)))


def _target(invocation: Invocation, file: str, text: str) -> Ref:
    """The artifact that a file is saved as."""
    ref = invocation.ref(text)
    if ref.name is not None and not text.partition("::")[0].endswith("/"):
        return invocation.without_version(text, "put")
    if (
        ref.app is None
        or ref.user is None
        or not (ref.session or ref.user_scope)
        or ref.view
        or ref.selector is not None
    ):
        return invocation.artifact(text)  # which says what is wrong
    if file == "-":
        usage("standard input has no name: let REF end with that of the artifact.")
    name = os.path.basename(os.path.abspath(file))
    return replace(ref, name=name if ref.name is None else f"{ref.name}/{name}")


def _save(
    scope: Scope,
    ref: Ref,
    file: str,
    mime_type: str | None,
    metadata: dict[str, Any] | None,
    expect: int | Literal["absent"] | None = None,
    *,
    alone: bool = True,
) -> Record:
    """Save one file; it is shown how far that is where the file is long, and is saved *alone*."""
    assert ref.name is not None
    if file == "-":
        if sys.stdin is None:
            usage("standard input is closed: there is nothing to save.")
        data, size = sys.stdin.buffer, None
    else:
        data = open(file, "rb")  # noqa: SIM115  (closed below)
        about = os.fstat(data.fileno())
        size = about.st_size if stat.S_ISREG(about.st_mode) else None
    with data:
        if (size is not None and size < LONG) or data.isatty() or not alone:
            return scope.save(ref.name, data, mime_type=mime_type, metadata=metadata, expect=expect)
        with progress(f"saving {ref.name}", size) as show:
            return scope.save(ref.name, Shown(data, show), mime_type=mime_type, metadata=metadata, expect=expect)


class Shown(io.RawIOBase):
    """A binary file that tells how far it was read."""

    def __init__(self, file: BinaryIO, show: Callable[[float], None]) -> None:
        self._file, self._show, self._done = file, show, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._done = self._file.seek(offset, whence)
        return self._done

    def read(self, size: int | None = -1) -> bytes:
        data = self._file.read(-1 if size is None else size)
        self._done += len(data)
        self._show(self._done)
        return data


def _put_all(
    invocation: Invocation, folder: str, text: str, mime_type: str | None, metadata: dict[str, Any] | None
) -> None:
    where = invocation.ref(text)
    if where.selector is not None or not (where.session or where.user_scope):
        usage(f"{where} is no place for a folder: write app/user/session, or a folder in it.")
    if not os.path.isdir(folder):
        usage(f"{folder} is no folder: leave -r out.")
    above = "" if where.name is None else f"{where.name}/"
    scope = invocation.scope_of(where, writes=True)
    left_out: list[str] = []
    found = list(_files(folder, left_out))

    def saved() -> Iterator[tuple[Ref, Record]]:
        with progress_of_lines(f"saving {folder}", len(found)) as show:
            for place, path in enumerate(found):
                show(place)
                ref = replace(where, name=above + path.relative_to(folder).as_posix())
                yield ref, _save(scope, ref, os.fspath(path), mime_type, metadata, alone=False)

    if invocation.json:
        say_array(record_json(record, ref) for ref, record in saved())
    else:
        for ref, record in saved():
            say(str(version_ref(ref, record.version)))
    for why in left_out:
        note(f"left out {why}")


def _files(folder: str, left_out: list[str]) -> Iterator[Path]:
    """Every file below *folder*, sorted. What is none, and links to folders, are not followed but told of in *left_out*.

    Raises:
        OSError: a folder in it cannot be read.
    """

    def refused(error: OSError) -> NoReturn:
        raise error

    for inner, folders, names in os.walk(folder, onerror=refused):
        folders.sort()
        links = [path for path in (Path(inner, name) for name in folders) if path.is_symlink()]
        left_out += [f"{path}: it is a link to a folder" for path in links]
        for name in sorted(names):
            path = Path(inner, name)
            if path.is_file():
                yield path
            else:
                left_out.append(f"{path}: it is {'a link to nothing' if path.is_symlink() else 'no file'}")


@command("point")
@click.argument("ref", type=REF)
@click.argument("uri")
@version_options
@click.option("--size", type=click.IntRange(min=0), metavar="BYTES", help="Bytes of what lies there, if known.")
@click.option("--sha256", metavar="HEX", help="The SHA-256 of what lies there, if known.")
def point(
    invocation: Invocation,
    ref: str,
    uri: str,
    mime_type: str | None,
    metadata: tuple[str, ...],
    expect: int | Literal["absent"] | None,
    size: int | None,
    sha256: str | None,
) -> None:
    """Save a pointer to what lies elsewhere.

    Nothing is fetched, now or later, but by a get or a cat with --follow.
    """
    extra = metadata_of(metadata)
    where = invocation.without_version(ref, "point")
    assert where.name is not None
    record = invocation.scope_of(where, writes=True).point(
        where.name,
        uri,
        mime_type=mime_type,
        size_bytes=size,
        expected_sha256=sha256,
        metadata=extra,
        expect=expect,
    )
    say_version(invocation, record, where)


@command("tag")
@click.argument("ref", type=REF)
@click.argument("tag", required=False)
@click.option("-d", "--delete", is_flag=True, help="Take the tag away. The version stays.")
@click.option(
    "--expect", type=Expect(), metavar="N|absent", help="Move it only if it names this version now, or is not there."
)
def tag(
    invocation: Invocation, ref: str, tag: str | None, delete: bool, expect: int | Literal["absent"] | None
) -> None:
    """Let a word name a version; without TAG list the tags of an artifact.

    Without a version in REF the newest is named.
    """
    where = invocation.artifact(ref)
    assert where.name is not None
    if tag is None:
        if delete or expect is not None or where.selector is not None:
            usage("say which TAG.")
        tags = invocation.scope_of(where).tags(where.name)
    else:
        scope = invocation.scope_of(where, writes=True)
        if delete:
            if expect is not None or where.selector is not None:
                usage("--delete takes a tag away, whatever it names: leave --expect and the version out.")
            scope.untag(where.name, tag)
            tags = {}
        else:
            tags = {tag: scope.tag(where.name, tag, where.version, expect=expect)}
    if invocation.json:
        say(dumps(tags))
        return
    for name, number in tags.items():
        say(plain(f"{name}  {version_ref(where, number)}"))
