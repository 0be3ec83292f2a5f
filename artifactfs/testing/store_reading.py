"""Promises of reading: which version is meant, files that are read, and what is reported rather than returned."""

from __future__ import annotations

import io
import json
import pickle
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from artifactfs.errors import (
    ArtifactError,
    ArtifactNotFound,
    IntegrityError,
    InvalidRef,
    PayloadTooLarge,
    UnsupportedFormat,
    VersionNotFound,
)
from artifactfs.operations.reading import Version
from artifactfs.records import Blob
from artifactfs.store import ArtifactStore, Scope
from artifactfs.testing.store_base import LONG, Raw, StoreTests, again, numbers


class Index:
    """An integer of another library, as numpy has them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Reading(StoreTests):
    def test_versions_are_named_by_number_from_the_end_and_by_time(self, scope: Scope) -> None:
        saved = [scope.save("x", b"%d" % number) for number in range(4)]
        assert scope.versions("x") == [0, 1, 2, 3]
        versions: list[tuple[Version, int]] = [
            (None, 3),
            ("latest", 3),
            (-1, 3),
            (-4, 0),
            (2, 2),
            (saved[1].timestamp, 1),
        ]
        for version, number in versions:
            assert scope.load("x", version).data == b"%d" % number
            assert scope.stat("x", version) == saved[number]
            with scope.open("x", version=version) as file:
                assert file.read() == b"%d" % number
        assert scope.load("x", datetime.now(UTC) + timedelta(days=1)).data == b"3"
        other: Any = Index
        assert (scope.load("x", other(1)).data, scope.load("x", other(-1)).data) == (b"1", b"3")
        elsewhere = saved[1].timestamp.astimezone(tz=None)
        assert scope.load("x", elsewhere).data == b"1"

    def test_a_time_before_the_first_version_is_no_version(self, scope: Scope) -> None:
        first = scope.save("x", b"0")
        with pytest.raises(VersionNotFound, match="had no version at 20"):
            scope.load("x", first.timestamp - timedelta(microseconds=1))

    @pytest.mark.parametrize("version", ["0", "Prod", 1.0, True, b"0", datetime(2026, 1, 1), ()])
    def test_what_names_no_version_is_refused(self, scope: Scope, version: Any) -> None:
        scope.save("x", b"0")
        for read in (scope.load, scope.stat, lambda name, version: scope.open(name, version=version)):
            with pytest.raises(InvalidRef, match=r"version is a number|no time zone"):
                read("x", version)

    def test_what_is_not_there_is_told_with_its_name_and_store(self, scope: Scope) -> None:
        for read in (scope.load, scope.stat, scope.open, scope.remove, scope.delete):
            with pytest.raises(ArtifactNotFound, match="there is no artifact") as missing:
                read("nothing.txt")
            self._told(missing.value, scope)
        assert (scope.versions("nothing.txt"), list(scope.history("nothing.txt"))) == ([], [])
        scope.save("x", b"0")
        for version in (1, 7, 10**12):
            with pytest.raises(VersionNotFound, match=rf"'x' has no version {version} \(newest is 0\)") as gone:
                scope.load("x", version)
            self._told(gone.value, scope)
            assert gone.value.version == version  # type: ignore[attr-defined]
        with pytest.raises(VersionNotFound, match="no version -2: from the newest there are 1"):
            scope.load("x", -2)
        with pytest.raises(ArtifactNotFound, match="there is no artifact"):
            scope.load("nothing.txt", 0)
        with pytest.raises(ArtifactNotFound, match="there is no artifact"):
            scope.load("nothing.txt", -1)

    @staticmethod
    def _told(error: ArtifactError, scope: Scope) -> None:
        assert isinstance(error, FileNotFoundError)
        assert (error.errno, error.store) == (2, scope.store.url)
        assert error.artifact is not None
        assert error.artifact.startswith(f"{scope.id.app}/alice/s1/")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.artifact) == (type(error), str(error), error.artifact)

    # what is altered behind the library's back

    def test_an_altered_payload_is_reported_not_returned(self, scope: Scope) -> None:
        for number, altered in enumerate((b"altered", b"cut", b"genuine and more", b"")):
            scope.save("x", b"genuine")
            Raw(scope, "x").put(str(number), altered)
            with pytest.raises(IntegrityError, match="does not match its record") as reported:
                scope.load("x", number)
            assert isinstance(reported.value, OSError)
            if len(altered) != 7:
                with pytest.raises(IntegrityError, match="does not match its record"):
                    scope.stat("x", number)
        assert scope.save("x", b"genuine").version == 4
        assert scope.load("x").data == b"genuine"

    def test_an_altered_version_can_be_deleted(self, scope: Scope) -> None:
        for data in (b"genuine", b"genuine too"):
            scope.save("x", data)
        Raw(scope, "x").put("1", b"cut")
        with pytest.raises(IntegrityError):
            scope.load("x")
        scope.delete("x", 1)
        assert scope.load("x").data == b"genuine"

    def test_an_altered_record_is_reported(self, scope: Scope) -> None:
        scope.save("x", b"0")
        raw = Raw(scope, "x")
        stored = raw.get("0.metadata")
        assert stored is not None
        for data in (b"", b"{", b"hello", stored[:-1]):
            raw.put("0.metadata", data)
            with pytest.raises(IntegrityError, match=r"0\.metadata' does not decode"):
                scope.load("x", 0)
        raw.put("0.metadata", json.dumps({**json.loads(stored), "format": 2}).encode())
        with pytest.raises(UnsupportedFormat, match="upgrade artifactfs"):
            scope.load("x", 0)
        raw.put("0.metadata", json.dumps({**json.loads(stored), "future": True}).encode())
        assert scope.load("x", 0).data == b"0"

    def test_a_version_whose_bytes_vanished_is_not_there(self, scope: Scope) -> None:
        for data in (b"0", b"1"):
            scope.save("x", data)
        Raw(scope, "x").delete("1")
        with pytest.raises(VersionNotFound, match="no version 1"):
            scope.load("x", 1)
        assert scope.load("x").data == b"0"
        assert scope.versions("x") == [0]

    @pytest.mark.parametrize("data", [b"theirs", b"", b"x" * 32], ids=["bytes", "empty", "size of a fence"])
    def test_a_payload_of_another_program_is_a_version_with_a_record_made_up(self, scope: Scope, data: bytes) -> None:
        Raw(scope, "theirs.csv").put("0", data)
        assert list(scope.names()) == ["theirs.csv"]
        assert scope.versions("theirs.csv") == [0]
        loaded = scope.load("theirs.csv")
        record = loaded.record
        assert loaded.data == data
        assert isinstance(record, Blob)
        assert (record.filename, record.mime_type, record.version) == ("theirs.csv", "text/csv", 0)
        assert (record.size_bytes, record.sha256, record.write_id, record.metadata) == (len(data), None, "", {})
        assert scope.stat("theirs.csv") == record
        assert list(scope.history("theirs.csv")) == [record]
        with scope.open("theirs.csv") as file:
            assert file.read() == data
        assert scope.save("theirs.csv", b"ours", expect=0).version == 1
        assert scope.load("theirs.csv", 0).data == data
        scope.delete("theirs.csv", 0)
        assert scope.versions("theirs.csv") == [1]

    def test_keys_that_are_no_version_are_passed_over(self, scope: Scope) -> None:
        scope.save("x", b"0")
        for entry in ("notes", "07", "1.txt", "-1", "+1", "1.metadata.metadata", "!x", "!7.metadata", "2/3"):
            Raw(scope, "x").put(entry, b"theirs")
        with again(scope.store) as other:
            theirs = other.scope(scope.id.app, "alice", "s1")
            assert theirs.versions("x") == [0]
            assert theirs.load("x").data == b"0"
            assert theirs.save("x", b"1").version == 1

    def test_a_whole_load_of_more_than_max_bytes_is_refused_and_can_be_read_in_pieces(self, scope: Scope) -> None:
        scope.save("x", b"0123456789")
        with again(scope.store, max_bytes=9) as limited, again(scope.store, max_bytes=10) as enough:
            small = limited.scope(scope.id.app, "alice", "s1")
            for version in (None, 0, -1):
                with pytest.raises(PayloadTooLarge, match="has 10 bytes, more than max_bytes=9"):
                    small.load("x", version)
            assert small.stat("x").size_bytes == 10
            with small.open("x") as file:
                assert file.read() == b"0123456789"
            assert small.save("y", b"01234567890123456789").version == 0
            assert enough.scope(scope.id.app, "alice", "s1").load("x").data == b"0123456789"

    # files that are read

    def test_a_version_is_a_seekable_file(self, scope: Scope) -> None:
        scope.save("lines.txt", b"one\ntwo\nthree")
        with scope.open("lines.txt", "rb") as file:
            assert file.readable()
            assert file.seekable()
            assert not file.writable()
            assert (file.name, file.record) == ("lines.txt", scope.stat("lines.txt"))
            assert list(file) == [b"one\n", b"two\n", b"three"]
            assert file.read() == b""
            assert file.seek(-5, io.SEEK_END) == 8
            assert file.read(3) == b"thr"
            assert file.tell() == 11
            assert file.seek(-1, io.SEEK_CUR) == 10
            assert file.read(100) == b"ree"
            file.seek(100)
            assert file.read() == b""
            with pytest.raises(ValueError, match="before the beginning"):
                file.seek(-100, io.SEEK_END)
            buffer = bytearray(4)
            file.seek(0)
            assert file.readinto(buffer) == 4
            assert bytes(buffer) == b"one\n"
        assert file.closed

    def test_ranges_of_a_long_file_are_those_of_its_bytes(self, scope: Scope) -> None:
        scope.save("long", LONG)
        chance = random.Random(3)
        with scope.open("long") as file:
            for _ in range(12):
                start, size = chance.randrange(len(LONG)), chance.choice([0, 1, 100, 70_000, 3_000_000])
                file.seek(start)
                assert file.read(size) == LONG[start : start + size]
            file.seek(0)
            assert file.read() == LONG

    def test_a_file_is_pinned_to_the_version_that_was_opened(self, scope: Scope) -> None:
        scope.save("x", LONG)
        with scope.open("x") as file:
            assert file.read(3) == LONG[:3]
            scope.save("x", b"newer")
            scope.remove("x")
            file.seek(-3, io.SEEK_END)
            assert file.read() == LONG[-3:]
            assert file.record.version == 0

    def test_a_file_whose_version_is_deleted_or_cut_meanwhile_says_so(self, scope: Scope) -> None:
        for number, error in enumerate((VersionNotFound, IntegrityError)):
            scope.save("x", LONG)
            with scope.open("x", version=number) as file:
                file.read(3)
                if error is VersionNotFound:
                    scope.delete("x", number)
                else:
                    Raw(scope, "x").put(str(number), LONG[:-1])
                file.seek(-3, io.SEEK_END)
                with pytest.raises(error, match=r"deleted while|does not match its record"):
                    file.read()

    @pytest.mark.parametrize("mode", ["r", "w", "ab", "xb", "r+b", "", None])
    def test_other_modes_are_refused(self, scope: Scope, mode: Any) -> None:
        with pytest.raises(InvalidRef, match="'rb' or 'wb'"):
            scope.open("x", mode)

    def test_arguments_that_a_mode_has_no_use_for_are_refused(self, scope: Scope) -> None:
        scope.save("x", b"0")
        read: dict[str, Any]
        for read in ({"mime_type": "a/b"}, {"metadata": {}}, {"expect": 0}):
            with pytest.raises(InvalidRef, match="are for mode 'wb'"):
                scope.open("x", "rb", **read)
        arguments: dict[str, Any] = {"mode": "wb", "version": 0}
        with pytest.raises(InvalidRef, match="versions never change"):
            scope.open("x", **arguments)

    # the store

    def test_a_store_survives_pickling(self, store: ArtifactStore, scope: Scope) -> None:
        scope.save("x", b"0")
        with pickle.loads(pickle.dumps(store)) as other:
            assert (type(other), other.url, repr(other)) == (type(store), store.url, repr(store))
            assert other.scope(scope.id.app, "alice", "s1").save("x", b"1").version == 1
        assert scope.load("x").data == b"1"

    def test_a_closed_store_may_be_used_again(self, store: ArtifactStore, scope: Scope) -> None:
        with again(store) as other:
            other.scope(scope.id.app, "alice", "s1").save("x", b"0")
        assert other.scope(scope.id.app, "alice", "s1").load("x").data == b"0"
        other.close()
        other.close()

    def test_two_scopes_of_one_identity_see_the_same(self, store: ArtifactStore, scope: Scope) -> None:
        scope.save("x", b"0")
        other = store.scope(scope.id.app, "alice", "s1")
        assert numbers(list(other.history("x"))) == [0]
        assert scope.id.label in repr(scope)
        assert store.url in repr(store)
