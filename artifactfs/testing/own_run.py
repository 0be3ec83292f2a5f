"""A run of pytest on somebody's own store: opens it, says what it is, and empties its folder at the end.

A plugin that `artifactfs.testing.plugin` registers where ``--artifactfs-url`` is given. Every process of pytest-xdist
works in a folder of its own below the one of the run, which the first process names and empties. The options of the
store may hold secrets: nothing of them is printed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from artifactfs.backends.base import WHOLE_LIMIT, Abilities, Backend
from artifactfs.drivers import call, run
from artifactfs.errors import ArtifactError, UnsafeBackend
from artifactfs.protocol.ability import refuse
from artifactfs.protocol.erase import erase
from artifactfs.store import ArtifactStore
from artifactfs.testing.plugin import SUITES

BINARY = "application/octet-stream"
TOO_LONG = 300
"""Bytes of a segment that no file system holds, and every object store proper does."""


class Found(NamedTuple):
    """What a store was seen to do, in builtins only: it is sent to other processes.

    Attributes:
        create, complete, rewrite: as in `artifactfs.backends.base.Abilities`.
        lists_unfinished: whether it tells which uploads in parts were begun.
        longest_segment: bytes that a segment of a key may have, where that is less than a name may have.
    """

    create: str
    complete: str
    rewrite: str
    lists_unfinished: bool = True
    longest_segment: int | None = None


class OwnRun:
    """The store of a run, its options, and its folder."""

    def __init__(self, config: pytest.Config, options: dict[str, Any]) -> None:
        self.options = options
        self.suites = of_suites(config)
        self.folder, self.place = f"artifactfs-conformance-{uuid.uuid4().hex[:12]}", "main"
        self.found = Found("", "", "")
        self.worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        if self.worker is not None:
            self.folder, self.place = self.worker["artifactfs_folder"], self.worker["workerid"]
            self.found = Found(*self.worker["artifactfs_found"])
        self._used = False
        self._base = ArtifactStore(config.getoption("artifactfs_url"), **options)

    @property
    def single_writer(self) -> bool:
        return self.options.get("single_writer") is True

    @property
    def url(self) -> str:
        """The folder of the run, without credentials."""
        return _join(self._base.url, self.folder)

    def open(self, name: str) -> ArtifactStore:
        """A store in the folder *name* of this process."""
        self._used = True
        return ArtifactStore(_join(self._base._core.where, f"{self.folder}/{self.place}/{name}"), **self.options)

    def look(self) -> None:
        """Find out what the store does.

        Raises:
            UnsafeBackend: its creates are not atomic, and nobody vouched for a single writer.
        """
        with self.open("look") as store:
            backend = store.backend
            call(backend, lambda: backend.put("x", b"", BINARY))  # where nothing can be written, this says it best
            seen = store.probe()
            if not self.single_writer:
                refuse(seen, self._base.url)
            self.found = self._look_closer(backend, seen) if self.suites else Found(*seen)

    @staticmethod
    def _look_closer(backend: Backend, seen: Abilities) -> Found:
        longest = None
        if backend.max_segment is None:
            try:
                call(backend, lambda: backend.put("x" * TOO_LONG, b"", BINARY))
            except ArtifactError:
                longest = 255
        upload = call(backend, lambda: backend.upload("begun", BINARY))
        try:
            call(backend, lambda: upload.write(bytes(WHOLE_LIMIT + 1)))
            lists = bool(call(backend, lambda: backend.unfinished("")))
        finally:
            call(backend, upload.abort)
        return Found(*seen, lists, longest)

    def told(self) -> list[str]:
        """What is said of the store at the beginning."""
        found = self.found
        lines = [
            f"{self.url} (emptied at the end)",
            f"a create is {found.create}, the end of an upload {found.complete}, a rewrite {found.rewrite}",
        ]
        if self.single_writer:
            lines.append("single_writer: the tests of races are left out")
        if not found.lists_unfinished:
            lines.append("uploads that were begun are not listed")
        if found.longest_segment is not None:
            lines.append(f"a segment of a key holds at most {found.longest_segment} bytes")
        return [f"artifactfs: {line}" for line in lines]

    def end(self) -> None:
        """Remove everything below the folder of the run, if this is the process that named it."""
        used, self._used = self._used, False
        with self._base as base:
            if used and self.worker is None:
                if base.url.startswith("file://"):
                    shutil.rmtree(self.url.removeprefix("file://"))
                else:
                    run(erase(f"{self.folder}/"), base.backend)


def of_suites(config: pytest.Config) -> bool:
    """Whether the shipped suites run, or some of their tests, rather than somebody's own alone."""
    paths = (Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args)
    return any(path.resolve() == SUITES.resolve() for path in paths)


def of(config: pytest.Config) -> OwnRun:
    """The run that *config* belongs to."""
    return config.stash[_RUN]


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or name in ("self", "url"):
        raise pytest.UsageError("--artifactfs-option takes NAME=VALUE, such as endpoint_url=http://127.0.0.1:9000")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _join(url: str, name: str) -> str:
    return url + name if url.endswith("/") else f"{url}/{name}"


# --- secrets ----------------------------------------------------------------------------------------------------------


def hiding(values: object) -> Callable[[str], str]:
    """What takes every one of *values*, however deep they lie, out of a text.

    A short number is no secret and stands everywhere. Only whole words go: a key that is called ``test`` need not be cut
    out of every test's name.
    """
    found: set[str] = set()
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str) or len(str(value)) > 5:
            found.add(str(value))
    alternatives = "|".join(re.escape(each) for each in sorted(found - {""}, key=len, reverse=True))
    if not alternatives:
        return str
    pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")
    return lambda text: pattern.sub("…", text)


def _line(error: Exception) -> str:
    """An error in one line."""
    kind = "" if isinstance(error, ArtifactError) else f"{type(error).__name__}: "
    return kind + " ".join(str(error).split())


# --- what pytest calls ------------------------------------------------------------------------------------------------

_RUN = pytest.StashKey[OwnRun]()
_HIDE = pytest.StashKey[Callable[[str], str]]()


def pytest_configure(config: pytest.Config) -> None:
    if of_suites(config):
        # Whatever somebody's own settings take for a test; and no arguments of calls in tracebacks, nor local variables.
        config.addinivalue_line("python_classes", "Test")
        config.addinivalue_line("python_functions", "test")
        config.option.tbstyle, config.option.showlocals = "short", False
        if importlib.util.find_spec("hypothesis") is None:
            raise pytest.UsageError("--artifactfs-url: the suites need Hypothesis: pip install hypothesis")
    options = dict(map(_option, config.getoption("artifactfs_option")))
    endpoint = options.get("endpoint_url")  # no secret by itself, and what an error is often about
    users = re.findall(r"://([^/@]*?):?([^/@:]*)@", f"{config.getoption('artifactfs_url')} {endpoint}")
    secret = [value for name, value in options.items() if name != "endpoint_url"]
    config.stash[_HIDE] = hiding([secret, *map(list, users)])
    if not config.option.collectonly:
        with _told(config):
            config.stash[_RUN] = OwnRun(config, options)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Look at the store before anything is said or another process is started."""
    own = session.config.stash.get(_RUN, None)
    if own is not None and own.worker is None:
        with _told(session.config):
            try:
                own.look()
            except Exception:
                with contextlib.suppress(ArtifactError, OSError):  # it is the first error that counts
                    own.end()
                raise


@contextlib.contextmanager
def _told(config: pytest.Config) -> Iterator[None]:
    """End pytest with one line that says why the store cannot be used, or must not."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  (whatever the library of some filesystem raises)
        why = f"--artifactfs-url: {_line(error)}"
        if isinstance(error, UnsafeBackend):
            why += "; with --artifactfs-option single_writer=true the suites run without their races"
        raise pytest.UsageError(config.stash[_HIDE](why)) from None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell another process of pytest-xdist what is known."""
    own = of(node.config)
    node.workerinput |= {"artifactfs_folder": own.folder, "artifactfs_found": tuple(own.found)}


def pytest_report_header(config: pytest.Config) -> list[str]:
    own = config.stash.get(_RUN, None)
    return [] if own is None else [config.stash[_HIDE](line) for line in own.told()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    own = config.stash.get(_RUN, None)
    if own is not None and own.single_writer:
        races = [item for item in items if item.path == SUITES and item.name.startswith("test_race_")]
        if races:
            items[:] = [item for item in items if item not in races]
            config.hook.pytest_deselected(items=races)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    hide = item.config.stash[_HIDE]
    if report.failed and hide(report.longreprtext) != report.longreprtext:
        report.longrepr = hide(report.longreprtext)
    report.sections = [(name, hide(text)) for name, text in report.sections]
    return report


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Empty the folder, after failures and interrupts too; other processes have ended by now."""
    own = config.stash.get(_RUN, None)
    if own is not None:
        try:
            own.end()
        except Exception as error:  # noqa: BLE001  (as above)
            why = config.stash[_HIDE](f"{own.url} could not be emptied: remove it by hand. {_line(error)}")
            raise pytest.UsageError(why) from None


@pytest.fixture(scope="session")
def artifactfs_open(request: pytest.FixtureRequest) -> Iterator[Callable[[str], ArtifactStore]]:
    """Opens a store in a folder of the given name, which no other process of the run uses."""
    with contextlib.ExitStack() as opened:
        yield lambda name: opened.enter_context(of(request.config).open(name))


@pytest.fixture(scope="session")
def artifactfs_store(artifactfs_open: Callable[[str], ArtifactStore]) -> ArtifactStore:
    """A store below the URL that ``--artifactfs-url`` names: one for all tests."""
    return artifactfs_open("store")
