"""Promises of saving: what may be saved, what its record says, compare-and-set, and files that are written to."""

from __future__ import annotations

import array
import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from artifactfs.backends.base import Unfinished
from artifactfs.drivers import call
from artifactfs.errors import (
    ArtifactError,
    ArtifactNotFound,
    Conflict,
    ForeignPayload,
    InvalidMetadata,
    InvalidName,
    InvalidRef,
)
from artifactfs.files import ArtifactWriter
from artifactfs.protocol.claim import Draft
from artifactfs.records import FENCE_MAGIC, Blob, encode
from artifactfs.store import ArtifactStore, Scope
from artifactfs.testing.backend import CUT_OFF
from artifactfs.testing.store_base import LONG, Raw, StoreTests, again, numbers

Make = Callable[[Path, bytes], Any]


def _path(folder: Path, data: bytes) -> Path:
    path = folder / "payload"
    path.write_bytes(data)
    return path


def _pieces(data: bytes) -> list[bytes]:
    return [b"", *(data[start : start + 1_000_003] for start in range(0, len(data), 1_000_003)), b""]


def _read_before(data: bytes) -> io.BytesIO:
    file = io.BytesIO(b"before" + data)
    file.read(6)
    return file


KINDS: dict[str, Make] = {
    "bytes": lambda _, data: data,
    "bytearray": lambda _, data: bytearray(data),
    "memoryview": lambda _, data: memoryview(data),
    "memoryview with steps": lambda _, data: memoryview(b"".join(bytes((byte, 0)) for byte in data))[::2],
    "array": lambda _, data: array.array("B", data),
    "path": _path,
    "open file": lambda folder, data: _path(folder, data).open("rb"),
    "file in memory": lambda _, data: io.BytesIO(data),
    "file from its position on": lambda _, data: _read_before(data),
    "list of pieces": lambda _, data: _pieces(data),
    "generator": lambda _, data: (piece for piece in _pieces(data)),
    "generator of views": lambda _, data: (memoryview(piece) for piece in _pieces(data)),
}


def _failing(data: bytes) -> Iterator[bytes]:
    yield from _pieces(data)
    raise RuntimeError("the source broke")


def _write_and_fail(file: ArtifactWriter, data: bytes) -> None:
    with file:
        file.write(data)
        raise RuntimeError("no")


def _write_and_close(file: ArtifactWriter, data: bytes) -> None:
    file.write(data)
    file.close()


class Saving(StoreTests):
    def test_saves_make_versions_from_zero_up_and_none_ever_changes(self, scope: Scope) -> None:
        saved = [scope.save("notes.txt", data) for data in (b"first", b"second", b"", b"first")]
        assert numbers(saved) == [0, 1, 2, 3]
        assert [scope.load("notes.txt", number).data for number in range(4)] == [b"first", b"second", b"", b"first"]
        assert scope.load("notes.txt").data == b"first"
        assert [scope.load("notes.txt", number).record for number in range(4)] == saved

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_of_payload_comes_back_byte_by_byte(self, scope: Scope, kind: str, tmp_path: Path) -> None:
        data = bytes(range(256)) * 5
        payload = KINDS[kind](tmp_path, data)
        try:
            scope.save("x.bin", payload)
        finally:
            if isinstance(payload, io.IOBase):
                payload.close()
        assert scope.load("x.bin").data == data

    @pytest.mark.parametrize("kind", ["bytes", "path", "open file", "generator", "list of pieces"])
    def test_a_long_payload_is_streamed_and_comes_back(self, scope: Scope, kind: str, tmp_path: Path) -> None:
        payload = KINDS[kind](tmp_path, LONG)
        try:
            record = scope.save("long.bin", payload, metadata={"kind": kind})
        finally:
            if isinstance(payload, io.IOBase):
                payload.close()
        assert isinstance(record, Blob)
        assert (record.size_bytes, record.sha256) == (len(LONG), hashlib.sha256(LONG).hexdigest())
        loaded = scope.load("long.bin")
        assert loaded.data == LONG
        assert loaded.record == record

    def test_text_is_saved_as_utf8(self, scope: Scope) -> None:
        scope.save("notes.txt", "Grüße, 日本")
        assert scope.load("notes.txt").data == "Grüße, 日本".encode()
        with pytest.raises(InvalidMetadata, match="lone surrogate"):
            scope.save("notes.txt", "\ud800")

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0",
            CUT_OFF,
            b"\r\n--==0==--",
            FENCE_MAGIC + b"0123456789abcdef",
            b"a" * 32,
            b'{"kind":"tombstone","format":1}',
        ],
        ids=["empty", "NUL", "multipart boundary", "its end", "form of a fence", "size of a fence", "form of a record"],
    )
    def test_a_payload_that_looks_like_something_else_is_a_version(self, scope: Scope, data: bytes) -> None:
        for number in range(2):
            record = scope.save("odd", data)
            assert (record.version, record.size_bytes) == (number, len(data))
        assert scope.load("odd").data == data
        assert scope.load("odd", 0).data == data
        assert scope.stat("odd").version == 1
        assert scope.versions("odd") == [0, 1]
        assert list(scope.names()) == ["odd"]
        assert numbers(list(scope.history("odd"))) == [1, 0]

    def test_a_record_says_what_was_saved(self, scope: Scope) -> None:
        record = scope.save("reports/q1.csv", b"a,b\n1,2\n", metadata={"by": "alice", "n": [1, None, 2.5]})
        assert isinstance(record, Blob)
        assert (record.filename, record.mime_type, record.version) == ("reports/q1.csv", "text/csv", 0)
        assert record.size_bytes == record.stored_bytes == 8
        assert record.sha256 == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
        assert record.metadata == {"by": "alice", "n": [1, None, 2.5]}
        assert record.timestamp.tzinfo is UTC
        assert len(record.write_id) == 32
        assert scope.stat("reports/q1.csv") == record
        assert scope.load("reports/q1.csv").record == record
        assert list(scope.history("reports/q1.csv")) == [record]

    def test_times_never_go_back_and_each_save_has_its_own_identity(self, scope: Scope) -> None:
        records = [scope.save("x", b"same") for _ in range(5)]
        times = [record.timestamp for record in records]
        assert times == sorted(times)
        assert len({record.write_id for record in records}) == 5

    @pytest.mark.parametrize(
        ("name", "data", "given", "stored"),
        [
            ("x.csv", b"a,b", None, "text/csv"),
            ("x.csv", b"a,b", "text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            ("X.JPG", b"", None, "image/jpeg"),
            ("table", b"PAR1" + bytes(20), None, "application/vnd.apache.parquet"),
            ("something", b"\x01\x02", None, "application/octet-stream"),
        ],
    )
    def test_a_mime_type_is_the_callers_else_the_names_else_the_bytes(
        self, scope: Scope, name: str, data: bytes, given: str | None, stored: str
    ) -> None:
        scope.save(name, data, mime_type=given)
        assert scope.stat(name).mime_type == stored

    @pytest.mark.parametrize(
        ("settings", "kind"),
        [
            ({"mime_type": "no slash"}, InvalidMetadata),
            ({"mime_type": "text/plain\r\nX-Evil: 1"}, InvalidMetadata),
            ({"metadata": {"x": float("nan")}}, InvalidMetadata),
            ({"metadata": {"x": "y" * 70_000}}, InvalidMetadata),
            ({"metadata": [1]}, InvalidMetadata),
            ({"expect": -1}, InvalidRef),
            ({"expect": "0"}, InvalidRef),
            ({"expect": True}, InvalidRef),
            ({"expect": "latest"}, InvalidRef),
        ],
    )
    def test_what_cannot_be_stored_is_refused_before_anything_is_written(
        self, scope: Scope, settings: dict[str, Any], kind: type[ArtifactError]
    ) -> None:
        with pytest.raises(kind) as refused:
            scope.save("x", b"data", **settings)
        assert isinstance(refused.value, ValueError)
        assert (list(scope.names()), scope.versions("x")) == ([], [])

    @pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1025, "user:", "user:user:x", None, b"x", 7])
    def test_a_name_that_no_store_can_hold_is_refused_by_every_method(self, scope: Scope, name: Any) -> None:
        calls: list[Callable[[], object]] = [
            lambda: scope.save(name, b"data"),
            lambda: scope.load(name),
            lambda: scope.stat(name),
            lambda: scope.open(name),
            lambda: scope.open(name, "wb"),
            lambda: scope.versions(name),
            lambda: list(scope.history(name)),
            lambda: scope.remove(name),
            lambda: scope.delete(name),
        ]
        for one in calls:
            with pytest.raises(InvalidName):
                one()
        assert list(scope.names()) == []

    @pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1025, 7])
    def test_an_app_a_user_and_a_session_are_checked_like_names(self, store: ArtifactStore, name: Any) -> None:
        for place, what in enumerate(("app", "user", "session")):
            path = ["a", "u", "s"]
            path[place] = name
            with pytest.raises(InvalidName, match=what):
                store.scope(*path)

    def test_the_longest_name_that_fits_is_taken_and_a_longer_one_refused(self, scope: Scope) -> None:
        backend, room = scope.store.backend, 1024
        for limit in (backend.max_segment, self.longest_segment):
            room = room if limit is None else min(room, limit)
        if backend.max_key is not None:
            room = min(room, backend.max_key - len(scope.id.artifact("x").longest_key) + 1)
        longest = "x" * room
        scope.save(longest, b"data")
        assert scope.load(longest).data == b"data"
        assert list(scope.names()) == [longest]
        scope.remove(longest)
        assert list(scope.names()) == []
        for too_long in ("x" * (room + 1), "x" * (room - 2) + "é" * 2):
            with pytest.raises(InvalidName, match="name"):
                scope.save(too_long, b"data")
        if room < 1024:
            with pytest.raises(InvalidName, match="use"):
                scope.load("é" * 512)

    @pytest.mark.parametrize(
        "data",
        [None, 7, 2.5, {"a": b"b"}, object(), ["text"], [1, 2], [b"good", "bad"], "a text file"],
        ids=lambda data: repr(data)[:12],
    )
    def test_what_is_no_payload_is_a_type_error(self, scope: Scope, data: Any) -> None:
        payload: Any = io.StringIO(data) if isinstance(data, str) else data
        with pytest.raises(TypeError, match=r"bytes|binary"):
            scope.save("x", payload)
        assert (list(scope.names()), scope.versions("x")) == ([], [])

    def test_a_file_that_is_not_there_is_the_callers_error(self, scope: Scope, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nothing"):
            scope.save("x", tmp_path / "nothing")
        assert scope.versions("x") == []

    @pytest.mark.parametrize("size", [10, len(LONG)])
    def test_a_stream_that_fails_saves_nothing_and_leaves_nothing_behind(self, scope: Scope, size: int) -> None:
        scope.save("x", b"before")
        with pytest.raises(RuntimeError, match="the source broke"):
            scope.save("x", _failing(LONG[:size]))
        with pytest.raises(RuntimeError, match="the source broke"):
            scope.save("y", _failing(LONG[:size]))
        assert scope.load("x").data == b"before"
        assert (scope.versions("x"), scope.versions("y")) == ([0], [])
        assert list(scope.names()) == ["x"]
        assert self._unfinished(scope) == []
        scope.save("x", b"after")
        assert scope.load("x").data == b"after"

    def test_race_of_threads_for_one_name_loses_nothing(self, scope: Scope) -> None:
        errors: list[BaseException] = []
        barrier = threading.Barrier(6)

        def work(writer: int) -> None:
            try:
                barrier.wait()
                for turn in range(3):
                    scope.save("raced", b"%d-%d" % (writer, turn))
            except BaseException as error:  # noqa: BLE001  (told by the assertion below)
                errors.append(error)

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert scope.versions("raced") == list(range(18))
        payloads = {scope.load("raced", number).data for number in range(18)}
        assert payloads == {b"%d-%d" % (writer, turn) for writer in range(6) for turn in range(3)}

    def test_stores_that_remember_old_numbers_still_lose_nothing(self, scope: Scope) -> None:
        scope.save("x", b"0")
        with again(scope.store) as other:
            theirs = other.scope(scope.id.app, "alice", "s1")
            assert numbers([theirs.save("x", b"%d" % number) for number in range(1, 7)]) == [1, 2, 3, 4, 5, 6]
            assert scope.save("x", b"7").version == 7
            assert theirs.save("x", b"8").version == 8
        assert scope.versions("x") == list(range(9))

    def test_a_payload_of_another_program_beside_a_save_is_told(self, scope: Scope) -> None:
        scope.save("x", b"ours")
        Raw(scope, "x").put("1", b"theirs")
        with pytest.raises(ForeignPayload, match="another program") as told:
            scope.save("x", b"ours too")
        assert isinstance(told.value, FileExistsError)
        assert Raw(scope, "x").get("1") == b"theirs"

    # compare-and-set

    def test_expect_saves_only_after_the_version_that_it_names(self, scope: Scope) -> None:
        with pytest.raises(Conflict, match="expected to be at version 0"):
            scope.save("x", b"?", expect=0)
        assert scope.save("x", b"0", expect="absent").version == 0
        assert scope.save("x", b"1", expect=0).version == 1
        for wrong in (0, 2, 7):
            with pytest.raises(Conflict, match=f"expected to be at version {wrong}") as conflict:
                scope.save("x", b"?", expect=wrong)
            assert isinstance(conflict.value, FileExistsError)
            assert not conflict.value.in_progress
        with pytest.raises(Conflict, match="expected to be absent, but version 1 is there"):
            scope.save("x", b"?", expect="absent")
        assert scope.versions("x") == [0, 1]
        assert scope.load("x").data == b"1"

    def test_a_stream_may_expect_too(self, scope: Scope) -> None:
        assert scope.save("x", LONG, expect="absent").version == 0
        with pytest.raises(Conflict):
            scope.save("x", iter([LONG]), expect="absent")
        assert scope.save("x", iter([LONG]), expect=0).version == 1
        assert scope.versions("x") == [0, 1]

    def test_a_removal_counts_for_expect_and_leaves_the_artifact_absent(self, scope: Scope) -> None:
        scope.save("x", b"0")
        removal = scope.remove("x")
        with pytest.raises(Conflict):
            scope.save("x", b"?", expect=0)
        back = scope.save("x", b"2", expect="absent")
        assert back.version > removal.version
        removal = scope.remove("x")
        assert scope.save("x", b"4", expect=removal.version).version > removal.version

    def test_deleted_versions_do_not_count_for_expect(self, scope: Scope) -> None:
        for data in (b"0", b"1", b"2"):
            scope.save("x", data)
        scope.delete("x", 2)
        with pytest.raises(Conflict, match="version 2 is not there"):
            scope.save("x", b"?", expect=2)
        assert scope.save("x", b"3", expect=1).version >= 3
        scope.delete("x")
        newest = scope.save("x", b"4", expect="absent").version
        assert scope.versions("x") == [newest]

    def test_a_save_of_somebody_else_that_is_in_progress_is_a_conflict_that_says_so(self, scope: Scope) -> None:
        scope.save("x", b"0")
        draft = Draft("text/plain", {}, "0" * 32, 1, "0" * 64, 1)
        for name, number in (("x", 1), ("y", 0)):
            raw = Raw(scope, name)
            at = scope.stat("x").timestamp
            raw.put(f"{number}.metadata", encode(draft.record(raw.id, number, at)))
        with again(scope.store) as other:
            theirs = other.scope(scope.id.app, "alice", "s1")
            with pytest.raises(Conflict, match="is being saved") as conflict:
                theirs.save("x", b"?", expect=0)
            assert conflict.value.in_progress
            with pytest.raises(Conflict, match="is being saved"):
                theirs.save("y", b"?", expect="absent")
            assert theirs.versions("x") == [0]
            assert theirs.save("x", b"without expect").version == 2
            with pytest.raises(ArtifactNotFound):
                theirs.load("y")

    def test_race_of_those_who_expect_the_same_has_one_winner(self, scope: Scope) -> None:
        scope.save("x", b"0")
        outcomes: list[Any] = []
        barrier = threading.Barrier(6)

        def work(writer: int) -> None:
            barrier.wait()
            try:
                outcomes.append(scope.save("x", b"%d" % writer, expect=0).version)
            except Exception as error:  # noqa: BLE001  (told by the assertion below)
                outcomes.append(error)

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5
        assert len(scope.versions("x")) == 2

    # files that are written to

    @pytest.mark.parametrize("data", [b"", b"short", LONG], ids=["empty", "short", "long"])
    def test_a_file_becomes_a_version_when_it_is_closed(self, scope: Scope, data: bytes) -> None:
        with scope.open("x.csv", "wb", metadata={"a": 1}) as file:
            assert file.writable()
            for piece in _pieces(data):
                assert file.write(piece) == len(piece)
            assert file.tell() == len(data)
            assert scope.versions("x.csv") == []
        assert file.record is not None
        assert file.record == scope.stat("x.csv")
        assert (file.record.mime_type, file.record.metadata) == ("text/csv", {"a": 1})
        assert scope.load("x.csv").data == data
        with pytest.raises(ValueError, match="closed"):
            file.write(b"more")
        file.close()
        assert scope.versions("x.csv") == [0]

    @pytest.mark.parametrize("data", [b"short", LONG], ids=["short", "long"])
    def test_a_file_that_is_left_by_an_exception_is_discarded(self, scope: Scope, data: bytes) -> None:
        file = scope.open("x", "wb")
        with pytest.raises(RuntimeError, match="no"):
            _write_and_fail(file, data)
        assert file.closed
        with scope.open("x", "wb") as file:
            file.write(data)
            file.discard()
        self._nothing_of(scope)

    @pytest.mark.parametrize("data", [b"short", LONG], ids=["short", "long"])
    def test_a_file_that_is_forgotten_is_discarded_with_a_warning(self, scope: Scope, data: bytes) -> None:
        file = scope.open("x", "wb")
        file.write(data)
        with pytest.warns(ResourceWarning, match="not closed; it was discarded"):
            del file
        assert scope.versions("x") == []  # its claim may stay, and its name be listed, until somebody settles it
        with pytest.raises(ArtifactNotFound):
            scope.load("x")
        assert self._unfinished(scope) == []

    @pytest.mark.parametrize("data", [b"short", LONG], ids=["short", "long"])
    def test_a_close_while_an_exception_is_handled_discards(self, scope: Scope, data: bytes) -> None:
        file = scope.open("x", "wb")
        try:
            file.write(data)
            raise RuntimeError("no")
        except RuntimeError:
            file.close()
        assert file.record is None
        self._nothing_of(scope)

    def test_a_file_that_is_opened_and_closed_while_an_exception_is_handled_is_saved(self, scope: Scope) -> None:
        try:
            raise RuntimeError("before")
        except RuntimeError:
            with scope.open("x", "wb") as file:
                file.write(b"a report of the error")
        assert scope.load("x").data == b"a report of the error"

    def test_a_file_may_expect(self, scope: Scope) -> None:
        for data in (b"short", LONG):
            newest = scope.save("x", b"before").version
            with scope.open("x", "wb", expect=newest) as file:
                file.write(data)
            late = scope.open("x", "wb", expect=newest)
            with pytest.raises(Conflict):
                _write_and_close(late, data)
            late.close()
            assert scope.versions("x")[-1] == newest + 1

    def test_a_file_takes_text_through_a_wrapper(self, scope: Scope) -> None:
        file: Any = scope.open("x.txt", "wb")
        with io.TextIOWrapper(file, "utf-8", newline="") as text:
            text.write("Grüße\n")
        with io.TextIOWrapper(scope.open("x.txt"), "utf-8", newline="") as read:
            assert read.read() == "Grüße\n"

    @staticmethod
    def _nothing_of(scope: Scope) -> None:
        assert (scope.versions("x"), list(scope.names())) == ([], [])
        assert Saving._unfinished(scope) == []

    @staticmethod
    def _unfinished(scope: Scope) -> list[Unfinished]:
        backend = scope.store.backend
        return list(call(backend, lambda: backend.unfinished(scope.id.folder)))
