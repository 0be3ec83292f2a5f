"""`artifact://` on event loops, in threads, and in other processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.asyn import get_loop

from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.drivers import call
from artifactfs.errors import ArtifactError
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.testing.counting import Counting

S = "shop/alice/s1"
_fresh = itertools.count()

Where = tuple[str, dict[str, Any]]


def _where(name: str, request: pytest.FixtureRequest) -> Where:
    if name == "memory":
        return f"memory://asynchronous-{next(_fresh)}", {}
    if name == "local":
        return str(request.getfixturevalue("tmp_path") / "store"), {"durability": "none"}
    server = request.getfixturevalue("moto")
    return server.bucket(), server.storage_options


def _params(*names: str) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.server("moto")] if name == "moto" else []) for name in names]


@pytest.fixture(params=_params("memory", "local", "moto"))
def where(request: pytest.FixtureRequest) -> Where:
    return _where(request.param, request)


@pytest.fixture(params=_params("local", "moto"))
def shared(request: pytest.FixtureRequest) -> Where:
    """A store that other processes see, too."""
    return _where(request.param, request)


def made(where: Where, **options: Any) -> ArtifactFileSystem:
    url, rest = where
    return ArtifactFileSystem(url, skip_instance_cache=True, **rest, **options)


def versions(fs: ArtifactFileSystem, name: str) -> dict[int, bytes]:
    scope = fs.store.scope("shop", "alice", "s1")
    try:
        return {number: scope.load(name, number).data for number in scope.versions(name)}
    except FileNotFoundError:
        return {}


# the caller's own event loop


def test_every_coroutine_runs_on_the_callers_loop(where: Where, tmp_path: Path) -> None:
    fs = made(where, asynchronous=True)

    async def work() -> None:
        await fs._pipe_file(f"{S}/a.txt", b"first")
        await fs._pipe_file(f"{S}/a.txt", b"second")
        await fs._pipe({f"{S}/reports/q1.csv": b"q1", f"{S}/reports/2026/q2.csv": b"q2"})
        assert await fs._cat_file(f"{S}/a.txt@0") == b"first"
        assert await fs._cat_file(f"{S}/a.txt", 1, -1) == b"econ"
        assert await fs._cat([f"{S}/a.txt", f"{S}/a.txt@0"]) == {f"{S}/a.txt": b"second", f"{S}/a.txt@0": b"first"}
        assert await fs._cat_ranges([f"{S}/a.txt", f"{S}/a.txt@0"], [0, 1], [2, 3]) == [b"se", b"ir"]
        assert await fs._cat_ranges([f"{S}/a.txt"] * 3, 1, 3) == [b"ec"] * 3
        assert await fs._ls(S, detail=False) == [f"{S}/a.txt", f"{S}/reports"]
        assert [(one["name"], one["size"]) for one in await fs._ls(S)] == [(f"{S}/reports", 0), (f"{S}/a.txt", 6)]
        info = await fs._info(f"{S}/a.txt")
        assert (info["version"], info["size"], info["type"]) == (1, 6, "file")
        files = [f"{S}/a.txt", f"{S}/reports/2026/q2.csv", f"{S}/reports/q1.csv"]
        assert await fs._find(S) == files and list(await fs._find(S, detail=True)) == files
        assert await fs._glob(f"{S}/**/*.csv") == files[1:]
        assert (await fs._glob(f"{S}/*.txt", detail=True))[files[0]]["size"] == 6
        assert [level async for level in fs._walk(S)] == [
            (S, ["reports"], ["a.txt"]),
            (f"{S}/reports", ["2026"], ["q1.csv"]),
            (f"{S}/reports/2026", [], ["q2.csv"]),
        ]
        assert await fs._exists(files[0]) and not await fs._exists(f"{S}/none")
        assert await fs._isfile(files[0]) and not await fs._isfile(S)
        assert await fs._isdir(S) and not await fs._isdir(files[0])
        assert await fs._du(S) == 10 and (await fs._du(S, total=False))[files[0]] == 6
        assert await fs._created(f"{S}/a.txt@0") <= await fs._modified(f"{S}/a.txt")

        local = tmp_path / "in.txt"
        local.write_bytes(b"local")
        await fs._put_file(local, f"{S}/put/one")
        await fs._put([str(local)], [f"{S}/put/two"])
        await fs._get_file(f"{S}/put/one", str(tmp_path / "out"))
        await fs._get(f"{S}/reports", str(tmp_path / "folder"), recursive=True)
        assert (tmp_path / "out").read_bytes() == b"local" == await fs._cat_file(f"{S}/put/two")
        assert (tmp_path / "folder" / "2026" / "q2.csv").read_bytes() == b"q2"
        await fs._cp_file(f"{S}/a.txt@0", f"{S}/copy.txt")
        await fs._copy(f"{S}/reports", f"{S}/copied", recursive=True)
        assert await fs._cat_file(f"{S}/copy.txt") == b"first" and len(await fs._find(f"{S}/copied")) == 2
        await fs._mv(f"{S}/copied", f"{S}/moved", recursive=True)
        assert not await fs._exists(f"{S}/copied") and len(await fs._find(f"{S}/moved")) == 2
        await fs._rm_file(f"{S}/copy.txt")
        await fs._rm([f"{S}/put/one", f"{S}/put/two"])
        await fs._rm(f"{S}/moved", recursive=True)
        assert await fs._find(S) == files and await fs._cat_file(f"{S}/copy.txt@0") == b"first"

        async with await fs.open_async(f"{S}/open", "wb") as writer:
            await writer.write(b"0123456789")
        async with await fs.open_async(f"{S}/open") as reader:
            reader.seek(4)
            assert await reader.read(3) == b"456" and await reader.read() == b"789"
        with pytest.raises(RuntimeError):
            async with await fs.open_async(f"{S}/open", "wb") as writer:
                await writer.write(b"part")
                raise RuntimeError
        assert (await fs._info(f"{S}/open"))["version"] == 0
        for wrong, error in ((f"{S}/none", FileNotFoundError), (S, IsADirectoryError), (f"{S}/a.txt@01", ValueError)):
            with pytest.raises(error):
                await fs._cat_file(wrong)
            with pytest.raises(error):
                await fs.open_async(wrong)

    asyncio.run(work())


def test_hundreds_of_coroutines_share_one_loop(where: Where) -> None:
    fs = made(where, asynchronous=True)
    many, saves = (8, 3) if where[0].startswith("s3:") else (200, 20)

    async def work() -> None:
        names = [f"{S}/many/{number:03}" for number in range(many)]
        await asyncio.gather(
            *(fs._pipe_file(name, name.encode()) for name in names),
            *(fs._pipe_file(f"{S}/one", b"%d" % turn) for turn in range(saves)),
        )
        answers = await asyncio.gather(
            *(fs._cat_file(name) for name in names),
            *(fs._cat_file(name, 2, -2) for name in names),
            *(fs._info(name) for name in names),
            *(fs._cat_ranges([name], 0, 4) for name in names),
            *(fs._exists(name) for name in names),
            fs._find(f"{S}/many"),
        )
        whole = [name.encode() for name in names]
        assert answers[:many] == whole and answers[many : 2 * many] == [name[2:-2] for name in whole]
        assert [info["name"] for info in answers[2 * many : 3 * many]] == names
        assert answers[3 * many : 4 * many] == [[b"shop"]] * many
        assert all(answers[4 * many : 5 * many]) and answers[-1] == names

    asyncio.run(work())
    assert sorted(map(int, versions(fs, "one").values())) == list(range(saves))


def test_one_loop_after_the_other(where: Where) -> None:
    fs = made(where, asynchronous=True)
    for turn in range(3):
        asyncio.run(fs._pipe_file(f"{S}/x", b"%d" % turn))
        assert asyncio.run(fs._cat_file(f"{S}/x")) == b"%d" % turn
    assert versions(fs, "x") == {0: b"0", 1: b"1", 2: b"2"}


def test_two_loops_at_the_same_time(where: Where) -> None:
    fs = made(where, asynchronous=True)

    async def work(who: int) -> list[bytes]:
        for turn in range(5):
            await fs._pipe_file(f"{S}/x", b"%d.%d" % (who, turn))
        await fs._pipe_file(f"{S}/{who}", b"%d" % who)
        return await asyncio.gather(*(fs._cat_file(f"{S}/{who}") for _ in range(10)))

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda who: asyncio.run(work(who)), range(3)))
    assert answers == [[b"%d" % who] * 10 for who in range(3)]
    assert sorted(versions(fs, "x").values()) == [b"%d.%d" % (who, turn) for who in range(3) for turn in range(5)]


class Handshake(Counting):
    """A backend each of whose calls waits until the event loop has done something for it: a loop that is blocked cannot."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop, placement: str) -> None:
        super().__init__(inner)
        self.loop, self.placement = loop, placement

    def __getattr__(self, name: str) -> Any:
        counted = super().__getattr__(name)
        if not callable(counted):
            return counted

        async def checked(*args: Any, **kwargs: Any) -> Any:
            if asyncio._get_running_loop() is self.loop:
                raise AssertionError("the loop is blocked")
            answered = threading.Event()
            self.loop.call_soon_threadsafe(answered.set)
            assert answered.wait(60)
            return await counted(*args, **kwargs)

        return checked


async def _use_a_disk(fs: ArtifactFileSystem, placement: str, local: Path) -> None:
    fs.store._core.backend = Handshake(fs.store.backend, asyncio.get_running_loop(), placement)
    local.write_bytes(b"local")
    await fs._pipe_file(f"{S}/x", b"1")
    await fs._put_file(local, f"{S}/y")
    await fs._cp_file(f"{S}/x", f"{S}/z")
    await fs._get_file(f"{S}/x", local.with_name("out"))
    assert await fs._cat([f"{S}/x", f"{S}/y"]) == {f"{S}/x": b"1", f"{S}/y": b"local"}
    assert await fs._cat_ranges([f"{S}/y"] * 2, [0, 1], [1, 2]) == [b"l", b"o"]
    assert len(await fs._find(S, detail=True)) == len(await fs._glob(f"{S}/*")) == 3
    assert [level async for level in fs._walk(S)] and await fs._du(S) == 7
    async with await fs.open_async(f"{S}/long", "wb") as writer:
        await writer.write(b"x" * (WHOLE_LIMIT + 1))
    await fs._mv(f"{S}/z", f"{S}/moved")
    await fs._rm(f"{S}/x")


def test_a_disk_never_blocks_the_loop(tmp_path: Path) -> None:
    fs = made((str(tmp_path / "store"), {"durability": "none"}), asynchronous=True)
    asyncio.run(_use_a_disk(fs, "thread", tmp_path / "in"))


def test_a_disk_that_blocks_the_loop_would_be_caught(tmp_path: Path) -> None:
    """The control: its calls run where the caller is."""
    fs = made((str(tmp_path / "store"), {"durability": "none"}), asynchronous=True)
    with pytest.raises(AssertionError, match="blocked"):
        asyncio.run(_use_a_disk(fs, "inline", tmp_path / "in"))


# cancellation


class Halting(Counting):
    """A backend that tells the loop of its n-th call, which then waits until the loop has cancelled its caller."""

    def __init__(self, inner: Any, halt_at: int) -> None:
        super().__init__(inner)
        self.halt_at, self.turn = halt_at, 0
        self.halted, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        counted = super().__getattr__(name)
        if not callable(counted):
            return counted

        async def halting(*args: Any, **kwargs: Any) -> Any:
            turn, self.turn = self.turn, self.turn + 1
            if turn == self.halt_at:
                self.halted.set()
                await asyncio.to_thread(self.go_on.wait, 60) if self.inner.placement == "loop" else self.go_on.wait(60)
            return await counted(*args, **kwargs)

        return halting


async def _cancelled_at(backend: Halting, work: Coroutine[Any, Any, Any]) -> bool:
    """Run *work*, cancelled during that call of the backend; whether it came so far."""
    task = asyncio.create_task(work)
    while not backend.halted.is_set() and not task.done():
        await asyncio.sleep(0)
    backend.go_on.set() if task.done() else asyncio.get_running_loop().call_soon(backend.go_on.set)
    task.cancel()
    await asyncio.wait([task])
    return backend.halted.is_set()


LONG = b"long" * (WHOLE_LIMIT // 4 + 1)


@pytest.mark.parametrize("where", _params("local", "moto"), indirect=True)
@pytest.mark.parametrize("size", [3, len(LONG)], ids=["short", "long"])
@pytest.mark.parametrize("how", ["pipe", "put", "copy", "open"])
def test_a_cancelled_task_leaves_a_whole_version_or_none(where: Where, how: str, size: int, tmp_path: Path) -> None:
    """Cancelled during each call of the store in turn."""
    data = LONG[:size]
    fs = made(where, asynchronous=True)
    inner = fs.store.backend
    (tmp_path / "local").write_bytes(data)
    fs.store.scope("shop", "alice", "s1").save("source", data)

    async def save() -> None:
        if how == "pipe":
            await fs._pipe_file(f"{S}/x", data)
        elif how == "put":
            await fs._put_file(tmp_path / "local", f"{S}/x")
        elif how == "copy":
            await fs._cp_file(f"{S}/source", f"{S}/x")
        else:
            async with await fs.open_async(f"{S}/x", "wb") as file:
                await file.write(data)

    # Of a long one some of the calls: each costs its bytes.
    for halt_at in itertools.count() if size == 3 else (0, 2, 3, 5):
        backend = fs.store._core.backend = Halting(inner, halt_at)
        came = asyncio.run(_cancelled_at(backend, save()))
        fs.store._core.backend = inner
        assert set(versions(fs, "x").values()) <= {data}
        assert not call(inner, lambda: inner.unfinished(""))
        if not came:
            break
        assert halt_at < 30
    asyncio.run(fs._pipe_file(f"{S}/x", b"after"))
    assert asyncio.run(fs._cat_file(f"{S}/x")) == b"after"


def test_a_cancelled_get_leaves_no_file(tmp_path: Path) -> None:
    fs = made((str(tmp_path / "store"), {"durability": "none"}), asynchronous=True)
    asyncio.run(fs._pipe_file(f"{S}/x", LONG))
    inner = fs.store.backend
    goal = tmp_path / "out" / "x"
    for halt_at in range(32):
        backend = fs.store._core.backend = Halting(inner, halt_at)
        came = asyncio.run(_cancelled_at(backend, fs._get_file(f"{S}/x", goal)))
        assert [one.name for one in goal.parent.glob("*")] == ([] if came else ["x"])
        if not came:
            break
    assert goal.read_bytes() == LONG


# blocking calls from where they are awkward


BLOCKING: dict[str, Callable[[ArtifactFileSystem], Any]] = {
    "cat_file": lambda fs: fs.cat_file(f"{S}/x"),
    "cat": lambda fs: fs.cat([f"{S}/x"]),
    "cat_ranges": lambda fs: fs.cat_ranges([f"{S}/x"], 0, 1),
    "info": lambda fs: fs.info(f"{S}/x"),
    "ls": lambda fs: fs.ls(S),
    "find": lambda fs: fs.find(S, detail=True),
    "walk": lambda fs: list(fs.walk(S)),
    "glob": lambda fs: fs.glob(f"{S}/*"),
    "exists": lambda fs: fs.exists(f"{S}/x"),
    "isfile": lambda fs: fs.isfile(f"{S}/x"),
    "isdir": lambda fs: fs.isdir(S),
    "du": lambda fs: fs.du(S),
    "ukey": lambda fs: fs.ukey(f"{S}/x"),
    "read": lambda fs: fs.open(f"{S}/x").read(),
    "pipe_file": lambda fs: fs.pipe_file(f"{S}/y", b"1"),
    "pipe": lambda fs: fs.pipe({f"{S}/y": b"1"}),
    "touch": lambda fs: fs.touch(f"{S}/y"),
    "write": lambda fs: fs.open(f"{S}/y", "wb").close(),
    "append": lambda fs: fs.open(f"{S}/y", "ab").close(),
    "cp_file": lambda fs: fs.cp_file(f"{S}/x", f"{S}/y"),
    "copy": lambda fs: fs.copy(f"{S}/x", f"{S}/y"),
    "mv": lambda fs: (fs.pipe_file(f"{S}/z", b"1"), fs.mv(f"{S}/z", f"{S}/y")),
    "rm_file": lambda fs: (fs.pipe_file(f"{S}/z", b"1"), fs.rm_file(f"{S}/z")),
    "rm": lambda fs: (fs.pipe_file(f"{S}/z", b"1"), fs.rm(f"{S}/z")),
}


def test_blocking_calls_work_while_the_callers_thread_runs_a_loop(where: Where) -> None:
    fs = made(where)
    fs.pipe(f"{S}/x", b"1")

    async def work() -> None:
        for use in BLOCKING.values():
            use(fs)

    asyncio.run(work())
    assert fs.cat(f"{S}/x") == b"1"


def test_blocking_calls_on_fsspecs_own_loop_work_or_say_that_they_cannot(where: Where) -> None:
    """Another filesystem's callback may call us there; waiting for that loop would be for ever."""
    fs = made(where)
    fs.pipe(f"{S}/x", b"1")

    async def work(use: Callable[[ArtifactFileSystem], Any]) -> str:
        try:
            use(fs)
        except RuntimeError as error:
            return str(error)
        return "done"

    for name, use in BLOCKING.items():
        said = asyncio.run_coroutine_threadsafe(work(use), get_loop()).result(60)
        assert said == "done" or "loop" in said, name
    assert fs.cat(f"{S}/x") == b"1"


def test_threads_share_an_instance(where: Where) -> None:
    fs = made(where)
    turns = 0 if where[0].startswith("s3:") else 5  # on a small server it is slow enough with the first lines alone
    fs.touch(f"{S}/first/one")  # what the store can do is found out here, and not by 32 at once
    start = threading.Barrier(32)

    def work(who: int) -> None:
        start.wait()
        fs.pipe_file(f"{S}/first/{who}", b"%d" % who)
        assert fs.cat_file(f"{S}/first/{who}") == b"%d" % who
        for turn in range(turns):
            mine = f"{S}/{who}/{turn}"
            fs.pipe({mine: b"%d" % who, f"{mine}.copy": b""})
            fs.cp_file(mine, f"{mine}.copy")
            assert fs.cat([mine, f"{mine}.copy"]) == dict.fromkeys((mine, f"{mine}.copy"), b"%d" % who)
            with fs.open(mine) as file:
                assert file.read() == b"%d" % who
            fs.rm(f"{mine}.copy")
            assert fs.find(f"{S}/{who}") == [f"{S}/{who}/{past}" for past in range(turn + 1)]

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert len(fs.find(S)) == 32 * (turns + 1) + 1


# instances


def test_instances_are_cached_by_their_options(tmp_path: Path) -> None:
    url = str(tmp_path)
    try:
        same = [ArtifactFileSystem(url), fsspec.filesystem("artifact", root=url)]
        others = [
            ArtifactFileSystem(url, asynchronous=True),
            ArtifactFileSystem(url, read_only=True),
            ArtifactFileSystem(f"{url}/other"),
            fsspec.url_to_fs(f"artifact://{S}/x::file://{url}")[0],
        ]
        assert ArtifactFileSystem(url) is same[0] and fsspec.filesystem("artifact", root=url) is same[1]
        assert len({id(one) for one in [*others, same[0]]}) == 5 and len(set(others)) == 4
        assert fsspec.url_to_fs(f"artifact://{S}/y::file://{url}")[0] is others[3]
        assert ArtifactFileSystem(url, asynchronous=True) is others[0]
    finally:
        ArtifactFileSystem.clear_instance_cache()


@pytest.mark.parametrize("fresh", [False, True])
def test_an_instance_goes_through_pickle_and_json(where: Where, fresh: bool) -> None:
    url, options = where
    chained = url if "://" in url else f"file://{url}"
    scheme = chained.partition(":")[0]
    try:
        ArtifactFileSystem(url, **options).pipe(f"{S}/x", b"1")
        for fs in (
            ArtifactFileSystem(url, **options),
            ArtifactFileSystem(url, asynchronous=True, **options),
            fsspec.url_to_fs(f"artifact://{S}/x::{chained}", **{scheme: options})[0],
        ):
            packed, told = pickle.dumps(fs), fs.to_json()
            if fresh:
                ArtifactFileSystem.clear_instance_cache()
            for again in (
                pickle.loads(packed),
                ArtifactFileSystem.from_json(told),
                fsspec.AbstractFileSystem.from_json(told),
            ):
                assert again == fs and hash(again) == hash(fs) and again.asynchronous == fs.asynchronous
                assert fresh or again is fs
                assert again.cat_file(f"{S}/x") == b"1" == asyncio.run(again._cat_file(f"{S}/x"))
    finally:
        ArtifactFileSystem.clear_instance_cache()


# other processes

FORKING = """
import json, os, sys, traceback
from artifactfs.filesystem import ArtifactFileSystem

url, options = json.loads(sys.argv[1])
S = "shop/alice/s1"
fs = ArtifactFileSystem(url, **options)
fs.pipe({f"{S}/{n}": b"%d" % n for n in range(5)})
fs.cat(fs.find(S))
reader = fs.open(f"{S}/3")
kept = reader.read(0)

def use(who):
    assert fs.cat(fs.find(f"{S}/[0-4]") or [f"{S}/{n}" for n in range(5)]) == {f"{S}/{n}": b"%d" % n for n in range(5)}
    assert fs.open(f"{S}/3").read() == b"3"
    fs.pipe({f"{S}/by/{who}/{n}": b"new" for n in range(5)})
    fs.mv(f"{S}/by/{who}/0", f"{S}/by/{who}/moved")
    fs.rm(f"{S}/by/{who}/1")
    with fs.open(f"{S}/log", "ab") as file:
        file.write(b"%s;" % who.encode())
    assert fs.du(f"{S}/by/{who}") == 12

def forked(who, then=lambda: None):
    pid = os.fork()
    if pid:
        return pid
    try:
        use(who)
        then()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

def ended(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

children = [forked(f"child{n}", lambda n=n: ended(forked(f"grandchild{n}"))) for n in range(2)]
use("parent")
for pid in children:
    ended(pid)
use("after")
assert reader.read() == b"3"
words = sorted(fs.cat(f"{S}/log").decode().split(";")[:-1])
assert words == ["after", "child0", "child1", "grandchild0", "grandchild1", "parent"], words
print("done")
"""

POOLS = """
import asyncio, json, multiprocessing, pickle, sys
from functools import partial
import fsspec
from artifactfs.filesystem import ArtifactFileSystem

S = "shop/alice/s1"

def work(fs, reader, who):
    assert reader.read() == b"56789"
    fs.pipe({f"{S}/{who}": b"mine"})
    assert fs.cat(f"{S}/x@0") == b"0123456789"
    return fs.cat([f"{S}/{who}"])[f"{S}/{who}"]

def awaited(fs, who):
    async def go():
        await fs._pipe_file(f"{S}/{who}", b"awaited")
        return await fs._cat_file(f"{S}/{who}")
    return asyncio.run(go())

if __name__ == "__main__":
    (url, options), method = json.loads(sys.argv[1]), sys.argv[2]
    fs = ArtifactFileSystem(url, **options)
    fs.pipe(f"{S}/x", b"0123456789")
    reader = fs.open(f"{S}/x")
    reader.seek(5)
    fs.pipe(f"{S}/x", b"newer")
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(partial(work, fs, reader), [f"{method}{n}" for n in range(4)]) == [b"mine"] * 4
        asynchronous = ArtifactFileSystem(url, asynchronous=True, **options)
        assert pool.map(partial(awaited, asynchronous), [f"{method}-a{n}" for n in range(4)]) == [b"awaited"] * 4
        assert pool.map(fs.cat_file, [f"{S}/{method}{n}" for n in range(4)]) == [b"mine"] * 4
    assert len(fs.find(S)) == 9
    print("done")
"""


def _run(text: str, tmp_path: Path, where: Where, *arguments: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(text)
    # A process that forks beside threads is warned from Python 3.12 on: rightly, and it is what we are here to try.
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:This process:DeprecationWarning",
            script,
            json.dumps(where),
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "done"), ended.stderr


def test_an_instance_works_on_both_sides_of_a_fork(shared: Where, tmp_path: Path) -> None:
    _run(FORKING, tmp_path, shared)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_an_instance_and_a_reader_are_sent_to_a_pool_of_processes(shared: Where, tmp_path: Path, method: str) -> None:
    _run(POOLS, tmp_path, shared, method)


def test_an_error_of_a_store_reaches_a_coroutine_as_it_reaches_a_call(tmp_path: Path) -> None:
    fs = made((str(tmp_path), {"read_only": True}), asynchronous=True)
    with pytest.raises(PermissionError) as awaited:
        asyncio.run(fs._pipe_file(f"{S}/x", b"1"))
    with pytest.raises(PermissionError) as called:
        fs.pipe_file(f"{S}/x", b"1")
    assert isinstance(called.value, ArtifactError) and str(called.value) == str(awaited.value)
