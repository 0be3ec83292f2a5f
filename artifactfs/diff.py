"""What differs between two versions: a unified diff where both are text, else what can be said of them.

Pure, and bounded in memory, time and output: of each version at most `HELD` bytes from either end are looked at, and what
was left out is told. docs/history.md says what is compared of which content.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from difflib import Match, SequenceMatcher
from itertools import accumulate
from typing import Any, Literal, TypeAlias

import msgspec

from artifactfs.records import Blob, Pointer

HELD = 1024 * 1024
"""Bytes that are held of a version, from its beginning, and of a table as many from its end, where its schema stands."""

MOST_LINES = 20_000
"""Lines of each text that are compared."""

MOST_SHOWN = 5_000
"""Lines of a unified diff that are told."""

LONGEST_LINE = 1_000
"""Characters of a line that are told."""

EFFORT = 4_000_000
"""Steps of the search for equal lines, about a second; what is left then counts as replaced, which is true if not short."""

CONTEXT = 3
"""Equal lines that are told around what differs."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")
_TABLES = {b"PAR1": "parquet", b"ARROW1": "arrow"}

Kind: TypeAlias = Literal["text", "table", "binary", "pointer"]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two versions that are compared.

    Attributes:
        record: its record.
        head: its first bytes of content, at most `HELD`; of a pointer none.
        tail: its last ones, at most as many, where it is a longer table.
    """

    record: Blob | Pointer
    head: bytes = b""
    tail: bytes = b""

    @property
    def label(self) -> str:
        """The name and the version, on one line."""
        name = self.record.filename
        return f"{name if name.isprintable() else ascii(name)[1:-1]}@{self.record.version}"

    @property
    def whole(self) -> bool:
        """Whether all of its content is held."""
        return isinstance(self.record, Blob) and self.record.size_bytes == len(self.head)


class Change(msgspec.Struct, frozen=True):
    """Something that is told of both versions and differs; None where it is told of one only."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        def told(value: Any) -> str:
            return value if isinstance(value, str) and value.isprintable() else _json(value)

        if self.before is None:
            return f"{self.field}: {told(self.after)} (new)"
        if self.after is None:
            return f"{self.field}: {told(self.before)} (gone)"
        return f"{self.field}: {told(self.before)} -> {told(self.after)}"


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two versions; ``str()`` of it is made for people, `msgspec.to_builtins` gives JSON values.

    Attributes:
        before, after: the two, as ``name@version``.
        kind: what they were compared as: lines of text, tables with a schema, bytes, or pointers.
        same: whether their content is the same; None where more would have to be read to tell.
        changes: of the record (kind, MIME type, size, digest, metadata, URI), of a table (rows, columns) and the encoding.
        text: of texts a unified diff, empty where the content is the same.
        cut: what was not compared or is not told, a sentence each; empty where the diff is complete.
    """

    before: str
    after: str
    kind: Kind
    same: bool | None
    changes: tuple[Change, ...] = ()
    text: str = ""
    cut: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.before} -> {self.after}: {self._verdict()}", *map(str, self.changes)]
        lines += [f"({why})" for why in self.cut]
        return "\n".join(lines) + "\n" + self.text

    def _verdict(self) -> str:
        if self.same is None:
            return (
                "nothing that was compared differs" if self.kind != "text" or not self.text else "the content differs"
            )
        return "the content is the same" if self.same else "the content differs"


def compare(before: Side, after: Side) -> Diff:
    """What differs between two versions, which may be of two artifacts. Takes about a second at most."""
    changes = list(_of_records(before.record, after.record))
    same = _same(before, after)
    kind: Kind = "binary"
    text = ""
    cut: list[str] = []
    if isinstance(before.record, Pointer) or isinstance(after.record, Pointer):
        kind = "pointer"
    elif (tables := (_table(before), _table(after))) != (None, None):
        first, second = tables
        if first is not None and second is not None:
            kind = "table"
            changes += _of_fields(first, second)
    elif (texts := (_text(before), _text(after))) and texts[0] is not None and texts[1] is not None:
        kind = "text"
        changes += _of_fields({"encoding": texts[0][1]}, {"encoding": texts[1][1]})
        if same is not True:
            text, cut = _unified(before, after, texts[0][0], texts[1][0])
    if same is None:
        cut.insert(0, f"only the first {HELD:,} bytes of each were compared")
    return Diff(
        before=before.label, after=after.label, kind=kind, same=same, changes=tuple(changes), text=text, cut=tuple(cut)
    )


def is_table(head: bytes) -> bool:
    """Whether content that begins like *head* has a schema at its end."""
    return head.startswith(tuple(_TABLES))


def _same(before: Side, after: Side) -> bool | None:
    one, other = before.record, after.record
    if isinstance(one, Pointer) and isinstance(other, Pointer):
        told = [(record.uri, record.expected_sha256, record.expected_size) for record in (one, other)]
        return told[0] == told[1]
    if isinstance(one, Pointer) or isinstance(other, Pointer) or one.size_bytes != other.size_bytes:
        return False
    digests = {None if record.encryption else record.sha256 for record in (one, other)}
    if None not in digests:
        return len(digests) == 1
    if (before.head, before.tail) != (after.head, after.tail):
        return False
    return True if before.whole else None


def _of_records(before: Blob | Pointer, after: Blob | Pointer) -> Iterator[Change]:
    told = [
        {
            **record.public(digest=True),
            **({"uri": record.uri} if isinstance(record, Pointer) else {}),
            "sealed": True if record.encryption else None,
        }
        for record in (before, after)
    ]
    for field in ("version", "filename", "timestamp", "metadata"):
        for one in told:
            one.pop(field)
    yield from _of_fields(*told)
    metadata = [{f"metadata.{key}": value for key, value in record.metadata.items()} for record in (before, after)]
    yield from _of_fields(*metadata)


def _of_fields(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    for field in {**before, **after}:
        if before.get(field) != after.get(field):
            yield Change(field, before.get(field), after.get(field))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# Text


def _text(side: Side) -> tuple[str, str] | None:
    """The text that a version begins with, and its encoding; None where it is none."""
    encoding = next((name for bom, name in _BOMS if side.head.startswith(bom)), "utf-8")
    try:
        text = _decoded(side, encoding)
    except UnicodeDecodeError:
        if not side.record.mime_type.startswith("text/"):
            return None
        encoding = "latin-1"
        text = _decoded(side, encoding)
    return None if any(ord(char) in _CONTROLS for char in set(text)) else (text, encoding.removesuffix("-sig"))


def _decoded(side: Side, encoding: str) -> str:
    return codecs.getincrementaldecoder(encoding)().decode(side.head, final=side.whole)


def _lines(side: Side, text: str) -> tuple[list[str], bool]:
    """The lines of a text with their ends, and whether that is not all of it."""
    lines = text.split("\n")
    cut = not side.whole
    if cut and len(lines) > 1:
        lines[-1] = ""  # a part of a line
    cut = cut or len(lines) > MOST_LINES + 1
    ended = [f"{line}\n" for line in lines[:-1]] + ([f"{lines[-1]}\n" if cut else lines[-1]] if lines[-1] else [])
    return ended[:MOST_LINES], cut


def _unified(before: Side, after: Side, first: str, second: str) -> tuple[str, list[str]]:
    """The unified diff of two texts, and what it leaves out."""
    (old, old_cut), (new, new_cut) = _lines(before, first), _lines(after, second)
    matcher = _Matcher(old, new)
    groups = matcher.groups(cut=old_cut or new_cut)
    cut = [
        f"only the first {len(lines):,} lines of {side.label} were compared"
        for side, lines, part in ((before, old, old_cut), (after, new, new_cut))
        if part
    ]
    if matcher.coarse:
        cut.append("the texts differ so much that not all lines that they share were looked for")
    shown: list[str] = []
    for line in _told(groups, old, new):
        if len(shown) == MOST_SHOWN:
            cut.append(f"only the first {MOST_SHOWN:,} lines of the diff are told")
            break
        shown.append(line)
    told = (line for group in groups for _, a1, a2, b1, b2 in group for line in (*old[a1:a2], *new[b1:b2]))
    if any(len(line.removesuffix("\n")) > LONGEST_LINE for line in told):
        cut.append(f"only the first {LONGEST_LINE:,} characters of longer lines are told")
    return (f"--- {before.label}\n+++ {after.label}\n" + "".join(shown) if shown else ""), cut


_Opcode: TypeAlias = tuple[str, int, int, int, int]


class _Matcher(SequenceMatcher[str]):
    """Finds equal lines, with no more than `EFFORT`; `coarse` says that there was more to find."""

    def __init__(self, old: list[str], new: list[str]) -> None:
        most = min(len(old), len(new))
        self.first = next((at for at in range(most) if old[at] != new[at]), most)
        most -= self.first
        self.last = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
        self.sizes = len(old), len(new)
        middle = old[self.first : len(old) - self.last]
        super().__init__(None, middle, new[self.first : len(new) - self.last])
        self.left, self.coarse = EFFORT, False
        places = self.b2j  # type: ignore[attr-defined]
        self.cost = list(accumulate((1 + len(places.get(line, ())) for line in middle), initial=0))

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        self.left -= self.cost[-1 if ahi is None else ahi] - self.cost[alo]
        if self.left < 0:
            self.coarse = True
            return Match(alo, blo, 0)
        return super().find_longest_match(alo, ahi, blo, bhi)

    def groups(self, *, cut: bool) -> list[list[_Opcode]]:
        """The differences with some equal lines around them. Where the texts are *cut*, what differs last may not."""
        old, new = self.sizes
        first, last = self.first, self.last
        found = [(tag, a1 + first, a2 + first, b1 + first, b2 + first) for tag, a1, a2, b1, b2 in self.get_opcodes()]
        around = [("equal", 0, first, 0, first), ("equal", old - last, old, new - last, new)]
        codes = [code for code in (around[0], *found, around[1]) if code[1] < code[2] or code[3] < code[4]]
        if cut and len(codes) > 1 and codes[-1][0] != "equal":
            codes.pop()
        self.opcodes = codes
        return [group for group in self.get_grouped_opcodes(CONTEXT) if any(code[0] != "equal" for code in group)]


def _told(groups: list[list[_Opcode]], old: list[str], new: list[str]) -> Iterator[str]:
    for group in groups:
        (_, a1, _, b1, _), (_, _, a2, _, b2) = group[0], group[-1]
        yield f"@@ -{_span(a1, a2)} +{_span(b1, b2)} @@\n"
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                yield from (_line(" ", line) for line in old[a1:a2])
            else:
                yield from (_line("-", line) for line in old[a1:a2])
                yield from (_line("+", line) for line in new[b1:b2])


def _span(start: int, end: int) -> str:
    count = end - start
    return f"{start + 1}" if count == 1 else f"{start + 1 if count else start},{count}"


def _line(sign: str, line: str) -> str:
    body, end = (line[:-1], "\n") if line.endswith("\n") else (line, "\n\\ No newline at end of file\n")
    if len(body) > LONGEST_LINE:
        body = f"{body[:LONGEST_LINE]}… ({len(body) - LONGEST_LINE:,} characters more)"
    return f"{sign}{body}{end}"


# Tables


def _table(side: Side) -> dict[str, Any] | None:
    """What a Parquet or Arrow (Feather) file tells of itself; None where it is none, or nothing here can read it."""
    kind = next((name for magic, name in _TABLES.items() if side.head.startswith(magic)), None)
    if kind is None:
        return None
    try:
        import pyarrow
    except ImportError:
        return None
    try:
        if kind == "parquet":
            from pyarrow import parquet

            described = parquet.read_metadata(_Ends(side))
            told, schema = {"rows": described.num_rows}, described.schema.to_arrow_schema()
        else:
            from pyarrow import ipc

            reader = ipc.open_file(_Ends(side))
            told, schema = {"record batches": reader.num_record_batches}, reader.schema
    except (pyarrow.ArrowException, OSError):
        return None
    return told | {f"column {field.name}": str(field.type) for field in schema}


class _Ends(io.RawIOBase):
    """What is held of a version as a file; in between nothing can be read."""

    def __init__(self, side: Side) -> None:
        self.side, self.size, self.at = side, side.record.size_bytes or 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        start = self.at
        end = self.size if size is None or size < 0 else min(start + size, self.size)
        behind = self.size - len(self.side.tail)
        if end <= len(self.side.head):
            data = self.side.head[start:end]
        elif start >= behind:
            data = self.side.tail[start - behind : end - behind]
        else:
            raise OSError(f"the bytes from {start} to {end} are not held")
        self.at = end
        return data
