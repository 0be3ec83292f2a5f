"""`artifact://` as fsspec users meet it, over memory and over a local folder."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import itertools
import pickle
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactfs.errors import Conflict, InvalidConfig, InvalidName, InvalidRef
from artifactfs.filesystem import ArtifactFileSystem, sinks, writer
from artifactfs.refs import Ref
from artifactfs.store import ArtifactStore
from artifactfs.testing.counting import Counting

S = "shop/alice/s1"
_fresh = itertools.count()


@pytest.fixture(params=["memory", "local"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://filesystem-{next(_fresh)}" if request.param == "memory" else str(tmp_path / "store")


@pytest.fixture
def fs(url: str) -> ArtifactFileSystem:
    options = {} if url.startswith("memory:") else {"durability": "none"}
    return ArtifactFileSystem(url, skip_instance_cache=True, **options)


def tree(fs: ArtifactFileSystem) -> ArtifactFileSystem:
    """A session with folders, a second one, and a user scope."""
    for path in ("a.txt", "reports/q1.csv", "reports/q2.csv", "reports/2026/q3.csv", "b.txt"):
        fs.pipe(f"{S}/{path}", path.encode())
    fs.pipe("shop/alice/s2/c.txt", b"c")
    fs.pipe("shop/alice/user/logo.png", b"logo")
    fs.pipe("shop/bob/s1/d.txt", b"d")
    return fs


# reading and writing


def test_writing_makes_a_version_and_reading_returns_it(fs: ArtifactFileSystem) -> None:
    for text in (b"first", b"second"):
        with fs.open(f"{S}/notes.txt", "wb") as file:
            assert file.write(text) == len(text) and file.tell() == len(text)
        assert file.record.size_bytes == len(text)
    assert fs.cat(f"{S}/notes.txt") == b"second"
    assert fs.cat(f"{S}/notes.txt@0") == b"first" == fs.cat(f"artifact://{S}/@0/notes.txt")
    assert fs.cat(f"{S}/notes.txt@-1") == b"second" == fs.cat(f"{S}/notes.txt@latest")
    assert fs.cat(f"{S}/notes.txt@-2") == b"first"
    with fs.open(f"{S}/notes.txt@0") as file:
        assert file.read() == b"first"


def test_text_modes_are_encoded(fs: ArtifactFileSystem) -> None:
    with fs.open(f"{S}/notes.txt", "w", encoding="latin-1", newline="\r\n") as file:
        file.write("für\nuns")
    assert fs.cat(f"{S}/notes.txt").decode("latin-1") == "für\r\nuns"
    with fs.open(f"{S}/notes.txt", "r", encoding="latin-1") as file:
        assert file.readlines() == ["für\n", "uns"]
    fs.write_text(f"{S}/notes.txt", "plain")
    assert fs.read_text(f"{S}/notes.txt") == "plain"


def test_a_reader_keeps_its_version_whatever_is_saved_meanwhile(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/x", b"old" * 1000)
    with fs.open(f"{S}/x", block_size=16) as file:
        assert file.read(3) == b"old"
        fs.pipe(f"{S}/x", b"NEW" * 2000)
        assert file.size == 3000 and file.details["version"] == 0 == file.info()["version"]
        file.seek(-3, io.SEEK_END)
        assert file.read() == b"old"
        file.seek(0)
        assert file.read() == b"old" * 1000
        again = pickle.loads(pickle.dumps(file))
    assert again.read() == b"" and again.seek(0) == 0 and again.read(6) == b"oldold"
    again.close()


def test_an_empty_file_is_a_version(fs: ArtifactFileSystem) -> None:
    fs.touch(f"{S}/empty")
    with fs.open(f"{S}/empty") as file:
        assert file.read() == b"" and file.size == 0
    assert fs.cat_file(f"{S}/empty") == b"" == fs.cat_file(f"{S}/empty", 2, 5)


def test_lines_are_read_one_by_one(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/lines", b"".join(b"%d\n" % number for number in range(10_000)))
    with fs.open(f"{S}/lines") as file:
        assert [int(line) for line in file] == list(range(10_000))


def test_buffers_may_be_reused_by_who_writes(fs: ArtifactFileSystem) -> None:
    buffer = bytearray(b"one")
    with fs.open(f"{S}/x", "wb") as file:
        file.write(memoryview(buffer))
        buffer[:] = b"two"
        file.write(buffer)
        with pytest.raises(TypeError):
            file.write(5)
        with pytest.raises(TypeError):
            file.write("text")
    assert fs.cat(f"{S}/x") == b"onetwo"


def test_a_long_stream_arrives_whole(fs: ArtifactFileSystem) -> None:
    piece = bytes(range(256)) * 4096
    with fs.open(f"{S}/long", "wb") as file:
        for _ in range(11):
            file.write(piece)
    assert fs.info(f"{S}/long")["size"] == 11 * len(piece)
    assert fs.cat_file(f"{S}/long", 10 * len(piece), 10 * len(piece) + 4) == b"\0\1\2\3"
    assert fs.cat_file(f"{S}/long") == piece * 11


def test_exclusive_creation_meets_what_is_there_at_the_start_and_at_the_end(fs: ArtifactFileSystem) -> None:
    with fs.open(f"{S}/x", "xb") as file:
        file.write(b"mine")
    with pytest.raises(FileExistsError):
        fs.open(f"{S}/x", "xb")
    file = fs.open(f"{S}/y", "xb")
    fs.pipe(f"{S}/y", b"theirs")
    file.write(b"mine")
    with pytest.raises(Conflict):
        file.close()
    assert fs.cat(f"{S}/y") == b"theirs"
    fs.rm(f"{S}/y")
    with fs.open(f"{S}/y", "x") as file:
        file.write("back")
    assert fs.cat(f"{S}/y") == b"back"
    with pytest.raises(FileExistsError):
        fs.pipe_file(f"{S}/y", b"z", mode="create")


def test_appending_makes_old_and_new_bytes_the_next_version(fs: ArtifactFileSystem) -> None:
    with fs.open(f"{S}/log.bin", "ab", mime_type="text/x-log", metadata={"k": 1}) as file:
        assert file.tell() == 0
        file.write(b"one ")
    with fs.open(f"{S}/log.bin", "ab") as file:
        assert file.tell() == 4
        file.write(b"two")
    assert (fs.cat(f"{S}/log.bin"), fs.cat(f"{S}/log.bin@0")) == (b"one two", b"one ")
    assert file.record.mime_type == "text/x-log" and file.record.metadata == {"k": 1}
    fs.rm(f"{S}/log.bin")
    with fs.open(f"{S}/log.bin", "a") as text:
        text.write("anew")
    assert fs.cat(f"{S}/log.bin") == b"anew"


def test_long_appends_arrive_whole(fs: ArtifactFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "IN_MEMORY", 10)
    for turn in (b"a", b"b"):
        with fs.open(f"{S}/log", "ab") as file:
            for _ in range(5):
                file.write(turn * 4)
    assert fs.cat(f"{S}/log") == b"a" * 20 + b"b" * 20


def test_appenders_at_the_same_time_lose_nothing(fs: ArtifactFileSystem) -> None:
    """Both have read the old bytes before either publishes; and then many at once."""
    one, two = fs.open(f"{S}/log", "ab"), fs.open(f"{S}/log", "ab")
    one.write(b"1;")
    two.write(b"2;")
    one.close()
    two.close()
    assert fs.cat(f"{S}/log") == b"1;2;"
    start = threading.Barrier(4)

    def work(who: int) -> None:
        start.wait()
        for turn in range(5):
            with fs.open(f"{S}/log", "ab") as file:
                file.write(b"%d.%d;" % (who, turn))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {b"1": 1, b"2": 1, **{b"%d.%d" % (who, turn): 1 for who in range(4) for turn in range(5)}}
    assert Counter(fs.cat(f"{S}/log").split(b";")[:-1]) == wanted


def test_an_appender_that_takes_no_heed_of_others_would_be_caught(
    fs: ArtifactFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without compare-and-set a version that comes between is lost from the newest bytes."""
    opened = type(fs.store.scope("shop", "alice", "s1")).open

    def blind(scope: Any, name: str, mode: Any = "rb", **rest: Any) -> Any:
        file = opened(scope, name, mode, **{**rest, "expect": None})
        if mode == "wb" and not between:
            between.append(True)
            scope.save(name, b"theirs")
        return file

    between: list[bool] = []
    fs.pipe(f"{S}/log", b"old")
    monkeypatch.setattr("artifactfs.store.Scope.open", blind)
    with fs.open(f"{S}/log", "ab") as file:
        file.write(b"+mine")
    assert fs.cat(f"{S}/log") == b"old+mine"


def test_an_appender_gives_up_in_the_end(fs: ArtifactFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise Conflict("somebody else, always")

    monkeypatch.setattr(sinks, "APPEND_PATIENCE", 0.0)
    monkeypatch.setattr(sinks.Append, "_follow", never)
    file = fs.open(f"{S}/log", "ab")
    with pytest.raises(Conflict, match="always"):
        file.close()
    assert not fs.exists(f"{S}/log")


@pytest.mark.parametrize("mode", ["wb", "xb", "ab"])
@pytest.mark.parametrize("path", ["x@0", "@0/x", "x@-1", "@2026-11-20T00:00:00Z/x"])
def test_a_version_cannot_be_written_to(fs: ArtifactFileSystem, mode: str, path: str) -> None:
    with pytest.raises(InvalidRef, match="never changes"):
        fs.open(f"{S}/{path}", mode)
    with pytest.raises(ValueError):
        fs.pipe(f"{S}/{path}", b"x")
    with pytest.raises(ValueError):
        fs.rm(f"{S}/{path}")


def test_the_newest_by_name_can_be_written_to(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/@latest/x", b"1")
    fs.pipe(f"{S}/x@latest", b"2")
    assert fs.cat(f"{S}/x@0") + fs.cat(f"{S}/x") == b"12"


def test_a_tag_that_is_none_says_how_the_name_is_written(fs: ArtifactFileSystem) -> None:
    for use in (fs.cat_file, fs.open, fs.info, fs.ls):
        with pytest.raises(FileNotFoundError, match="x%40prod"):
            use(f"{S}/x@prod")
    for use in (fs.rm_file, lambda path: fs.pipe(path, b"x")):
        with pytest.raises(InvalidRef, match="x%40prod"):
            use(f"{S}/x@prod")
    assert not fs.exists(f"{S}/x@prod")
    fs.pipe(f"{S}/x%40prod", b"a name")
    assert fs.ls(S, detail=False) == [f"{S}/x%40prod"]


def test_modes_that_change_versions_are_refused(fs: ArtifactFileSystem) -> None:
    for mode in ("r+b", "w+b"):
        with pytest.raises(ValueError, match="rb, wb, xb and ab"):
            fs.open(f"{S}/x", mode)
    with pytest.raises(TypeError):
        fs.open(f"{S}/x", "wb", metdata={"typo": True})


def test_mime_type_and_metadata_are_kept(fs: ArtifactFileSystem) -> None:
    with fs.open(f"{S}/x", "wb", mime_type="text/csv", metadata={"by": "me"}) as file:
        file.write(b"a,b")
    assert file.record.metadata == {"by": "me"} and fs.info(f"{S}/x")["mime_type"] == "text/csv"
    fs.pipe_file(f"{S}/x", b"a", mime_type="text/plain")
    assert fs.info(f"{S}/x")["mime_type"] == "text/plain"


@pytest.mark.parametrize("compression", ["gzip", "infer"])
def test_compressed_files_are_published_when_they_are_closed(fs: ArtifactFileSystem, compression: str) -> None:
    with fs.open(f"{S}/x.csv.gz", "wb", compression=compression) as file:
        file.write(b"one")
    with fs.open(f"{S}/x.csv.gz", "wt", compression=compression) as file:
        file.write("two")
    assert gzip.decompress(fs.cat(f"{S}/x.csv.gz")) == b"two"
    with fs.open(f"{S}/x.csv.gz@0", "rt", compression=compression) as file:
        assert file.read() == "one"
    with pytest.raises(RuntimeError), fs.open(f"{S}/x.csv.gz", "wb", compression=compression) as file:
        file.write(b"three")
        raise RuntimeError
    with fsspec.open(f"artifact://{S}/@0/x.csv.gz::{fs.store.url}", "rt", compression="infer") as file:
        assert file.read() == "one"
    assert fs.store.scope("shop", "alice", "s1").versions("x.csv.gz") == [0, 1]


def test_a_transaction_publishes_together_or_not_at_all(fs: ArtifactFileSystem) -> None:
    with fs.transaction:
        with fs.open(f"{S}/a", "wb") as file:
            file.write(b"a")
        assert not fs.exists(f"{S}/a")
    assert fs.cat(f"{S}/a") == b"a"
    with pytest.raises(RuntimeError), fs.transaction:
        with fs.open(f"{S}/b", "wb") as file:
            file.write(b"b")
        raise RuntimeError
    assert not fs.exists(f"{S}/b")


# what discards


@pytest.mark.parametrize("mode", ["wb", "xb", "ab", "w"])
@pytest.mark.parametrize("compression", [None, "gzip"])
class TestDiscard:
    def open(self, fs: ArtifactFileSystem, mode: str, compression: str | None) -> Any:
        file = fs.open(f"{S}/x", mode, compression=compression)
        file.write("part" if mode == "w" else b"part")
        return file

    def test_an_exception_in_a_with_block(self, fs: ArtifactFileSystem, mode: str, compression: str | None) -> None:
        with pytest.raises(RuntimeError), self.open(fs, mode, compression):
            raise RuntimeError
        assert not fs.exists(f"{S}/x")

    def test_a_library_that_only_closes_while_an_exception_passes(
        self, fs: ArtifactFileSystem, mode: str, compression: str | None
    ) -> None:
        def library() -> None:
            file = self.open(fs, mode, compression)
            try:
                raise RuntimeError
            finally:
                file.close()

        with pytest.raises(RuntimeError):
            library()
        assert not fs.exists(f"{S}/x")

    def test_a_new_exception_after_opening_inside_an_except_block(
        self, fs: ArtifactFileSystem, mode: str, compression: str | None
    ) -> None:
        try:
            raise KeyError
        except KeyError as outer:
            with pytest.raises(RuntimeError), self.open(fs, mode, compression):
                raise RuntimeError from outer
        assert not fs.exists(f"{S}/x")

    def test_being_collected(self, fs: ArtifactFileSystem, mode: str, compression: str | None) -> None:
        with pytest.warns(ResourceWarning, match="discarded"):  # noqa: PT031
            self.open(fs, mode, compression)
            gc.collect()
        assert not fs.exists(f"{S}/x")

    def test_not_an_exception_that_was_handled_before_opening(
        self, fs: ArtifactFileSystem, mode: str, compression: str | None
    ) -> None:
        try:
            raise KeyError
        except KeyError:
            with self.open(fs, mode, compression):
                pass
        assert fs.store.scope("shop", "alice", "s1").versions("x") == [0]

    def test_not_an_exception_that_has_passed(self, fs: ArtifactFileSystem, mode: str, compression: str | None) -> None:
        file = self.open(fs, mode, compression)
        with contextlib.suppress(KeyError):
            raise KeyError
        file.close()
        file.close()
        assert fs.store.scope("shop", "alice", "s1").versions("x") == [0]


def test_discard_drops_and_a_later_close_publishes_nothing(fs: ArtifactFileSystem) -> None:
    file = fs.open(f"{S}/x", "wb")
    file.write(b"part")
    file.discard()
    file.close()
    assert file.record is None and not fs.exists(f"{S}/x")
    with pytest.raises(ValueError):
        file.write(b"more")


def test_what_is_published_stays_when_it_is_discarded_afterwards(fs: ArtifactFileSystem) -> None:
    with fs.open(f"{S}/x", "wb") as file:
        file.write(b"whole")
    file.discard()
    assert fs.cat(f"{S}/x") == b"whole" and file.record.version == 0


def test_a_writer_that_published_in_its_finalizer_would_be_caught(
    fs: ArtifactFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what io's own finalizer does, which is to close."""
    monkeypatch.setattr(writer.ArtifactWriter, "__del__", writer.ArtifactWriter.close)
    fs.open(f"{S}/x", "wb").write(b"part")
    gc.collect()
    assert fs.exists(f"{S}/x")


# looking


def test_listings_of_each_level(fs: ArtifactFileSystem) -> None:
    tree(fs)
    assert fs.ls("", detail=False) == ["shop"] == fs.ls("artifact://", detail=False) == fs.ls("/", detail=False)
    assert fs.ls("shop", detail=False) == ["shop/alice", "shop/bob"]
    assert fs.ls("shop/alice/", detail=False) == ["shop/alice/s1", "shop/alice/s2", "shop/alice/user"]
    assert fs.ls("shop/bob", detail=False) == ["shop/bob/s1"]
    assert fs.ls(f"artifact://{S}", detail=False) == [f"{S}/a.txt", f"{S}/b.txt", f"{S}/reports"]
    assert fs.ls(f"{S}/reports", detail=False) == [f"{S}/reports/{end}" for end in ("2026", "q1.csv", "q2.csv")]
    assert fs.ls("shop/alice/user", detail=False) == ["shop/alice/user/logo.png"]
    assert fs.ls(f"{S}/a.txt", detail=False) == [f"{S}/a.txt"]
    assert [(one["name"], one["size"], one["type"]) for one in fs.ls(S)] == [
        (f"{S}/reports", 0, "directory"),
        (f"{S}/a.txt", 5, "file"),
        (f"{S}/b.txt", 5, "file"),
    ]
    for missing in ("none", "shop/none", "shop/alice/none", f"{S}/none", f"{S}/a.txt/none", f"{S}/a.txt@7"):
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)


def test_an_empty_store_has_a_root(fs: ArtifactFileSystem) -> None:
    assert fs.ls("") == [] == fs.find("") == fs.glob("**")
    assert fs.isdir("") and fs.info("")["type"] == "directory"


def test_info_tells_what_the_record_tells(fs: ArtifactFileSystem) -> None:
    before = datetime.now(UTC)
    fs.pipe(f"{S}/a.txt", b"first")
    fs.pipe(f"{S}/a.txt", b"hello")
    info = fs.info(f"artifact://{S}/a.txt")
    assert before <= info.pop("created") == info.pop("mtime") <= datetime.now(UTC)
    assert info.pop("record") == fs.store.scope("shop", "alice", "s1").stat("a.txt")
    assert info == {
        "name": f"{S}/a.txt",
        "size": 5,
        "type": "file",
        "version": 1,
        "mime_type": "text/plain",
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }
    assert fs.info(f"{S}/a.txt@0")["version"] == 0 and fs.info(f"{S}/a.txt@0")["name"] == f"{S}/a.txt@0"
    assert fs.modified(f"{S}/a.txt@0") == fs.created(f"{S}/a.txt@0") <= fs.modified(f"{S}/a.txt")
    assert fs.size(f"{S}/a.txt") == 5
    with pytest.raises(IsADirectoryError):
        fs.modified(S)


def test_a_payload_of_another_program_is_listed_without_a_digest(tmp_path: Path) -> None:
    folder = tmp_path / S / "foreign.txt"
    folder.mkdir(parents=True)
    (folder / "0").write_bytes(b"by hand")
    fs = ArtifactFileSystem(str(tmp_path))
    assert fs.info(f"{S}/foreign.txt")["sha256"] is None and fs.cat(f"{S}/foreign.txt") == b"by hand"


def test_checksum_and_ukey_change_with_the_version_only(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/x", b"1")
    first = (fs.checksum(f"{S}/x"), fs.ukey(f"{S}/x"))
    pinned = (fs.checksum(f"{S}/x@0"), fs.ukey(f"{S}/x@0"))
    assert first == (fs.checksum(f"{S}/x"), fs.ukey(f"{S}/x"))
    fs.pipe(f"{S}/x", b"2")
    assert fs.checksum(f"{S}/x") != first[0] and fs.ukey(f"{S}/x") != first[1]
    assert pinned == (fs.checksum(f"{S}/x@0"), fs.ukey(f"{S}/x@0"))


def test_a_name_may_be_a_file_and_a_folder(fs: ArtifactFileSystem) -> None:
    fs.pipe({f"{S}/reports": b"file", f"{S}/reports/q1.csv": b"in it"})
    assert fs.cat_file(f"{S}/reports") == b"file" and fs.isfile(f"{S}/reports") and not fs.isdir(f"{S}/reports")
    assert fs.ls(f"{S}/reports", detail=False) == [f"{S}/reports/q1.csv"]
    assert fs.ls(S, detail=False) == [f"{S}/reports"]
    assert sorted(one["type"] for one in fs.ls(S)) == ["directory", "file"]
    assert fs.find(S) == [f"{S}/reports", f"{S}/reports/q1.csv"]
    [(_, folders, names), *_] = fs.walk(S)
    assert folders == names == ["reports"]
    fs.rm(f"{S}/reports")
    assert fs.isdir(f"{S}/reports") and fs.find(S) == [f"{S}/reports/q1.csv"]


def test_a_folder_is_no_file(fs: ArtifactFileSystem) -> None:
    tree(fs)
    for folder in ("", "shop", "shop/alice", S, f"{S}/reports", f"{S}/@latest", f"{S}/@latest/reports"):
        assert fs.isdir(folder) and not fs.isfile(folder) and fs.exists(folder)
        for use in (fs.open, fs.cat_file, fs.rm_file, fs.rm):
            if "@" not in folder or use != fs.rm:
                with pytest.raises(IsADirectoryError):
                    use(folder)
    for folder in ("shop", S):
        with pytest.raises(IsADirectoryError):
            fs.open(folder, "wb")
    for missing in (f"{S}/none", "shop/alice/s9/x", f"{S}/a.txt@9", f"{S}/a.txt@-9"):
        assert not fs.exists(missing) and not fs.isfile(missing) and not fs.isdir(missing)
        with pytest.raises(FileNotFoundError):
            fs.open(missing)
    assert not fs.exists("shop/none") and not fs.exists("shop/alice/s9")


def test_the_newest_can_be_viewed_as_a_folder_and_a_number_cannot(fs: ArtifactFileSystem) -> None:
    tree(fs)
    assert fs.ls(f"{S}/@latest", detail=False) == [f"{S}/@latest/{end}" for end in ("a.txt", "b.txt", "reports")]
    assert fs.find(f"{S}/@latest/reports")[0] == f"{S}/@latest/reports/2026/q3.csv"
    assert fs.cat(fs.glob(f"{S}/@latest/*.txt"))[f"{S}/@latest/a.txt"] == b"a.txt"
    assert fs.info(f"{S}/@0/reports/q1.csv")["version"] == 0
    for view in ("@0", "@-1", "@0/reports", "reports@0", "reports@latest", "reports@-1"):
        for use in (fs.ls, fs.info, fs.isdir, fs.exists, fs.find, fs.open):
            if (view.startswith("@") and "/" not in view) and use == fs.open:
                continue
            with pytest.raises(InvalidRef, match="a folder is there"):
                use(f"{S}/{view}")


def test_find_walk_and_glob(fs: ArtifactFileSystem) -> None:
    tree(fs)
    reports = [f"{S}/reports/{end}" for end in ("2026/q3.csv", "q1.csv", "q2.csv")]
    everything = [f"{S}/a.txt", f"{S}/b.txt", *reports]
    others = ["shop/alice/s2/c.txt", "shop/alice/user/logo.png", "shop/bob/s1/d.txt"]
    assert fs.find("") == fs.find("shop") == [*everything, *others]
    assert fs.find(S) == everything and fs.find(f"{S}/reports") == reports
    assert fs.find(f"{S}/a.txt") == [f"{S}/a.txt"] and fs.find(f"{S}/none") == []
    assert fs.find(S, maxdepth=1) == everything[:2] and fs.find(S, maxdepth=2) == everything[:2] + reports[1:]
    assert fs.find(S, maxdepth=1, withdirs=True) == [S, f"{S}/a.txt", f"{S}/b.txt", f"{S}/reports"]
    assert fs.find("shop", maxdepth=2, withdirs=True)[:3] == ["shop", "shop/alice", S]
    detailed = fs.find(f"{S}/reports", withdirs=True, detail=True)
    assert {name: (info["type"], info["size"]) for name, info in detailed.items()} == {
        f"{S}/reports": ("directory", 0),
        f"{S}/reports/2026": ("directory", 0),
        **{name: ("file", len(name) - len(S) - 1) for name in reports},
    }
    assert fs.glob(f"{S}/reports/*.csv") == reports[1:] and fs.glob(f"{S}/**/*.csv") == reports
    assert fs.glob("shop/*/s1/*.txt") == [f"{S}/a.txt", f"{S}/b.txt", "shop/bob/s1/d.txt"]
    assert fs.glob(f"{S}/*/") == [f"{S}/reports"] and fs.glob(f"{S}/none*") == []
    assert fs.glob(f"artifact://{S}/[ab].txt") == everything[:2] and fs.glob(f"{S}/a.txt") == [f"{S}/a.txt"]
    assert fs.glob(f"{S}/?.txt", detail=True)[f"{S}/a.txt"]["size"] == 5
    assert list(fs.walk(S)) == [
        (S, ["reports"], ["a.txt", "b.txt"]),
        (f"{S}/reports", ["2026"], ["q1.csv", "q2.csv"]),
        (f"{S}/reports/2026", [], ["q3.csv"]),
    ]
    assert next(iter(fs.walk(S, detail=True)))[2]["a.txt"]["size"] == 5
    assert fs.du(S) == sum(len(name) - len(S) - 1 for name in everything)
    with pytest.raises(ValueError):
        fs.find(S, maxdepth=0)


def test_listing_names_reads_no_record(fs: ArtifactFileSystem) -> None:
    tree(fs)
    backend = fs.store._core.backend = Counting(fs.store.backend)
    assert len(fs.find(S)) == 5 and len(fs.glob(f"{S}/**")) == 8
    assert fs.ls(S, detail=False) and fs.glob("shop/alice/*/*.txt") and list(fs.walk("shop"))
    assert {call.method for call in backend.taken()} == {"list"}
    fs.ls(S)  # the control: two files lie there directly
    assert Counter(call.method for call in backend.taken()) == {"list": 1, "get": 2}


def test_listings_are_always_fresh(fs: ArtifactFileSystem, url: str) -> None:
    other = ArtifactStore(url).scope("shop", "alice", "s1")
    other.save("a", b"1")
    assert fs.ls(S, detail=False) == [f"{S}/a"]
    other.save("b", b"22")
    other.remove("a")
    assert [(one["name"], one["size"]) for one in fs.ls(S)] == [(f"{S}/b", 2)]


def test_what_is_taken_away_during_a_listing_is_left_out(fs: ArtifactFileSystem) -> None:
    tree(fs)
    inner = fs.store.backend
    scope = ArtifactStore(inner.url).scope("shop", "alice", "s1")

    class Deleting(Counting):
        async def list(self, *args: Any, **kwargs: Any) -> Any:
            page = await inner.list(*args, **kwargs)
            if scope.versions("a.txt"):
                scope.delete("a.txt")
            return page

    fs.store._core.backend = Deleting(inner)
    assert [one["name"] for one in fs.ls(S)] == [f"{S}/reports", f"{S}/b.txt"]


def test_the_user_scope_is_a_folder_of_its_own(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/user:logo.png", b"shared")
    fs.pipe("shop/alice/%75ser/mine.txt", b"a session called user")
    assert fs.cat("shop/alice/user/logo.png") == b"shared" == fs.cat("shop/alice/s9/user:logo.png")
    assert fs.ls("shop/alice", detail=False) == ["shop/alice/%75ser", "shop/alice/user"]
    assert fs.find("shop") == ["shop/alice/%75ser/mine.txt", "shop/alice/user/logo.png"]
    assert fs.store.scope("shop", "alice").load("logo.png").data == b"shared"
    with pytest.raises(FileNotFoundError):
        fs.ls(S)


# slices


def test_slices_are_those_of_the_bytes(fs: ArtifactFileSystem) -> None:
    data = bytes(range(100))
    fs.pipe(f"{S}/x", data)
    edges = [None, 0, 1, 50, 99, 100, 1000, -1, -99, -1000]
    for start in edges:
        for end in edges:
            assert fs.cat_file(f"{S}/x", start, end) == data[start:end]
    assert fs.read_block(f"{S}/x", 10, 5) == data[10:15]
    assert fs.head(f"{S}/x", 3) + fs.tail(f"{S}/x", 2) == data[:3] + data[-2:]


def test_ranges_of_one_path_are_of_one_version(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/x", b"aaaa")
    inner = fs.store.backend
    scope = ArtifactStore(inner.url).scope("shop", "alice", "s1")

    class Saving(Counting):
        async def get(self, *args: Any) -> Any:
            got = await inner.get(*args)
            scope.save("x", b"bbbb")
            return got

    fs.store._core.backend = Saving(inner)
    assert fs.cat_ranges([f"{S}/x"] * 2, [0, 2], [2, 4]) == [b"aa", b"aa"]
    assert fs.cat_ranges([f"{S}/x"] * 2, [0, 2], [2, 4]) == [b"bb", b"bb"]


def test_ranges_that_fail_are_returned_or_raised(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/x", b"0123")
    one, two, three = fs.cat_ranges([f"{S}/x", f"{S}/none", f"{S}/x@0"], 1, [2, 3, -1])
    assert (one, three) == (b"1", b"12") and isinstance(two, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([f"{S}/none"], 0, 1, on_error="raise")
    with pytest.raises(ValueError):
        fs.cat_ranges([f"{S}/x"], [0, 1], 1)
    with pytest.raises(TypeError):
        fs.cat_ranges(f"{S}/x", 0, 1)


def test_many_are_read_by_pattern_list_or_folder(fs: ArtifactFileSystem) -> None:
    tree(fs)
    assert fs.cat(f"{S}/reports", recursive=True, on_error="omit") == {
        f"{S}/reports/2026/q3.csv": b"reports/2026/q3.csv",
        f"{S}/reports/q1.csv": b"reports/q1.csv",
        f"{S}/reports/q2.csv": b"reports/q2.csv",
    }
    assert fs.cat(f"{S}/*.txt") == {f"{S}/a.txt": b"a.txt", f"{S}/b.txt": b"b.txt"}
    assert fs.cat([f"{S}/a.txt"]) == {f"{S}/a.txt": b"a.txt"}
    mapper = fs.get_mapper(S)
    mapper["k/v"] = b"value"
    assert mapper["k/v"] == b"value" and "k/v" in mapper and "reports/q1.csv" in set(mapper)
    del mapper["k/v"]
    assert "k/v" not in mapper


# taking away, copying, moving


def test_rm_keeps_the_history(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/x", b"1")
    fs.rm(f"{S}/x")
    assert not fs.exists(f"{S}/x") and fs.find("") == []
    with pytest.raises(FileNotFoundError):
        fs.rm(f"{S}/x")
    assert fs.cat(f"{S}/x@0") == b"1"
    fs.cp_file(f"{S}/x@0", f"{S}/x")
    assert fs.cat(f"{S}/x") == b"1"


def test_rm_of_a_folder_takes_all_that_is_in_it(fs: ArtifactFileSystem) -> None:
    tree(fs)
    fs.pipe(f"{S}/reports", b"a file, too")
    with pytest.raises(IsADirectoryError):
        fs.rm(f"{S}/reports/2026")
    fs.rm(f"{S}/reports", recursive=True)
    assert fs.find(S) == [f"{S}/a.txt", f"{S}/b.txt"]
    fs.rm(f"{S}/*.txt")
    assert fs.find(S) == []
    fs.rm("shop/alice", recursive=True)
    assert fs.find("") == ["shop/bob/s1/d.txt"]
    for missing in (f"{S}/reports", "shop/none", f"{S}/none*"):
        with pytest.raises(FileNotFoundError):
            fs.rm(missing, recursive=True)
    assert fs.cat(f"{S}/reports/q1.csv@0") == b"reports/q1.csv"


def test_folders_need_not_be_made(fs: ArtifactFileSystem) -> None:
    fs.mkdir(f"{S}/new")
    fs.makedirs(f"{S}/new/er", exist_ok=True)
    fs.rmdir(f"{S}/new")
    assert fs.find("") == [] and not fs.exists(f"{S}/new")


def test_copies_carry_type_and_metadata(fs: ArtifactFileSystem) -> None:
    fs.pipe_file(f"{S}/x", b"1", mime_type="text/csv", metadata={"k": 1})
    fs.copy(f"{S}/x@0", "shop/bob/s1/y")
    record = fs.store.scope("shop", "bob", "s1").stat("y")
    assert (record.mime_type, record.metadata, record.size_bytes) == ("text/csv", {"k": 1}, 1)
    tree(fs)
    fs.copy(f"{S}/reports", "shop/bob/s1/copied", recursive=True)
    assert fs.find("shop/bob/s1/copied") == [f"shop/bob/s1/copied/{x}" for x in ("2026/q3.csv", "q1.csv", "q2.csv")]
    with pytest.raises(FileNotFoundError):
        fs.copy(f"{S}/none", f"{S}/z")
    with pytest.raises(InvalidRef):
        fs.copy(f"{S}/x", f"{S}/x@0")


def test_moves_leave_the_history_behind(fs: ArtifactFileSystem) -> None:
    tree(fs)
    fs.mv(f"{S}/a.txt", f"{S}/z.txt")
    assert fs.cat(f"{S}/z.txt") == b"a.txt" == fs.cat(f"{S}/a.txt@0") and not fs.exists(f"{S}/a.txt")
    fs.mv(f"{S}/reports", f"{S}/moved", recursive=True)
    assert fs.find(f"{S}/moved") and not fs.exists(f"{S}/reports")
    for same in (f"artifact://{S}/z.txt", f"/{S}/z.txt", f"{S}/z%2Etxt", f"{S}/@latest/z.txt"):
        fs.mv(f"{S}/z.txt", same)
        assert fs.cat(f"{S}/z.txt") == b"a.txt"
    with pytest.raises(InvalidRef):
        fs.mv(f"{S}/z.txt@0", f"{S}/y.txt")
    assert not fs.exists(f"{S}/y.txt")


def test_what_is_moved_to_where_it_lies_stays_in_view(fs: ArtifactFileSystem) -> None:
    tree(fs)
    everything = fs.find(S)
    fs.mv(f"{S}/a.txt", f"{S}/")
    fs.mv(f"{S}/a.txt", S)
    fs.mv(f"{S}/*.txt", f"{S}/")
    fs.mv([f"{S}/a.txt"], [f"{S}/a.txt"])
    fs.mv(f"{S}/reports", f"{S}/", recursive=True)
    assert fs.find(S) == everything and fs.info(f"{S}/a.txt")["version"] == 0
    fs.mv(f"{S}/reports", f"{S}/reports/old", recursive=True)
    assert fs.find(f"{S}/reports") == [f"{S}/reports/old/{end}" for end in ("2026/q3.csv", "q1.csv", "q2.csv")]
    with pytest.raises(IsADirectoryError):
        fs.mv(f"{S}/reports", f"{S}/elsewhere")
    with pytest.raises(FileNotFoundError):
        fs.mv(f"{S}/none", f"{S}/elsewhere")


def test_local_files_go_in_and_out(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_bytes(b"a")
    (tmp_path / "in" / "deep" / "b.txt").write_bytes(b"b")
    fs.put(str(tmp_path / "in"), f"{S}/up", recursive=True)
    assert fs.find(S) == [f"{S}/up/a.txt", f"{S}/up/deep/b.txt"]
    fs.get(f"{S}/up", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "deep" / "b.txt").read_bytes() == b"b"
    fs.put_file(tmp_path / "in" / "a.txt", f"artifact://{S}/one")
    fs.get_file(f"{S}/one@0", str(tmp_path / "one"))
    assert (tmp_path / "one").read_bytes() == b"a"
    with pytest.raises(FileExistsError):
        fs.put_file(tmp_path / "one", f"{S}/one", mode="create")
    with pytest.raises(ValueError):
        fs.put_file(tmp_path / "one", f"{S}/one", mode="other")
    with pytest.raises(FileNotFoundError):
        fs.put_file(tmp_path / "none", f"{S}/none")


@pytest.mark.parametrize("kind", [str, Path])
def test_a_local_file_is_named_alike_whether_its_path_is_text_or_an_object(
    fs: ArtifactFileSystem, tmp_path: Path, kind: type
) -> None:
    fs.store.scope("shop", "alice", "s1").save("100%.csv", b"a")
    fs.get(f"{S}/100%25.csv", kind(tmp_path / "100%25.csv"))
    fs.get(f"{S}/100%25.csv", kind(tmp_path / "other.csv"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["100%.csv", "other.csv"]


# which store


def test_a_url_is_chained_over_its_store(tmp_path: Path) -> None:
    for root in (f"file://{tmp_path}/one", f"local://{tmp_path}/two", "memory://chained", "memory://other/deep"):
        with fsspec.open(f"artifact://{S}/report.csv::{root}", "w") as file:
            file.write("a,b")
        with fsspec.open(f"artifact://{S}/report.csv@0::{root}", "r") as file:
            assert file.read() == "a,b"
        fs, path = fsspec.url_to_fs(f"artifact://{S}/@0/report.csv::{root}")
        assert path == f"{S}/@0/report.csv" and fs.cat(path) == b"a,b"
        assert ArtifactStore(root.replace("local:", "file:")).scope("shop", "alice", "s1").versions("report.csv") == [0]
    root_fs, path = fsspec.url_to_fs("artifact::memory://chained")
    assert path == "" and root_fs.find("") == [f"{S}/report.csv"]


def test_options_reach_the_store_from_either_side_of_the_chain(tmp_path: Path) -> None:
    url = f"artifact://{S}/x::file://{tmp_path}"
    for options in ({"read_only": True}, {"file": {"read_only": True}}):
        fs, path = fsspec.url_to_fs(url, **options)
        with pytest.raises(PermissionError):
            fs.pipe(path, b"x")


def test_a_store_is_named_by_an_option_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fsspec.open(f"artifact://{S}/x", "wb", root=str(tmp_path / "one")) as file:
        file.write(b"1")
    fs = fsspec.filesystem("artifact")
    with pytest.raises(InvalidConfig, match="ARTIFACTFS_URL"):
        fs.ls("")
    monkeypatch.setenv("ARTIFACTFS_URL", str(tmp_path / "one"))
    assert fs.cat(f"{S}/x") == b"1"
    monkeypatch.setenv("ARTIFACTFS_URL", str(tmp_path / "two"))
    assert fs.ls("") == []


def test_two_stores_or_a_store_behind_a_filesystem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="twice"):
        fsspec.open(f"artifact://{S}/x::file://{tmp_path}", "rb", root="memory://other")
    with pytest.raises(InvalidConfig, match="another filesystem"):
        fsspec.open(f"artifact://{S}/x::simplecache::file://{tmp_path}", "rb")


def test_a_filesystem_is_pickled_by_its_options(url: str) -> None:
    fs = ArtifactFileSystem(url)
    fs.pipe(f"{S}/x", b"1")
    again = pickle.loads(pickle.dumps(fs))
    assert again is fs and again.cat(f"{S}/x") == b"1"
    ArtifactFileSystem.clear_instance_cache()
    fresh = pickle.loads(pickle.dumps(fs))
    assert fresh is not fs and fresh.cat(f"{S}/x") == b"1"
    chained, path = fsspec.url_to_fs(f"artifact://{S}/x::{fs.store.url}")
    assert pickle.loads(pickle.dumps(chained)).cat(path) == b"1"
    assert ArtifactFileSystem.from_json(fs.to_json()).cat(f"{S}/x") == b"1"
    ArtifactFileSystem.clear_instance_cache()


# attacks


ATTACKS = [
    "..",
    "../..",
    "../../bob/s1/secret",
    "a/../../x",
    ".",
    "./x",
    "/",
    "//",
    "/etc/passwd",
    "a//b",
    "a/",
    "%2e%2e",
]
ATTACKS += [
    "%2e%2e/x",
    "%2F",
    "%2Fetc%2Fpasswd",
    "%252e",
    "..%2f..%2fbob",
    "%00",
    "%",
    "%zz",
    "%ff",
    "::",
    "a::file://x",
]
ATTACKS += [
    "@3",
    "x@3",
    "@latest",
    "@3/x",
    "@3/x@2",
    "x@prod",
    "@store/x",
    "@hidden",
    "!5",
    "0",
    "0.metadata",
    "1.metadata",
]
ATTACKS += [
    "con",
    "CON.txt",
    "nul",
    "com1",
    "aux .txt",
    "C:",
    "C:\\x",
    "\\\\host\\share",
    "..\\..\\x",
    "a:b",
    "x.",
    "x ",
]
ATTACKS += [
    "é",
    "e\u0301",
    "\u202egpj.exe",
    "\uff0e\uff0e/x",
    "\u2215",
    "ｕser",
    "user",
    "user:x",
    "user:../x",
    "*",
    "?",
    "[a]",
]
ATTACKS += [
    "~",
    "~root",
    "$HOME",
    "${HOME}",
    "{a,b}",
    "#",
    "x#y",
    "x?y=1",
    "a\nb",
    "\ttab",
    "-rf",
    "apps",
    "artifact://x",
]


def scopes(fs: ArtifactFileSystem) -> dict[str, bytes]:
    return {path: fs.cat_file(path) for path in fs.find("") if not path.startswith(f"{S}/")}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_path_leaves_its_scope(fs: ArtifactFileSystem, attack: str) -> None:
    """Below a session each is stored there and listed by a path that reads it back, or refused by name."""
    fs.pipe("shop/bob/s1/secret", b"bob's")
    fs.pipe("shop/alice/s2/other", b"other session's")
    outside = scopes(fs)
    try:
        fs.pipe_file(f"{S}/{attack}", b"attack")
    except (InvalidRef, InvalidName, IsADirectoryError):
        assert fs.find(S) == []
    else:
        if attack.startswith("user:"):
            [listed] = fs.find("shop/alice/user")
            outside[listed] = b"attack"
        else:
            [listed] = fs.find(S)
        assert fs.cat(listed) == b"attack" == fs.cat_file(f"{S}/{attack}")
        assert fs.glob(listed) == [listed]
    assert scopes(fs) == outside


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_name_that_looks_like_an_attack_is_listed_by_a_path_that_works(fs: ArtifactFileSystem, attack: str) -> None:
    """No name is refused for its look: what the store holds, the filesystem lists, opens, globs and removes."""
    scope = fs.store.scope("shop", "alice", "s1")
    scope.save(attack, b"here")
    folder = "shop/alice/user" if attack.startswith("user:") else S
    [path] = fs.find(folder)
    assert Ref.parse(path).path == path and fs.cat(path) == b"here"
    assert fs.expand_path(path) == [path] == fs.glob(path)
    assert path in fs.glob(f"{folder}/**")
    around = path
    while around != folder:
        above = around.rpartition("/")[0]
        assert around in fs.ls(above, detail=False)
        around = above
    fs.rm(path)
    assert fs.find("") == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_apps_users_and_sessions_are_kept_apart_whatever_they_are_called(fs: ArtifactFileSystem, attack: str) -> None:
    fs.store.scope(attack, "u", "s").save("n", b"1")
    fs.store.scope("a", attack, "s").save("n", b"2")
    fs.store.scope("a", "u", attack).save("n", b"3")
    found = {Ref.parse(path): fs.cat_file(path) for path in fs.find("")}
    assert found == {
        Ref(attack, "u", "s", "n"): b"1",
        Ref("a", attack, "s", "n"): b"2",
        Ref("a", "u", attack, "n"): b"3",
    }


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.sets(NAMES.filter(lambda name: not name.startswith("user:")), min_size=1, max_size=5))
def test_every_name_is_listed_by_one_path_that_reads_it(names: set[str]) -> None:
    fs = ArtifactFileSystem(f"memory://filesystem-{next(_fresh)}", skip_instance_cache=True)
    scope = fs.store.scope("shop", "alice", "s1")
    for name in names:
        scope.save(name, name.encode())
    assert {fs.cat_file(path).decode() for path in fs.find(S)} == names
    assert len(fs.find(S)) == len(names) and set(fs.find(S)) <= set(fs.glob(f"{S}/**"))
    assert {Ref.parse(path).name for path in fs.find("")} == names
