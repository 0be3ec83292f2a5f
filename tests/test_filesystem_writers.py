"""Writers of `artifact://`: what publishes and what discards, by whatever library; and files that go in and out."""

from __future__ import annotations

import csv
import gc
import gzip
import io
import itertools
import os
import stat
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.drivers import call
from artifactfs.errors import IntegrityError
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.testing.counting import Counting

from .servers import Server

S = "shop/alice/s1"
X = f"{S}/x"
LONG = b"long" * (WHOLE_LIMIT // 4 + 1)
_fresh = itertools.count()


class Stopped(Exception):
    """What happens to those who write."""


@pytest.fixture(params=["memory", "local"])
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactFileSystem:
    if request.param == "local":
        return ArtifactFileSystem(str(tmp_path / "store"), skip_instance_cache=True, durability="none")
    return ArtifactFileSystem(f"memory://writers-{next(_fresh)}", skip_instance_cache=True)


def versions(fs: ArtifactFileSystem, name: str = "x") -> list[int]:
    try:
        return fs.store.scope("shop", "alice", "s1").versions(name)
    except FileNotFoundError:
        return []


def begun(fs: ArtifactFileSystem) -> list[Any]:
    backend = fs.store.backend
    return list(call(backend, lambda: backend.unfinished("")))


# what libraries do with a file when something goes wrong

Open = Callable[..., Any]
Way = Callable[[Open], None]


PIECES = [b"part", b"and"]


def _write(file: Any) -> None:
    for piece in PIECES:
        file.write(piece)


def with_block(opened: Open) -> None:
    with opened() as file:
        _write(file)
        raise Stopped


def closing_in_finally(opened: Open) -> None:
    file = opened()
    try:
        _write(file)
        raise Stopped
    finally:
        file.close()


def closing_in_except(opened: Open) -> None:
    file = opened()
    try:
        _write(file)
        raise Stopped
    except Stopped:
        file.close()
        raise


def closing_in_a_helper(opened: Open) -> None:
    with closing(opened()) as file:
        _write(file)
        raise Stopped


def closing_in_a_stack(opened: Open) -> None:
    with ExitStack() as stack:
        _write(stack.enter_context(opened()))
        stack.callback(opened("other").close)
        raise Stopped


def closing_in_an_object(opened: Open) -> None:
    class Writer:
        def __init__(self) -> None:
            self.file = opened()

        def __enter__(self) -> Writer:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.write(b"footer")
            self.file.flush()
            self.file.close()

    with Writer() as writer:
        _write(writer.file)
        raise Stopped


def closing_in_a_manager(opened: Open) -> None:
    @contextmanager
    def manager() -> Iterator[Any]:
        file = opened()
        try:
            yield file
        finally:
            file.close()

    with manager() as file:
        _write(file)
        raise Stopped


def opened_in_an_except_block(opened: Open) -> None:
    try:
        raise KeyError
    except KeyError:
        closing_in_finally(opened)


def raising_again_what_was_handled(opened: Open) -> None:
    try:
        raise Stopped
    except Stopped:
        with opened() as file:
            _write(file)
            raise


def opened_in_a_finally_block(opened: Open) -> None:
    try:
        raise KeyError
    finally:
        closing_in_finally(opened)


def opened_in_two_except_blocks(opened: Open) -> None:
    try:
        raise KeyError
    except KeyError:
        try:
            raise ValueError
        except ValueError as inner:
            file = opened()
            try:
                _write(file)
                raise Stopped from inner
            finally:
                file.close()


def a_generator_that_is_closed(opened: Open) -> None:
    def generator() -> Iterator[None]:
        with opened() as file:
            _write(file)
            yield
            file.write(b"never")

    generating = generator()
    next(generating)
    generating.close()
    raise Stopped


def a_generator_that_closes_and_is_closed(opened: Open) -> None:
    def generator() -> Iterator[None]:
        file = opened()
        try:
            _write(file)
            yield
        finally:
            file.close()

    generating = generator()
    next(generating)
    generating.close()
    raise Stopped


def an_interrupt(opened: Open) -> None:
    file = opened()
    try:
        try:
            _write(file)
            raise KeyboardInterrupt
        finally:
            file.close()
    except KeyboardInterrupt:
        raise Stopped from None


def an_exit(opened: Open) -> None:
    try:
        with opened() as file:
            _write(file)
            sys.exit()
    except SystemExit:
        raise Stopped from None


def a_text_layer(opened: Open) -> None:
    with io.TextIOWrapper(opened()) as file:
        file.write("part" * 5000)
        raise Stopped


def a_buffer(opened: Open) -> None:
    with io.BufferedWriter(opened(), 100_000) as file:
        _write(file)
        raise Stopped


def csv_rows(opened: Open) -> None:
    with io.TextIOWrapper(opened(), newline="") as file:
        csv.writer(file).writerows([row] if row < 3 else [][row] for row in range(9))


def a_gzip_file(opened: Open) -> None:
    with opened() as file, gzip.GzipFile(fileobj=file, mode="wb") as packed:
        _write(packed)
        raise Stopped


def a_zip_file(opened: Open) -> None:
    with opened() as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("whole", b"whole")
        with archive.open("part", "w") as member:
            _write(member)
            raise Stopped


def a_tar_stream(opened: Open) -> None:
    with opened() as file, tarfile.open(fileobj=file, mode="w|gz") as archive:
        archive.addfile(tarfile.TarInfo("whole"))
        raise Stopped


def a_shorter_tar(opened: Open) -> None:
    with opened() as file, tarfile.open(fileobj=file, mode="w|") as archive:
        short = tarfile.TarInfo("short")
        short.size = 100
        archive.addfile(short, io.BytesIO(b"too short"))


def pyarrow_parquet(opened: Open) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"a": range(1000)})
    with opened() as file, pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table)
        raise Stopped


def pyarrow_parquet_that_just_closes(opened: Open) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"a": range(1000)})
    writer = pq.ParquetWriter(opened(), table.schema)
    try:
        writer.write_table(table)
        raise Stopped
    finally:
        writer.close()
        writer.where.close()


def pyarrow_csv(opened: Open) -> None:
    import pyarrow as pa
    import pyarrow.csv

    table = pa.table({"a": range(1000)})
    with opened() as file, pyarrow.csv.CSVWriter(file, table.schema) as writer:
        writer.write(table)
        raise Stopped


def pandas_csv(opened: Open) -> None:
    import pandas as pd

    class Bad:
        def __str__(self) -> str:
            raise Stopped

    with opened() as file:
        pd.DataFrame({"a": [*range(1000), Bad()]}).to_csv(file)


def json_lines(opened: Open) -> None:
    import json

    with io.TextIOWrapper(opened()) as file:
        json.dump({"good": 1, "bad": object()}, file)


WAYS: list[Way] = [
    with_block,
    closing_in_finally,
    closing_in_except,
    closing_in_a_helper,
    closing_in_a_stack,
    closing_in_an_object,
    closing_in_a_manager,
    opened_in_an_except_block,
    raising_again_what_was_handled,
    opened_in_a_finally_block,
    opened_in_two_except_blocks,
    a_generator_that_is_closed,
    a_generator_that_closes_and_is_closed,
    an_interrupt,
    an_exit,
    a_text_layer,
    a_buffer,
    csv_rows,
    a_gzip_file,
    a_zip_file,
    a_tar_stream,
    a_shorter_tar,
    pyarrow_parquet,
    pyarrow_parquet_that_just_closes,
    pyarrow_csv,
    pandas_csv,
    json_lines,
]
FAILURES = (Stopped, IndexError, OSError, TypeError)


@pytest.mark.parametrize("mode", ["wb", "long wb", "xb", "ab", "gzip", "store", "long store"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_fails_is_no_version(fs: ArtifactFileSystem, way: Way, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever closes the file, and however it was opened; by the filesystem, and by the store's own `open`."""
    if mode.startswith("long"):
        mode = mode.removeprefix("long ")
        monkeypatch.setattr(sys.modules[__name__], "PIECES", [b"part", LONG, b"and"])  # so that an upload is under way
    if mode == "ab":
        fs.pipe(X, b"before")

    def opened(name: str = "x") -> Any:
        if mode == "store":
            return fs.store.scope("shop", "alice", "s1").open(name, "wb")
        if mode == "gzip":
            return fs.open(f"{S}/{name}", "wb", compression="gzip")
        return fs.open(f"{S}/{name}", mode)

    with pytest.raises(FAILURES):
        way(opened)
    assert versions(fs) == ([0] if mode == "ab" else []) and versions(fs, "other") == [] and begun(fs) == []
    with opened() as file:
        file.write(b"whole")
    assert len(versions(fs)) == (2 if mode == "ab" else 1) and versions(fs)[0] <= 1


def test_a_writer_that_publishes_whenever_it_is_closed_would_be_caught(
    fs: ArtifactFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    from artifactfs.passing import Passing

    monkeypatch.setattr(Passing, "now", lambda _: False)
    with pytest.raises(AssertionError):
        test_what_fails_is_no_version(fs, closing_in_finally, "wb", monkeypatch)


@pytest.mark.parametrize("library", ["parquet", "feather", "csv", "pickle"])
def test_pandas_leaves_nothing_when_it_fails(fs: ArtifactFileSystem, library: str) -> None:
    """It opens the file by its URL, and closes it while the exception is on its way."""
    import pandas as pd

    class Bad:
        def __str__(self) -> str:
            raise Stopped

        def __reduce__(self) -> Any:
            raise Stopped

    frame = pd.DataFrame({"good": range(1001), "bad": [*range(1000), Bad()]})
    with pytest.raises(Exception):  # noqa: B017  (each its own)
        getattr(frame, f"to_{library}")(f"artifact://{X}", storage_options={"root": fs.store.url})
    ArtifactFileSystem.clear_instance_cache()
    gc.collect()
    assert versions(fs) == [] and begun(fs) == []


@pytest.mark.parametrize("mode", ["wb", "ab", "xb"])
def test_an_exception_of_another_thread_is_none_of_ours(fs: ArtifactFileSystem, mode: str) -> None:
    raised, end = threading.Event(), threading.Event()

    def handling() -> None:
        try:
            raise Stopped
        except Stopped:
            raised.set()
            end.wait(60)

    thread = threading.Thread(target=handling)
    file = fs.open(X, mode)
    thread.start()
    raised.wait(60)
    file.write(b"whole")
    file.close()
    end.set()
    thread.join()
    assert fs.cat(X) == b"whole"


def test_a_writer_may_be_closed_by_another_thread(fs: ArtifactFileSystem) -> None:
    """The exception that the first one handles is not on its way there."""
    try:
        raise Stopped
    except Stopped:
        file = fs.open(X, "wb")
        file.write(b"whole")
        thread = threading.Thread(target=file.close)
        thread.start()
        thread.join()
    assert fs.cat(X) == b"whole"


def test_what_was_handled_and_is_over_does_not_discard(fs: ArtifactFileSystem) -> None:
    """Opened and closed in blocks of all kinds, and each version is there."""

    def in_except() -> None:
        try:
            raise Stopped
        except Stopped:
            with fs.open(X, "wb") as file:
                file.write(b"0")

    def after_except() -> None:
        try:
            raise Stopped
        except Stopped:
            file = fs.open(X, "wb")
        file.write(b"1")
        file.close()

    def handled_within() -> None:
        with fs.open(X, "wb") as file:
            with suppress(Stopped):
                raise Stopped
            try:
                raise Stopped
            except Stopped:
                file.write(b"2")

    def in_finally_of_nothing() -> None:
        file = fs.open(X, "wb")
        try:
            file.write(b"3")
        finally:
            file.close()

    def in_a_generator() -> None:
        def generator() -> Iterator[None]:
            with fs.open(X, "wb") as file:
                yield
                file.write(b"4")

        try:
            raise Stopped
        except Stopped:
            for _ in generator():
                pass

    def handled_in_both() -> None:
        try:
            raise Stopped
        except Stopped:
            with fs.open(X, "wb") as file:
                try:
                    raise KeyError
                except KeyError:
                    file.write(b"5")

    def deep_in_handlers() -> None:
        def inner() -> None:
            with fs.open(X, "w") as file:
                file.write("6")

        try:
            raise KeyError
        except KeyError:
            try:
                raise Stopped
            except Stopped:
                inner()

    for write in (
        in_except,
        after_except,
        handled_within,
        in_finally_of_nothing,
        in_a_generator,
        handled_in_both,
        deep_in_handlers,
    ):
        write()
    scope = fs.store.scope("shop", "alice", "s1")
    assert [scope.load("x", number).data for number in scope.versions("x")] == [b"%d" % number for number in range(7)]


@pytest.mark.parametrize("mode", ["wb", "xb", "ab", "w", "gzip", "text over gzip", "buffer"])
def test_what_nobody_closes_is_discarded_with_a_warning(fs: ArtifactFileSystem, mode: str) -> None:
    def forget() -> None:
        if mode in {"gzip", "text over gzip"}:
            file = fs.open(X, "wt" if "text" in mode else "wb", compression="gzip")
        elif mode == "buffer":
            file = io.BufferedWriter(fs.open(X, "wb"))
        else:
            file = fs.open(X, mode)
        file.write("part" * WHOLE_LIMIT if mode in {"w", "text over gzip"} else LONG)

    with pytest.warns(ResourceWarning, match="discarded"):  # noqa: PT031
        forget()
        gc.collect()
    assert versions(fs) == [] and begun(fs) == []


# memory

MEMORY = """
import gzip, io, os, resource, sys
from artifactfs.filesystem import ArtifactFileSystem

root, way, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
fs = ArtifactFileSystem(root, durability="none")
path = "shop/alice/s1/long"
piece = os.urandom(1 << 20)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def write(name, pieces):
    if way == "text":
        text = piece.hex()[: 1 << 20]
        with io.TextIOWrapper(fs.open(name, "wb"), encoding="ascii") as file:
            for _ in range(pieces):
                file.write(text)
    elif way == "gzip":
        with fs.open(name, "wb") as target, gzip.GzipFile(fileobj=target, mode="wb", compresslevel=0) as file:
            for _ in range(pieces):
                file.write(piece)
    elif way == "compression":
        with fs.open(name, "wb", compression="gzip") as file:
            for _ in range((pieces + 7) // 8):  # it packs hard, and slowly
                file.write(piece)
    elif way == "copy":
        fs.cp_file(f"{path}.source", name)
    elif way == "put":
        fs.put_file(root + ".local", name)
    elif way == "get":
        fs.get_file(f"{path}.source", root + ".out")
    elif way == "transaction":
        with fs.transaction, fs.open(name, "wb") as file:
            for _ in range(pieces):
                file.write(piece)
    else:
        with fs.open(name, way) as file:
            for _ in range(pieces):
                file.write(piece)

with open(root + ".local", "wb") as file:
    file.write(piece)
fs.put_file(root + ".local", f"{path}.source")
write(path, 1)
if way == "ab":
    write(path, 1)
with open(root + ".local", "ab") as file:
    for _ in range(size - 1):
        file.write(piece)
if way in ("copy", "get"):
    fs.put_file(root + ".local", f"{path}.source")
before = peak()
write(path, size)
if way == "ab":
    write(path, 1)
print(peak() - before)
"""

MB = 1 << 20


def grown(tmp_path: Path, way: str, size: int) -> int:
    script = tmp_path / "memory.py"
    script.write_text(MEMORY)
    ended = subprocess.run(
        [sys.executable, script, tmp_path / "store", way, str(size)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


@pytest.mark.parametrize("way", ["wb", "text", "compression", "ab", "copy", "put", "get", "transaction"])
def test_a_stream_needs_little_memory(tmp_path: Path, way: str) -> None:
    assert grown(tmp_path, way, 128) < 48 * MB


@pytest.mark.deep
@pytest.mark.parametrize("way", ["wb", "text", "gzip", "ab", "copy", "put", "get", "transaction"])
def test_a_long_stream_needs_as_little(tmp_path: Path, way: str) -> None:
    assert grown(tmp_path, way, 512) < 48 * MB


# processes

RACERS = """
import json, sys, time
from artifactfs.filesystem import ArtifactFileSystem

(url, options), what, who, turns = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
fs = ArtifactFileSystem(url, **options)
fs.exists("shop/alice/s1/x")
print("ready", flush=True)
sys.stdin.readline()
won = 0
for turn in range(turns):
    line = f"{who}.{turn};"
    if what == "append":
        with fs.open("shop/alice/s1/x", "ab") as file:
            file.write(line.encode())
    elif what == "append packed":
        with fs.open("shop/alice/s1/x", "at", compression="gzip") as file:
            file.write(line)
    else:
        try:
            with fs.open(f"shop/alice/s1/x{turn}", "xb") as file:
                file.write(line.encode())
            won += 1
        except FileExistsError:
            pass
print(won)
"""


def race(where: tuple[str, dict[str, Any]], what: str, tmp_path: Path, turns: int) -> list[int]:
    """Eight processes that begin together."""
    import json

    script = tmp_path / "racer.py"
    script.write_text(RACERS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    racers = [
        subprocess.Popen(
            [sys.executable, script, json.dumps(where), what, str(who), str(turns)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(8)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [racer.communicate(timeout=200)[0] for racer in racers]
        assert [racer.returncode for racer in racers] == [0] * 8
        return [int(text) for text in won]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
            for stream in (racer.stdin, racer.stdout):
                if stream is not None:
                    stream.close()


DEEP = pytest.param("moto", marks=[pytest.mark.server("moto"), pytest.mark.deep])


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    if request.param == "local":
        return str(tmp_path / "store"), {"durability": "none"}
    server: Server = request.getfixturevalue("moto")
    return server.bucket(), server.storage_options


@pytest.mark.parametrize(
    ("shared", "what"),
    [("local", "append"), ("local", "append packed"), pytest.param("moto", "append", marks=pytest.mark.server("moto"))],
    indirect=["shared"],
)
def test_eight_processes_that_append_lose_nothing(shared: Any, what: str, tmp_path: Path) -> None:
    turns = 2 if shared[0].startswith("s3:") else 5
    race(shared, what, tmp_path, turns)
    fs = ArtifactFileSystem(shared[0], skip_instance_cache=True, **shared[1])
    data = fs.cat_file(X)
    words = (gzip.decompress(data) if "packed" in what else data).decode().split(";")[:-1]
    assert sorted(words) == sorted(f"{who}.{turn}" for who in range(8) for turn in range(turns))
    assert len(versions(fs)) == 8 * turns


@pytest.mark.parametrize("shared", ["local", DEEP], indirect=True)
def test_of_eight_processes_that_create_one_wins(shared: Any, tmp_path: Path) -> None:
    turns = 3 if shared[0].startswith("s3:") else 10
    assert sum(race(shared, "create", tmp_path, turns)) == turns
    fs = ArtifactFileSystem(shared[0], skip_instance_cache=True, **shared[1])
    for turn in range(turns):
        assert versions(fs, f"x{turn}") == [0] and fs.cat_file(f"{X}{turn}").endswith(f".{turn};".encode())


# removing, touching, signing


def test_a_tool_that_removes_before_it_writes_leaves_the_history_whole(fs: ArtifactFileSystem) -> None:
    for turn in range(3):
        if fs.exists(f"{S}/tree"):
            fs.rm(f"{S}/tree", recursive=True)
        assert not fs.exists(f"{S}/tree")
        fs.mkdirs(f"{S}/tree", exist_ok=True)
        for name in ("meta", "chunks/0"):
            with fs.open(f"{S}/tree/{name}", "xb") as file:
                file.write(b"%d" % turn)
    scope = fs.store.scope("shop", "alice", "s1")
    assert [scope.load("tree/chunks/0", number).data for number in scope.versions("tree/chunks/0")] == [
        b"0",
        b"1",
        b"2",
    ]
    assert fs.cat(f"{S}/tree/meta@-3") == b"0"


def test_touch_empties_or_saves_again(fs: ArtifactFileSystem) -> None:
    fs.pipe_file(X, b"data", mime_type="text/x", metadata={"k": 1})
    fs.touch(X, truncate=False)
    assert fs.cat(X) == b"data" and versions(fs) == [0, 1]
    assert fs.info(X)["mime_type"] == "text/x" and fs.info(X)["record"].metadata == {"k": 1}
    assert fs.modified(X) >= fs.modified(f"{X}@0") and fs.checksum(X) == fs.checksum(f"{X}@0")
    fs.touch(X)
    fs.touch(f"{S}/new", truncate=False)
    assert fs.cat(X) == b"" == fs.cat(f"{S}/new") and fs.cat(f"{X}@0") == b"data"


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.server(name)) for name in ("moto", "minio")])
def test_a_signed_url_gives_one_versions_bytes_to_anyone_for_a_while(request: pytest.FixtureRequest, name: str) -> None:
    server: Server = request.getfixturevalue(name)
    fs = ArtifactFileSystem(server.bucket(), skip_instance_cache=True, **server.storage_options)
    fs.pipe_file(X, b"first", mime_type="text/plain")
    fs.pipe(X, b"second")
    assert all(text not in fs.sign(X) for text in (server.secret, "second"))

    def get(url: str) -> tuple[bytes, str]:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read(), answer.headers["Content-Type"]

    newest, pinned = fs.sign(X), fs.sign(f"{S}/@0/x", expiration=60)
    assert get(newest)[0] == b"second" and get(pinned) == (b"first", "text/plain")
    fs.pipe(X, b"third")
    assert get(newest)[0] == b"second"
    assert "Expires=60" in pinned
    if name == "minio":  # the other one does not look at signatures
        for other in (
            pinned.replace("/x/0", "/x/1"),
            pinned.replace("Expires=60", "Expires=600"),
            pinned.partition("?")[0],
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(other)
            assert refused.value.code == 403
            refused.value.close()
    for missing in (f"{X}@7", f"{S}/none"):
        with pytest.raises(FileNotFoundError):
            fs.sign(missing)
    with pytest.raises(IsADirectoryError):
        fs.sign(S)


def test_a_store_that_cannot_sign_says_so(fs: ArtifactFileSystem) -> None:
    fs.pipe(X, b"1")
    with pytest.raises(OSError, match=r"URL|sign"):
        fs.sign(X)
    with pytest.raises(FileNotFoundError):
        fs.sign(f"{S}/none")


def test_the_same_bytes_have_the_same_checksum_and_key(fs: ArtifactFileSystem) -> None:
    fs.pipe({X: b"same", f"{S}/y": b"same", f"{S}/z": b"other"})
    assert fs.checksum(X) == fs.checksum(f"{S}/y") != fs.checksum(f"{S}/z")
    assert fs.ukey(X) == fs.ukey(f"{X}@0") == fs.ukey(f"{S}/y") != fs.ukey(f"{S}/z")


# files that go in and out


def altered(tmp_path: Path, data: bytes = b"genuine") -> ArtifactFileSystem:
    """A store in which somebody changed the bytes of ``x``, keeping their number."""
    fs = ArtifactFileSystem(str(tmp_path / "store"), skip_instance_cache=True, durability="none")
    fs.pipe(X, data)
    payload = tmp_path / "store" / S / "x" / "0"
    payload.chmod(0o644)
    payload.write_bytes(b"X" + data[1:])
    return fs


@pytest.mark.parametrize("data", [b"genuine", LONG], ids=["short", "long"])
def test_an_altered_payload_becomes_no_file_and_no_version(tmp_path: Path, data: bytes) -> None:
    fs = altered(tmp_path, data)
    there = tmp_path / "there"
    there.mkdir()
    for get in (
        lambda: fs.get_file(X, there / "file"),
        lambda: fs.get(X, str(there / "file")),
        lambda: fs.get(f"{S}/", str(there), recursive=True),
        lambda: fs.cp_file(X, f"{S}/copy"),
        lambda: fs.copy(X, f"{S}/copy"),
        lambda: fs.mv(X, f"{S}/copy"),
        lambda: fs.touch(X, truncate=False),
        lambda: fs.cat_file(X),
        lambda: fs.cat([X]),
    ):
        with pytest.raises(IntegrityError, match="does not match its record"):
            get()
        assert list(there.iterdir()) == [] and fs.find(S) == [X] and versions(fs) == [0] and begun(fs) == []
    (there / "file").write_bytes(b"mine")
    with pytest.raises(IntegrityError):
        fs.get_file(X, there / "file")
    assert [(one.name, one.read_bytes()) for one in there.iterdir()] == [("file", b"mine")]


def test_a_get_that_fails_in_the_middle_leaves_no_file(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    fs.pipe(X, LONG)
    scope, inner = fs.store.scope("shop", "alice", "s1"), fs.store.backend

    class Deleting(Counting):
        async def get(self, key: str, start: int = 0, end: int | None = None) -> Any:
            if start:
                fs.store._core.backend = inner
                threading.Thread(target=scope.delete, args=("x",)).run()
            return await inner.get(key, start, end)

    fs.store._core.backend = Deleting(inner)
    with pytest.raises(FileNotFoundError):
        fs.get_file(X, tmp_path / "there" / "file")
    assert list((tmp_path / "there").iterdir()) == []


def test_what_is_no_plain_file_is_written_through(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    fs.pipe(X, b"data")
    (tmp_path / "goal").write_bytes(b"old")
    (tmp_path / "link").symlink_to("goal")
    fs.get_file(X, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "goal").read_bytes() == b"data"
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    fs.get_file(X, str(tmp_path / "pipe"))
    reader.join()
    assert got == [b"data"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    held = io.BytesIO()
    fs.get_file(X, held)
    assert held.getvalue() == b"data"


@pytest.mark.parametrize("change", ["shrinks", "grows", "vanishes", "is replaced"])
def test_a_local_file_that_changes_while_it_is_put_makes_a_whole_version_or_none(
    fs: ArtifactFileSystem, tmp_path: Path, change: str
) -> None:
    """What was read is what is there, with its own size and digest."""
    local = tmp_path / "local"
    local.write_bytes(LONG * 2)
    inner = fs.store.backend

    class Changing(Counting):
        async def upload(self, *args: Any) -> Any:
            if change == "shrinks":
                os.truncate(local, 10)
            elif change == "grows":
                with local.open("ab") as file:
                    file.write(LONG)
            else:
                local.unlink()
                if change == "is replaced":
                    local.write_bytes(b"else")
            return await inner.upload(*args)

    fs.store._core.backend = Changing(inner)
    with suppress(OSError):
        fs.put_file(local, X)
    fs.store._core.backend = inner
    if versions(fs):
        data = fs.cat_file(X)  # checked against its digest
        assert data and (LONG * 3).startswith(data) and fs.info(X)["size"] == len(data)
    assert begun(fs) == []
    with pytest.raises(FileNotFoundError):
        fs.put_file(tmp_path / "none", f"{S}/none")
    assert versions(fs, "none") == []


def test_a_file_is_kept_although_the_error_that_was_handled_before_is_raised_and_caught_again(
    fs: ArtifactFileSystem,
) -> None:
    try:
        raise KeyError("handled")
    except KeyError as error:
        with fs.open(f"{S}/kept", "w") as file:
            file.write("whole")
            try:
                raise error
            except KeyError:
                pass
    assert fs.cat(f"{S}/kept") == b"whole"
