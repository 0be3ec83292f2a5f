"""What commands print: JSON for programs, and text for people that no stored name or content can garble."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import msgspec

    from artifactfs.records import Record
    from artifactfs.refs import Ref

_HIDDEN = {
    ord(char): f"\\u{ord(char):04x}"
    for char in map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200E, 0x2010), *range(0x2028, 0x202F)))
}
_HIDDEN |= {code: f"\\u{code:04x}" for code in range(0x2066, 0x206A)}
_IN_LINES = {code: text for code, text in _HIDDEN.items() if code != ord("\t")}


def plain(text: str) -> str:
    """*text* with what a terminal would obey, or would not show, written out: control and direction characters."""
    return text.translate(_HIDDEN)


def plain_line(text: str) -> str:
    """As `plain`, of a line that may hold tabs."""
    return text.translate(_IN_LINES)


def one_line(text: str) -> str:
    """*text* as a single line."""
    return plain(" ".join(text.split()))


def say(text: str = "") -> None:
    """A line on standard output. The caller made sure that it is `plain`."""
    click.echo(text)


def note(text: str) -> None:
    """A line for a person, on standard error."""
    click.echo(f"artifactfs: {one_line(text)}", err=True)


def dumps(value: Any, *, indent: int | None = 2) -> str:
    """*value* as JSON; in plain ASCII where standard output could not hold more."""
    import json

    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    return json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8")


def say_array(items: Iterable[Any]) -> None:
    """A JSON array, written as its items come. Nothing is written where the first one fails."""
    begun = iter(items)
    first = list(_first(begun))
    separator = "["
    for item in chain(first, begun):
        click.echo(separator + "\n" + _indented(dumps(item)), nl=False)
        separator = ","
    click.echo("\n]" if separator == "," else "[]")


def _first(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        yield item
        return


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def say_table(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns, aligned; those whose places are in *right* to the right."""
    held = [[plain(cell) for cell in row] for row in rows]
    if not held:
        return
    widths = [max(map(len, column)) for column in zip(*held, strict=True)]
    for row in held:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(cells).rstrip())


def size_text(size: int | None) -> str:
    """Bytes as a person reads them: in powers of 1,000, two or three digits."""
    if size is None:
        return "-"
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        amount /= 1000
        if amount < 999.5 or unit == "PB":
            break
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"


def time_text(moment: datetime) -> str:
    """A time to the second, as references take it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_json(record: Record, ref: Ref, tags: Sequence[str] | None = None) -> dict[str, Any]:
    """What is told of a version: see docs/cli.md, "JSON"."""
    from artifactfs.pointers import shown
    from artifactfs.records import Blob, Pointer

    told: dict[str, Any] = {"ref": str(version_ref(ref, record.version)), **record.public(digest=True)}
    if tags is not None:
        told["tags"] = sorted(tags)
    if record.encryption:
        told["key_id"] = record.encryption.key_id
    if isinstance(record, Blob):
        told["stored_bytes"] = record.stored_bytes
    if isinstance(record, Pointer):
        told.setdefault("uri", shown(record.uri))
    return told


def struct_json(value: msgspec.Struct) -> dict[str, Any]:
    """A report of the library as JSON values, field by field."""
    from msgspec import to_builtins

    told: dict[str, Any] = to_builtins(value)
    return told


def version_ref(ref: Ref, number: int) -> Ref:
    """The reference of one version of the artifact that *ref* names."""
    from artifactfs.refs import Ref as Made

    return Made(ref.app, ref.user, ref.session, ref.name, number, user_scope=ref.user_scope)


def record_row(record: Record, tags: Sequence[str] = ()) -> list[str]:
    """A version in a row of a table: number, time, size, what it is, and its tags."""
    kind = type(record).__name__.lower()
    what = f"({kind})" if kind == "removed" else record.mime_type if kind == "blob" else f"({kind}) {record.mime_type}"
    size = None if kind == "removed" else record.size_bytes
    return [str(record.version), time_text(record.timestamp), size_text(size), what, " ".join(sorted(tags))]
