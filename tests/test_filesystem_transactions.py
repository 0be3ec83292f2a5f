"""Transactions of `artifact://`: all of it at the end, in its order; or nothing, and nothing left behind."""

from __future__ import annotations

import asyncio
import io
import itertools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.drivers import call
from artifactfs.errors import BackendUnavailable, Conflict
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.testing.counting import Counting

S = "shop/alice/s1"
LONG = b"long" * (WHOLE_LIMIT // 4 + 1)
_fresh = itertools.count()


@pytest.fixture(params=["memory", "local"])
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactFileSystem:
    """Three artifacts, of which ``old`` has two versions."""
    url, options = f"memory://transactions-{next(_fresh)}", {}
    if request.param == "local":
        url, options = str(tmp_path / "store"), {"durability": "none"}
    elif request.param == "moto":
        server = request.getfixturevalue("moto")
        url, options = server.bucket(), server.storage_options
    fs = ArtifactFileSystem(url, skip_instance_cache=True, **options)
    fs.pipe(f"{S}/old", b"0")
    fs.pipe({f"{S}/old": b"1", f"{S}/other": b"other", f"{S}/folder/file": b"file"})
    return fs


def keys(fs: ArtifactFileSystem) -> dict[str, int]:
    """All that lies in the store below, and what was begun there."""
    backend = fs.store.backend
    page = call(backend, lambda: backend.list("", deep=True))
    begun = call(backend, lambda: backend.unfinished(""))
    return {entry.name: entry.size for entry in page.entries} | {one.key: -1 for one in begun}


def versions(fs: ArtifactFileSystem, name: str) -> list[bytes]:
    scope = fs.store.scope("shop", "alice", "s1")
    try:
        return [scope.load(name, number).data for number in scope.versions(name)]
    except FileNotFoundError:
        return []


def write(fs: ArtifactFileSystem, name: str, data: Any, mode: str = "wb", **options: Any) -> None:
    with fs.open(f"{S}/{name}", mode, **options) as file:
        file.write(data)


def put(fs: ArtifactFileSystem, local: Path, name: str, data: bytes) -> None:
    local.write_bytes(data)
    fs.put_file(local, f"{S}/{name}")
    local.unlink()


def pack(fs: ArtifactFileSystem) -> None:
    with fs.open(f"{S}/z.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner", b"zipped")


DEEDS: dict[str, Callable[[ArtifactFileSystem, Path], object]] = {
    "open": lambda fs, local: write(fs, "new", b"new"),
    "open long": lambda fs, local: write(fs, "new", LONG),
    "open text": lambda fs, local: write(fs, "new", "new", "w"),
    "open gzip": lambda fs, local: write(fs, "new.gz", "new", "w", compression="infer"),
    "create": lambda fs, local: write(fs, "new", b"new", "xb"),
    "append": lambda fs, local: write(fs, "old", b"+", "ab"),
    "append to none": lambda fs, local: write(fs, "new", b"+", "ab"),
    "zip": lambda fs, local: pack(fs),
    "pipe": lambda fs, local: fs.pipe(f"{S}/new", b"new"),
    "pipe many": lambda fs, local: fs.pipe({f"{S}/new": b"new", f"{S}/old": b"2"}),
    "pipe long": lambda fs, local: fs.pipe(f"{S}/new", LONG),
    "pipe_file": lambda fs, local: fs.pipe_file(f"{S}/new", b"new", mode="create", mime_type="text/x"),
    "write_text": lambda fs, local: fs.write_text(f"{S}/new", "new"),
    "put": lambda fs, local: put(fs, local, "new", b"new"),
    "put long": lambda fs, local: put(fs, local, "new", LONG),
    "cp_file": lambda fs, local: fs.cp_file(f"{S}/old@0", f"{S}/new"),
    "copy folder": lambda fs, local: fs.copy(f"{S}/folder", f"{S}/copied", recursive=True),
    "mv": lambda fs, local: fs.mv(f"{S}/old", f"{S}/moved"),
    "mv folder": lambda fs, local: fs.mv(f"{S}/folder", f"{S}/moved", recursive=True),
    "rm": lambda fs, local: fs.rm(f"{S}/old"),
    "rm_file": lambda fs, local: fs.rm_file(f"{S}/old"),
    "rm many": lambda fs, local: fs.rm([f"{S}/old", f"{S}/other"]),
    "rm folder": lambda fs, local: fs.rm(f"{S}/folder", recursive=True),
    "touch": lambda fs, local: fs.touch(f"{S}/old"),
    "touch new": lambda fs, local: fs.touch(f"{S}/new", truncate=False),
    "touch again": lambda fs, local: fs.touch(f"{S}/old", truncate=False),
    "mapping": lambda fs, local: fs.get_mapper(S).update({"new": b"new"}),
    "await": lambda fs, local: asyncio.run(fs._pipe_file(f"{S}/new", b"new")),
    "await rm": lambda fs, local: asyncio.run(fs._rm(f"{S}/old")),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_nothing_is_seen_before_the_end_and_all_of_it_after(fs: ArtifactFileSystem, deed: str, tmp_path: Path) -> None:
    before, names = keys(fs), fs.find("")
    with fs.transaction:
        DEEDS[deed](fs, tmp_path / "local")
        assert keys(fs) == before and fs.find("") == names
        assert fs.cat(f"{S}/old") == b"1"
    done = keys(fs)
    assert set(done) > set(before) and -1 not in done.values()
    twin = ArtifactFileSystem(f"memory://transactions-{next(_fresh)}", skip_instance_cache=True)
    twin.pipe(f"{S}/old", b"0")
    twin.pipe({f"{S}/old": b"1", f"{S}/other": b"other", f"{S}/folder/file": b"file"})
    DEEDS[deed](twin, tmp_path / "local")
    assert fs.find(S) == twin.find(S)
    for path in fs.find(S):
        name = path.removeprefix(f"{S}/")
        if not name.endswith((".gz", ".zip")):  # they hold the time
            assert versions(fs, name) == versions(twin, name)
    for path in ("old", "other", "folder/file"):
        assert fs.exists(f"{S}/{path}") == twin.exists(f"{S}/{path}") == fs.isfile(f"{S}/{path}")


@pytest.mark.parametrize("deed", DEEDS)
def test_a_block_that_raises_leaves_nothing(fs: ArtifactFileSystem, deed: str, tmp_path: Path) -> None:
    before = keys(fs)
    with pytest.raises(ZeroDivisionError), fs.transaction:
        DEEDS[deed](fs, tmp_path / "local")
        raise ZeroDivisionError
    assert keys(fs) == before
    DEEDS[deed](fs, tmp_path / "local")  # as it was, and at once again
    assert set(keys(fs)) > set(before)
    with fs.transaction:
        fs.pipe(f"{S}/last", b"last")
    assert fs.cat(f"{S}/last") == b"last"


def test_a_transaction_that_published_at_once_would_be_caught(
    fs: ArtifactFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The control."""
    monkeypatch.setattr(
        ArtifactFileSystem, "_intrans", property(lambda fs: False, lambda fs, value: None), raising=False
    )
    for test in (test_nothing_is_seen_before_the_end_and_all_of_it_after, test_a_block_that_raises_leaves_nothing):
        with pytest.raises(AssertionError):
            test(fs, "mapping", tmp_path)


def test_the_order_is_kept(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    with fs.transaction:
        fs.pipe(f"{S}/x", b"0")
        write(fs, "x", LONG)
        fs.pipe(f"{S}/x", b"2")
        put(fs, tmp_path / "local", "x", LONG)
        write(fs, "x", b"+", "ab")
        fs.touch(f"{S}/x")
        fs.cp_file(f"{S}/old", f"{S}/x")
        fs.touch(f"{S}/x", truncate=False)
        write(fs, "x", b"8")
    assert versions(fs, "x") == [b"0", LONG, b"2", LONG, LONG + b"+", b"", b"1", b"1", b"8"]
    with fs.transaction:
        fs.rm(f"{S}/x")
        write(fs, "x", b"back", "wb")
        fs.rm(f"{S}/old")
        fs.pipe_file(f"{S}/old", b"anew", mode="create")
        fs.pipe(f"{S}/y", b"y")
        fs.rm_file(f"{S}/y")
    assert fs.cat(f"{S}/x") == b"back" and fs.cat(f"{S}/old") == b"anew" and not fs.exists(f"{S}/y")
    assert fs.cat(f"{S}/y@0") == b"y"


def test_files_are_published_in_the_order_in_which_they_were_opened(fs: ArtifactFileSystem) -> None:
    with fs.transaction:
        one, two = fs.open(f"{S}/x", "wb"), fs.open(f"{S}/x", "wb")
        two.write(b"second")
        two.close()
        one.write(b"first")
        one.close()
        assert one.record is None
    assert versions(fs, "x") == [b"first", b"second"] and (one.record.version, two.record.version) == (0, 1)


def test_what_is_removed_is_not_there_any_more_whoever_looked_before(fs: ArtifactFileSystem) -> None:
    assert fs.isfile(f"{S}/old") and fs.info(f"{S}/old")["version"] == 1
    with fs.transaction:
        fs.rm(f"{S}/old")
        assert fs.isfile(f"{S}/old") and fs.info(f"{S}/old")["version"] == 1
    assert not fs.isfile(f"{S}/old") and not fs.exists(f"{S}/old")
    with pytest.raises(FileNotFoundError):
        fs.open(f"{S}/old")


def test_buffers_and_local_files_are_taken_as_they_were(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    buffer = bytearray(b"mine")
    local = tmp_path / "local"
    local.write_bytes(b"mine")
    with fs.transaction:
        fs.pipe(f"{S}/a", buffer)
        fs.pipe(f"{S}/b", memoryview(buffer))
        fs.put_file(local, f"{S}/c")
        buffer[:] = b"else"
        local.write_bytes(b"else")
    assert fs.cat([f"{S}/a", f"{S}/b", f"{S}/c"]) == dict.fromkeys((f"{S}/a", f"{S}/b", f"{S}/c"), b"mine")


def test_a_copy_is_of_the_version_that_was_there_when_it_was_asked_for(fs: ArtifactFileSystem) -> None:
    with fs.transaction:
        fs.cp_file(f"{S}/old", f"{S}/copy")
        fs.store.scope("shop", "alice", "s1").save("old", b"by somebody else")
    assert fs.cat(f"{S}/copy") == b"1"


@pytest.mark.server("moto")
@pytest.mark.parametrize("fs", ["moto"], indirect=True)
def test_the_same_over_s3(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    test_the_order_is_kept(fs, tmp_path)
    for deed in ("open long", "put long", "append", "mv", "rm folder"):
        fs.pipe({f"{S}/old": b"1", f"{S}/folder/file": b"file"})
        test_a_block_that_raises_leaves_nothing(fs, deed, tmp_path)


# ends that fail


def test_removing_what_is_not_there_at_the_end_fails_there(fs: ArtifactFileSystem) -> None:
    with pytest.raises(FileNotFoundError), fs.transaction:
        fs.rm(f"{S}/none")
        fs.pipe(f"{S}/x", b"x")
    assert not fs.exists(f"{S}/x")


def test_a_conflict_in_the_middle_ends_the_transaction(fs: ArtifactFileSystem) -> None:
    """What came before stays, which is told by the error alone; what comes after is dropped."""
    with pytest.raises(Conflict), fs.transaction:
        fs.pipe(f"{S}/a", b"a")
        fs.pipe_file(f"{S}/old", b"2", mode="create")
        write(fs, "b", b"b")
        fs.rm(f"{S}/other")
    assert fs.find(S) == [f"{S}/a", f"{S}/folder/file", f"{S}/old", f"{S}/other"]
    assert versions(fs, "old") == [b"0", b"1"]
    fs.pipe(f"{S}/after", b"at once")
    assert fs.cat(f"{S}/after") == b"at once"
    with fs.transaction:
        fs.pipe(f"{S}/later", b"later")
        assert not fs.exists(f"{S}/later")
    assert fs.cat(f"{S}/later") == b"later"


class Failing(Counting):
    """A backend whose n-th write fails, as that of a store that is not reached."""

    def __init__(self, inner: Any, at: int) -> None:
        super().__init__(inner)
        self.at = at

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if name not in {"create", "put", "replace", "upload"}:
            return value

        async def failing(*args: Any, **kwargs: Any) -> Any:
            self.at -= 1
            if self.at == -1:
                raise BackendUnavailable("the store does not answer")
            return await value(*args, **kwargs)

        return failing


@pytest.mark.parametrize("fs", ["memory"], indirect=True)
def test_wherever_the_end_fails_what_is_there_is_whole_and_in_order(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    inner = fs.store.backend
    for at in itertools.count():
        fs.store._core.backend = Failing(inner, at)
        names = [f"{at}-{number}" for number in range(4)]
        failed = True
        try:
            with fs.transaction:
                fs.pipe(f"{S}/{names[0]}", b"whole")
                write(fs, names[1], b"whole")
                put(fs, tmp_path / "local", names[2], LONG)
                write(fs, names[3], b"whole", "xb")
            failed = False
        except BackendUnavailable:
            pass
        fs.store._core.backend = inner
        there = [fs.exists(f"{S}/{name}") for name in names]
        assert there == sorted(there, reverse=True) and not call(inner, lambda: inner.unfinished(""))
        assert {data for name in names for data in versions(fs, name)} <= {b"whole", LONG}
        fs.pipe(f"{S}/{names[0]}", b"whole")
        assert fs.exists(f"{S}/{names[0]}")
        if not failed:
            assert all(there) and at >= 8
            break


def test_a_local_file_that_cannot_be_read_fails_where_it_is_put(fs: ArtifactFileSystem) -> None:
    before = keys(fs)
    with pytest.raises(OSError, match="Input/output error"), fs.transaction:
        fs.pipe(f"{S}/x", b"x")
        fs.put_file("/proc/self/mem", f"{S}/y")
    assert keys(fs) == before


@pytest.mark.parametrize("text", [False, True])
def test_a_file_that_is_open_at_the_end_is_an_error_and_no_version(fs: ArtifactFileSystem, text: bool) -> None:
    """What a text layer holds still would be missing from it."""
    with pytest.raises(ValueError, match="not closed"), fs.transaction:
        fs.pipe(f"{S}/a", b"a")
        file = fs.open(f"{S}/x", "w" if text else "wb")
        file.write("held" if text else b"held")
    file.close()
    assert file.closed and not fs.exists(f"{S}/x") and fs.exists(f"{S}/a")


def test_a_file_that_an_exception_closed_is_left_out(fs: ArtifactFileSystem) -> None:
    with fs.transaction:
        with pytest.raises(ZeroDivisionError), fs.open(f"{S}/x", "wb") as file:
            file.write(b"part")
            raise ZeroDivisionError
        fs.pipe(f"{S}/y", b"whole")
    assert not fs.exists(f"{S}/x") and fs.exists(f"{S}/y")


def test_there_is_one_transaction_at_a_time(fs: ArtifactFileSystem) -> None:
    before = keys(fs)
    with pytest.raises(ValueError, match="transaction"), fs.transaction:
        fs.pipe(f"{S}/x", b"x")
        with fs.transaction:
            pytest.fail("begun")
    assert keys(fs) == before
    fs.start_transaction()
    fs.pipe(f"{S}/x", b"x")
    assert keys(fs) == before
    fs.end_transaction()
    assert fs.cat(f"{S}/x") == b"x"


def test_an_asynchronous_file_cannot_wait_for_the_end_and_says_so(fs: ArtifactFileSystem) -> None:
    with fs.transaction:
        with pytest.raises(ValueError, match="transaction"):
            asyncio.run(fs.open_async(f"{S}/x", "wb"))
        reader = asyncio.run(fs.open_async(f"{S}/old"))
        assert asyncio.run(reader.read()) == b"1"
    assert not fs.exists(f"{S}/x")


def test_a_mistake_is_told_where_it_is_made(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"")
    with fs.transaction:
        for mistake, error in (
            (lambda: fs.pipe(f"{S}/x@0", b""), ValueError),
            (lambda: fs.pipe_file(f"{S}/x", b"", mode="other"), ValueError),
            (lambda: fs.open(f"{S}/x@0", "wb"), ValueError),
            (lambda: fs.open(f"{S}/old", "xb"), FileExistsError),
            (lambda: fs.put_file(tmp_path / "none", f"{S}/x"), FileNotFoundError),
            (lambda: fs.put_file(tmp_path / "local", f"{S}/x@0"), ValueError),
            (lambda: fs.cp_file(f"{S}/none", f"{S}/x"), FileNotFoundError),
            (lambda: fs.cp_file(f"{S}/old", f"{S}/x@0"), ValueError),
            (lambda: fs.mv(f"{S}/none", f"{S}/x"), FileNotFoundError),
            (lambda: fs.rm(f"{S}/old@0"), ValueError),
            (lambda: fs.touch(f"{S}/old@0"), ValueError),
            (lambda: fs.touch(S), IsADirectoryError),
            (lambda: fs.open(f"{S}/x", "wb", metadata={"not": io}), (TypeError, ValueError)),
        ):
            with pytest.raises(error):
                mistake()
        fs.pipe(f"{S}/x", b"x")
    assert versions(fs, "x") == [b"x"]
