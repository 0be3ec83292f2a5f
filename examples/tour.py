"""A tour of artifactfs on a local folder, with real files; it ends with a race of eight processes.

Each line behind ``>>>`` is printed and then run, so what you read is what happened. Run it by ``make demo``, or with
``pip install "artifactfs[demo]"`` by ``python examples/tour.py``. The folder that it leaves, ``demo-store`` beside
README.md, is made anew by every run; another one can be named, and must be empty or missing.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parent.parent / "demo-store"
WRITERS, SAVES = 8, 50


class Console:
    """Shows Python statements as they would look in an interactive session, and runs them."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.steps = 0

    def step(self, title: str) -> None:
        self.steps += 1
        print(f"\n{self.steps}. {title}")

    def run(self, text: str, fails: type[Exception] | None = None) -> None:
        """Run *text*, one statement; where it is to fail with *fails*, show the error, and it is one if it does not."""
        first, *more = text.splitlines()
        print("\n".join([f"   >>> {first}", *(f"   ... {line}" for line in more)]))
        try:
            exec(compile(text + "\n", "<tour>", "single"), self.names)
        except Exception as error:
            if fails is None or not isinstance(error, fails):
                raise
            print(f"   {type(error).__name__}: {error}")
        else:
            if fails is not None:
                raise AssertionError(f"{text!r} should have raised {fails.__name__}")


def show(value: object) -> None:
    """What an interactive session shows of a value, indented."""
    if value is not None:
        print("\n".join(f"   {line}" for line in str(value if isinstance(value, str) else repr(value)).splitlines()))


def main(named: list[str]) -> None:
    import matplotlib

    from artifactfs import ArtifactNotFound, Conflict

    folder = Path(named[0]).resolve() if named else DEMO
    if not named:
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} is not empty: name another folder, or none")
    sys.displayhook = show
    console = Console()
    step, run = console.step, console.run
    samples = Path(matplotlib.get_data_path(), "sample_data")
    console.names.update(samples=samples, folder=str(folder))
    print(f"artifactfs on the folder {folder}\nwith files that matplotlib brings, from {samples}")

    step("Real files go in. A session of a user of an app holds artifacts by name; a path saves that file")
    run("from artifactfs import ArtifactStore")
    run("store = ArtifactStore(folder)")
    run('s1 = store.scope("lab", "ada", "s1")')
    for name in ("Stocks.csv", "grace_hopper.jpg", "goog.npz"):
        run(f'r = s1.save("{name}", samples / "{name}")')
        run('f"version {r.version}, {r.mime_type}, {r.size_bytes:,} bytes, sha256 {r.sha256[:16]}…"')

    step("Each further save is a new version; none ever changes")
    run('text = (samples / "Stocks.csv").read_text()')
    run('s1.save("Stocks.csv", text.upper(), metadata={"why": "capitals"}).version')
    run('s1.versions("Stocks.csv")')
    run('[(r.version, r.size_bytes, r.metadata) for r in s1.history("Stocks.csv")]')
    run('s1.load("Stocks.csv", version=0).data == text.encode()')

    step("Compare-and-set: a save on the condition that nobody saved since what you read")
    run('seen = s1.stat("Stocks.csv").version')
    run('s1.save("Stocks.csv", text.lower(), expect=seen).version')
    run('s1.save("Stocks.csv", "based on an old version", expect=seen)', fails=Conflict)

    step("A version is a seekable file, read by ranges")
    run("import numpy")
    run('with s1.open("goog.npz") as file:\n    prices = numpy.load(file)["price_data"]')
    run("prices.shape, prices.dtype.names")

    step("Removed is out of view, not lost")
    run('s1.remove("grace_hopper.jpg").version')
    run("list(s1.names())")
    run('s1.load("grace_hopper.jpg")', fails=ArtifactNotFound)
    run('s1.load("grace_hopper.jpg", version=0).data == (samples / "grace_hopper.jpg").read_bytes()')

    step("A name that starts with user: is shared by all sessions of that user")
    run('s1.save("user:logo.png", samples / "logo2.png").mime_type')
    run('list(store.scope("lab", "ada", "s2").names())')

    step("The same artifacts by URL, for pandas and whatever else opens fsspec's URLs; @1 pins a version")
    run("import os, pandas")
    run('os.environ["ARTIFACTFS_URL"] = folder')
    run('old = pandas.read_csv("artifact://lab/ada/s1/Stocks.csv@1", comment="#")')
    run("old.shape, list(old)[:4]")
    run('old.to_parquet("artifact://lab/ada/s1/tables/stocks.parquet")')
    run('new = pandas.read_parquet(f"artifact://lab/ada/s1/tables/stocks.parquet@latest::file://{folder}")')
    run("new.equals(old)")

    step("On the disk lie plain files: a payload and its record for each version, readable without this library")
    print(f"   $ cd {folder.name} && find . -type f | sort")
    for path in sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()):
        print(f"   {(folder / path).stat().st_size:>10,}  {path}")
    record = "lab/ada/s1/Stocks.csv/1.metadata"
    print(f"   $ cat {record}\n   {(folder / record).read_text()}")

    step(f"The race: {WRITERS} processes save one name {SAVES} times each, at once")
    race(folder)


def race(folder: Path) -> None:
    """Race, and compare all that is there afterwards with what each process says it saved."""
    from artifactfs import ArtifactStore

    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(WRITERS), spawn.Queue()
    writers = [spawn.Process(target=save_many, args=(folder, which, start, answers)) for which in range(WRITERS)]
    for writer in writers:
        writer.start()
    told = [answers.get(timeout=300) for _ in writers]
    for writer in writers:
        writer.join()
    saved = {version: digest for _, saves, _, _ in told for version, digest in saves}
    by = {version: which for which, saves, _, _ in told for version, _ in saves}
    failures = [failure for _, _, failed, _ in told for failure in failed]
    seconds = max(ended for *_, (_, ended) in told) - min(began for *_, (began, _) in told)

    scope = ArtifactStore(folder).scope("lab", "ada", "race")
    versions = scope.versions("counter.txt")
    own = sum(
        hashlib.sha256(scope.load("counter.txt", version).data).hexdigest() == saved.get(version)
        for version in versions
    )
    turns = sum(by[version] != by[version + 1] for version in by if version + 1 in by)
    print(f"   {WRITERS * SAVES} saves by {WRITERS} processes in {seconds:.1f} s, every one flushed to the disk")
    print(
        f"   {len(versions)} versions kept, numbered {versions[0]} to {versions[-1]}; {turns} times the writer changed"
    )
    print(f"   {own} payloads are byte for byte what the process that was given the number had saved")
    print(f"   {len(failures)} exceptions")
    assert versions == list(range(WRITERS * SAVES)) and own == len(saved) == WRITERS * SAVES and not failures, failures
    print("   Nothing was lost.")


def save_many(folder: Path, which: int, start: Any, answers: Any) -> None:
    """One process of the race: what it saved under which numbers, what failed, and when it began and ended."""
    from artifactfs import ArtifactStore

    scope = ArtifactStore(folder).scope("lab", "ada", "race")
    saved, failures = [], []
    start.wait(timeout=120)
    began = time.time()
    for turn in range(SAVES):
        payload = f"writer {which} save {turn} pid {os.getpid()}\n".encode() * 64
        try:
            version = scope.save("counter.txt", payload).version
        except Exception as error:  # noqa: BLE001  (whatever it is, the race counts it)
            failures.append(repr(error))
        else:
            saved.append((version, hashlib.sha256(payload).hexdigest()))
    answers.put((which, saved, failures, (began, time.time())))


if __name__ == "__main__":
    main(sys.argv[1:])
