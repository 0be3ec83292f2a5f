"""What differs between two versions is told truly and within bounds; an old version comes back whole, or not at all."""

from __future__ import annotations

import io
import json
import random
import sys
import tracemalloc
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactfs import (
    AccessDenied,
    ArtifactStore,
    Blob,
    Conflict,
    Diff,
    IntegrityError,
    InvalidRef,
    KeyUnavailable,
    Pointer,
    Scope,
    VersionNotFound,
)
from artifactfs import diff as diff_module
from artifactfs.backends.memory import MemoryBackend
from artifactfs.diff import HELD, LONGEST_LINE, MOST_LINES, MOST_SHOWN, Side, compare, is_table
from artifactfs.keys.keyring import new_key
from artifactfs.testing.counting import Counting, store_over

from .simulations.faults import planted


def memory_scope(**options: Any) -> Scope:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}", **options).scope("shop", "alice", "s1")


def side(data: bytes, version: int = 0, *, mime_type: str = "text/plain", name: str = "x", **more: Any) -> Side:
    """A version as it is read: at most `HELD` bytes from either end."""
    record = Blob(
        filename=name,
        mime_type=mime_type,
        version=version,
        size_bytes=len(data),
        timestamp=datetime.now(UTC),
        write_id="",
        sha256=None,
        stored_bytes=len(data),
        **more,
    )
    long = len(data) > HELD and is_table(data)
    return Side(record=record, head=data[:HELD], tail=data[len(data) - HELD :] if long else b"")


def text_of(first: bytes, second: bytes) -> str:
    return compare(side(first), side(second, 1)).text


# --- texts ------------------------------------------------------------------------------------------------------------

HEAD = "--- x@0\n+++ x@1\n"
NO_END = "\\ No newline at end of file\n"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (b"a\n", b"a\n", ""),
        (b"", b"", ""),
        (b"", b"a\n", HEAD + "@@ -0,0 +1 @@\n+a\n"),
        (b"a\n", b"", HEAD + "@@ -1 +0,0 @@\n-a\n"),
        (b"a", b"a\n", HEAD + f"@@ -1 +1 @@\n-a\n{NO_END}+a\n"),
        (b"a\nb", b"c\nb", HEAD + f"@@ -1,2 +1,2 @@\n-a\n+c\n b\n{NO_END}"),
        (b"a\r\n", b"a\n", HEAD + "@@ -1 +1 @@\n-a\r\n+a\n"),
        (b"a\x0cb\n", "a\u2028b\n".encode(), HEAD + "@@ -1 +1 @@\n-a\x0cb\n+a\u2028b\n"),
        ("ä\n".encode("utf-16"), "ä\nö\n".encode(), HEAD + "@@ -1 +1,2 @@\n ä\n+ö\n"),
        ("ä\n".encode("utf-8-sig"), "ö\n".encode("latin-1"), HEAD + "@@ -1 +1 @@\n-ä\n+ö\n"),
    ],
)
def test_texts_are_told_as_a_unified_diff(first: bytes, second: bytes, told: str) -> None:
    assert text_of(first, second) == told


def patched(old: str, diff: str) -> str:
    """*old* with a unified diff applied, as anybody's patch program does it."""
    lines, new, at = old.split("\n"), [], 0
    hunks = diff.split("\n")[2:-1]
    ended = True
    for place, line in enumerate(hunks):
        if line.startswith("@@"):
            start = line.split()[1].removeprefix("-")
            first, _, count = start.partition(",")
            begin = int(first) - (count != "0")
            new += lines[at:begin]
            at = begin
        elif line[0] in " -":
            assert lines[at] == line[1:]
            at += 1
        if line[0] in " +":
            new.append(line[1:])
            ended = not (place + 1 < len(hunks) and hunks[place + 1].startswith("\\"))
    rest = lines[at:]
    return "\n".join(new + rest) if rest not in ([], [""]) or not new else "\n".join(new) + "\n" * ended


SOME_LINES = st.lists(st.sampled_from(["a", "b", "c", "", "d e"]), max_size=12)


@given(SOME_LINES, SOME_LINES, st.booleans(), st.booleans())
def test_a_diff_applied_to_the_first_gives_the_second(
    first: list[str], second: list[str], ended: bool, also: bool
) -> None:
    old, new = ("\n".join(lines) + "\n" * end for lines, end in ((first, ended), (second, also)))
    assert patched(old, text_of(old.encode(), new.encode())) == new if old != new else True


@given(SOME_LINES, SOME_LINES, st.integers(0, 60))
def test_a_search_that_is_given_up_makes_a_diff_that_is_longer_and_true(
    first: list[str], second: list[str], effort: int
) -> None:
    old, new = ("\n".join(lines) + "\nend\n" for lines in (first, second))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff_module, "EFFORT", effort)
        if old != new:
            assert patched(old, text_of(old.encode(), new.encode())) == new


def test_a_planted_fault_of_the_diff_is_found() -> None:
    change = ('_line("+", line) for line in new[b1:b2]', '_line("+", line) for line in new[b1 : b2 - 1]')
    with planted(diff_module._told, change):
        assert patched("a\nb\n", text_of(b"a\nb\n", b"a\nc\nd\n")) != "a\nc\nd\n"


def test_the_search_for_equal_lines_ends_where_it_would_take_minutes() -> None:
    chance = random.Random(1)
    texts = ["".join(f"{chance.randrange(190)}\n" for _ in range(MOST_LINES)).encode() for _ in range(2)]
    steps = 0

    class Counted(diff_module._Matcher):
        def find_longest_match(self, *args: Any) -> Any:
            nonlocal steps
            steps += self.left >= 0
            return super().find_longest_match(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff_module, "_Matcher", Counted)
        diff = compare(side(texts[0]), side(texts[1], 1))
    assert steps < diff_module.EFFORT / 100
    assert diff.cut[0] == "the texts differ so much that not all lines that they share were looked for"


def test_what_is_told_has_bounds_and_says_so() -> None:
    many = compare(side(b""), side(b"x\n" * (MOST_LINES + 5), 1))
    assert many.text.count("\n") == 2 + MOST_SHOWN
    assert many.cut == (
        f"only the first {MOST_LINES:,} lines of x@1 were compared",
        f"only the first {MOST_SHOWN:,} lines of the diff are told",
    )
    wide = compare(side(b"a" * 5000), side(b"b" * 5000, 1))
    assert f"-{'a' * LONGEST_LINE}… (4,000 characters more)\n" in wide.text
    assert len(wide.text) < 2 * LONGEST_LINE + 200


def test_a_diff_of_long_lines_says_that_it_is_cut() -> None:
    exactly, longer = "a" * LONGEST_LINE, "a" * (LONGEST_LINE + 1)
    assert compare(side(b"short\n"), side(f"{exactly}\n".encode(), 1)).cut == ()
    assert compare(side(f"{longer}b".encode()), side(f"{longer}c".encode(), 1)).cut == (
        "only the first 1,000 characters of longer lines are told",
    )


def test_of_long_texts_the_beginning_is_compared_and_nothing_is_said_of_what_was_cut_off() -> None:
    long = b"".join(b"%0100d\n" % number for number in range(15_000))
    diff = compare(side(long), side(b"one more\n" + long, 1))
    assert [line for line in diff.text.splitlines()[2:] if line[0] in "+-"] == ["+one more"]
    assert [why.endswith("were compared") for why in diff.cut] == [True, True]
    same = compare(side(long), side(long[:-2] + b"!\n", 1))
    assert (same.same, same.text) == (None, "")
    assert "nothing that was compared differs" in str(same)
    cut_within_a_letter = compare(side("ä".encode() * HELD), side("ö".encode() * HELD, 1))
    assert cut_within_a_letter.kind == "text"


@pytest.mark.parametrize("data", [b"\0", b"\xff\xfe\x00", b"a\x00b", b"\x89PNG\r\n\x1a\n\0\0"])
def test_what_is_no_text_is_compared_as_bytes(data: bytes) -> None:
    diff = compare(side(data, mime_type="image/png"), side(b"text", 1))
    assert (diff.kind, diff.same, diff.text) == ("binary", False, "")


def test_a_diff_becomes_json_and_back_and_is_shown_to_people() -> None:
    one = side(b"1", metadata={"by": "a", "n": [1]}, name="bad\nname")
    other = side(b"22", 1, metadata={"n": [2], "more": "x\ny"}, mime_type="text/csv", name="bad\nname")
    diff = compare(one, other)
    assert msgspec.convert(json.loads(msgspec.json.encode(diff)), Diff) == diff
    assert str(diff) == (
        "bad\\nname@0 -> bad\\nname@1: the content differs\n"
        "mime_type: text/plain -> text/csv\n"
        "size_bytes: 1 -> 2\n"
        "metadata.by: a (gone)\n"
        "metadata.n: [1] -> [2]\n"
        'metadata.more: "x\\ny" (new)\n'
        f"--- bad\\nname@0\n+++ bad\\nname@1\n@@ -1 +1 @@\n-1\n{NO_END}+22\n{NO_END}"
    )


# --- tables -----------------------------------------------------------------------------------------------------------


def _parquet(table: Any) -> bytes:
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file, compression="none")
    return file.getvalue()


def _feather(table: Any) -> bytes:
    from pyarrow import feather

    file = io.BytesIO()
    feather.write_feather(table, file, compression="uncompressed")
    return file.getvalue()


@pytest.mark.parametrize("write", [_parquet, _feather])
def test_tables_are_told_by_their_columns_and_rows(write: Callable[[Any], bytes]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    scope = memory_scope()
    scope.save("t", write(pyarrow.table({"a": [1, 2], "b": ["x", "y"]})))
    scope.save("t", write(pyarrow.table({"a": [1.5, 2, 3], "c": ["x", "y", "z"]})))
    diff = scope.diff("t", 0)
    assert (diff.kind, diff.same, diff.text) == ("table", False, "")
    told = {change.field: (change.before, change.after) for change in diff.changes}
    assert told["column a"] == ("int64", "double")
    assert told["column b"] == ("string", None)
    assert told["column c"] == (None, "string")
    assert told.get("rows", (2, 3)) == (2, 3) and ("rows" in told) == (write is _parquet)


@pytest.mark.parametrize("keys", [None, new_key("v1")], ids=["plain", "sealed"])
def test_of_a_long_table_only_its_ends_are_read(keys: str | None) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    chance = random.Random(1)
    long = pyarrow.table({"a": [chance.randbytes(100_000) for _ in range(50)]})
    scope = memory_scope(keys=keys)
    scope.save("t", _parquet(long))
    scope.save("t", _parquet(pyarrow.table({"b": [1]})))
    read: list[int] = []
    backend = scope.store.backend
    get = backend.get

    async def counted(key: str, start: int = 0, end: int | None = None) -> Any:
        got = await get(key, start, end)
        read.append(0 if got is None else len(got.data))
        return got

    backend.get = counted  # type: ignore[method-assign]
    diff = scope.diff("t", 0)
    assert {change.field: (change.before, change.after) for change in diff.changes}["rows"] == (50, 1)
    assert 2 * HELD < sum(read) < 2 * HELD + 100_000


def test_what_only_looks_like_a_table_is_compared_as_bytes() -> None:
    junk = [b"PAR1" + random.Random(seed).randbytes(500) + b"\xff\xff\xff\x7fPAR1" for seed in range(2)]
    diff = compare(side(junk[0]), side(junk[1], 1))
    assert (diff.kind, diff.same) == ("binary", False)


def test_without_pyarrow_tables_are_compared_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    first, second = (side(_parquet(pyarrow.table({name: [1]}))) for name in "ab")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert compare(first, second).kind == "binary"


# --- what is compared of a scope --------------------------------------------------------------------------------------


def test_sealed_versions_are_compared_by_their_content() -> None:
    scope = memory_scope(keys=new_key("v1"))
    for data in (b"same\n", b"same\n", b"other\n"):
        scope.save("x", data)
    assert scope.diff("x", 0, 1).same is True
    assert scope.diff("x", 0, 1).changes == ()
    assert scope.diff("x", 0).text.endswith("-same\n+other\n")
    long = bytes(3 * HELD)
    scope.save("long", long)
    scope.save("long", long)
    diff = scope.diff("long", 0)
    assert (diff.same, diff.cut) == (None, (f"only the first {HELD:,} bytes of each were compared",))


def test_versions_of_two_artifacts_can_be_compared() -> None:
    scope = memory_scope()
    scope.save("a", b"1\n")
    scope.save("user:b", b"2\n")
    assert compare(scope.side("a"), scope.side("user:b")).text == "--- a@0\n+++ b@0\n@@ -1 +1 @@\n-1\n+2\n"


def test_an_altered_version_is_not_shown_as_though_it_were_genuine() -> None:
    scope = memory_scope()
    scope.save("x", b"genuine")
    objects = scope.store.backend._root.objects  # type: ignore[attr-defined]
    payload = scope.id.artifact("x").payload(0)
    objects[payload] = objects[payload]._replace(data=b"altered")
    with pytest.raises(IntegrityError, match="does not match its record"):
        scope.diff("x", 0, 0)


def test_pointers_differ_by_where_they_point_to() -> None:
    scope = memory_scope()
    scope.point("x", "https://example.com/1")
    scope.point("x", "s3://bucket/2", expected_sha256="0" * 64)
    diff = scope.diff("x", 0)
    assert (diff.kind, diff.same) == ("pointer", False)
    assert ("uri", "https://example.com/1", "s3://bucket/2") in [(c.field, c.before, c.after) for c in diff.changes]
    scope.save("x", b"bytes")
    assert scope.diff("x", 1).kind == "pointer"
    assert scope.diff("x", 0, 0).same is True


# --- an old version comes back ----------------------------------------------------------------------------------------


def test_a_version_is_restored_by_number_from_the_end_by_time_and_by_tag() -> None:
    scope = memory_scope()
    first = scope.save("x", b"0")
    for data in (b"1", b"2"):
        scope.save("x", data)
    scope.tag("x", "good", 1)
    assert scope.load("x", scope.restore("x", -2).version).data == b"1"
    assert scope.load("x", scope.restore("x", first.timestamp).version).data == b"0"
    assert scope.load("x", scope.restore("x", "good").version).data == b"1"
    assert scope.tags("x") == {"good": 1}, "a tag stays where it is"
    with pytest.raises(VersionNotFound):
        scope.restore("x", 77)
    removal = scope.remove("x")
    with pytest.raises(VersionNotFound, match="is the removal"):
        scope.restore("x", removal.version)
    wrong: Any = "maybe not"
    with pytest.raises(InvalidRef):
        scope.restore("x", 0, expect=wrong)


def test_what_is_sealed_is_sealed_anew() -> None:
    scope = memory_scope(keys=new_key("v1"))
    scope.save("x", b"secret", metadata={"of": 1})
    scope.save("x", b"other")
    restored = scope.restore("x", 0)
    first = scope.stat("x", 0)
    assert isinstance(restored, Blob) and isinstance(first, Blob)
    assert restored.encryption and first.encryption
    assert restored.encryption.wrapped_key != first.encryption.wrapped_key
    assert restored.sha256 != first.sha256
    assert scope.load("x").data == b"secret"
    assert scope.verify("x").ok
    keyless = ArtifactStore(scope.store.url).scope("shop", "alice", "s1")
    with pytest.raises(KeyUnavailable):
        keyless.restore("x", 0)


def test_what_was_plain_is_sealed_in_a_store_that_has_keys_now() -> None:
    plain = memory_scope()
    plain.save("x", b"once plain")
    scope = ArtifactStore(plain.store.url, keys=new_key("v1"), accept_plain=True).scope("shop", "alice", "s1")
    restored = scope.restore("x", 0)
    assert restored.encryption
    assert scope.load("x").data == b"once plain"


def test_a_payload_without_a_record_can_be_restored() -> None:
    scope = memory_scope()
    scope.save("x", b"1")
    scope.save("x", b"2")
    del scope.store.backend._root.objects[scope.id.artifact("x").record(0)]  # type: ignore[attr-defined]
    scope.store.backend._root.keys.remove(scope.id.artifact("x").record(0))  # type: ignore[attr-defined]
    assert isinstance(scope.restore("x", 0), Blob)
    assert scope.load("x").data == b"1"


def test_a_store_of_pointers_restores_pointers_alone() -> None:
    scope = memory_scope()
    scope.save("x", b"bytes")
    scope.point("x", "https://example.com/1")
    index = ArtifactStore(scope.store.url, mode="pointer_only").scope("shop", "alice", "s1")
    with pytest.raises(AccessDenied, match="pointer_only"):
        index.restore("x", 0)
    assert isinstance(index.restore("x", 1), Pointer)
    strict = ArtifactStore(scope.store.url, pointer_schemes=["s3"]).scope("shop", "alice", "s1")
    with pytest.raises(InvalidRef, match="https"):
        strict.restore("x", 1)


def test_a_removed_artifact_that_somebody_saves_meanwhile_is_not_covered() -> None:
    backend = Counting(MemoryBackend(f"memory://{uuid.uuid4().hex}"))
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    other = store_over(backend.inner, ArtifactStore).scope("shop", "alice", "s1")
    scope.save("x", b"old")
    scope.remove("x")

    async def create(*args: Any, **kwargs: Any) -> Any:
        del vars(backend)["create"]
        other.save("x", b"meanwhile")
        return await backend.inner.create(*args, **kwargs)

    vars(backend)["create"] = create
    with pytest.raises(Conflict):
        scope.restore("x")
    assert scope.load("x").data == b"meanwhile"


def test_a_long_version_that_is_deleted_while_it_is_restored_is_not_restored_in_part() -> None:
    scope = memory_scope()
    scope.save("x", bytes(9 * 1024 * 1024))
    scope.save("x", b"second")
    backend = scope.store.backend
    get = backend.get

    async def deleting(key: str, start: int = 0, end: int | None = None) -> Any:
        if key.endswith("/0") and start:
            scope.delete("x", 0)
        return await get(key, start, end)

    backend.get = deleting  # type: ignore[method-assign]
    with pytest.raises(VersionNotFound, match="was deleted while it was read"):
        scope.restore("x", 0)
    backend.get = get  # type: ignore[method-assign]
    assert scope.versions("x") == [1]
    assert scope.save("x", b"third", expect=1).version == 3


@pytest.mark.parametrize("keys", [None, new_key("v1")], ids=["plain", "sealed"])
def test_a_long_version_is_restored_in_bounded_memory(keys: str | None, tmp_path: Path) -> None:
    size = 48 * 1024 * 1024
    scope = ArtifactStore(tmp_path, durability="none", keys=keys).scope("shop", "alice", "s1")
    scope.save("x", (bytes([turn]) * 1024 * 1024 for turn in range(48)))
    tracemalloc.start()
    try:
        scope.restore("x", 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 2
    assert scope.stat("x").size_bytes == size
    assert scope.verify("x").ok


def test_a_restore_of_a_known_version_costs_a_read_more_than_a_save() -> None:
    backend = Counting(MemoryBackend(f"memory://{uuid.uuid4().hex}"))
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    scope.save("x", b"0")
    scope.save("x", b"1")
    backend.taken()
    scope.restore("x", 0)
    assert [call.method for call in backend.taken()] == ["get", "stat", "get", "create", "create"]
