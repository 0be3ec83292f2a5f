"""``pytest --artifactfs-url`` proves anybody's own store, tells what it cannot, and leaves everything as it was.

Each test runs pytest as a user does: in a process and a folder of its own, through the installed entry point.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from artifactfs.testing.backend import BackendConformance
from artifactfs.testing.own_run import hiding
from artifactfs.testing.store import StoreConformance

from .racy_server import Mode, serving
from .servers import SECRET, Server

MODEL = "test_any_order_of_calls_agrees_with_a_model"


class Ran(NamedTuple):
    """How a run of pytest ended: its exit code, all that it printed, and its tests by name with their outcome."""

    code: int
    text: str
    tests: dict[str, str]

    def of(self, outcome: str) -> set[str]:
        """The functions any of whose tests ended so: ``passed``, ``failure``, ``error`` or ``skipped``."""
        return {name.partition("[")[0] for name, its in self.tests.items() if its == outcome}

    def line(self, start: str) -> str:
        (line,) = (line for line in self.text.splitlines() if line.startswith(start))
        return line


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder that pytest is started in: empty at first."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def run(here: Path, tmp_path: Path) -> Callable[..., Ran]:
    def run(*arguments: str | Path) -> Ran:
        junit = tmp_path / "junit.xml"
        junit.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            # Other plugins of this environment take seconds to import, and write files.
            [sys.executable, "-m", "pytest", *("-p", "no:zarr", "-p", "no:cacheprovider", f"--junitxml={junit}")]
            + [str(argument) for argument in arguments],
            cwd=here,
            env={**environment, "COLUMNS": "200", "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        return Ran(done.returncode, done.stdout, _outcomes(junit))

    return run


def _outcomes(junit: Path) -> dict[str, str]:
    if not junit.exists():
        return {}
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    outcomes = ("failure", "error", "skipped")
    return {
        f"{case.get('classname')}::{case.get('name')}": next(
            (o for o in outcomes if case.find(o) is not None), "passed"
        )
        for case in cases
    }


def _functions(*suites: type) -> set[str]:
    return {name for suite in suites for name in dir(suite) if name.startswith("test_")}


def _names(ran: Ran, outcome: str) -> set[str]:
    return {name.rpartition("::")[2] for name in ran.of(outcome)}


def _options(server: Server) -> list[str]:
    return [f"--artifactfs-option={name}={value}" for name, value in server.storage_options.items()]


def _is_empty(server: Server, url: str) -> bool:
    bucket = url.removeprefix("s3://").partition("/")[0]
    client = server.client()
    return not client.list_objects_v2(Bucket=bucket).get("Contents") and not client.list_multipart_uploads(
        Bucket=bucket
    ).get("Uploads")


# --- the suites -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_all_suites_run_and_pass_and_none_is_left_out(kind: str, run: Callable[..., Ran], tmp_path: Path) -> None:
    store = tmp_path / "store"
    where = ["memory://"] if kind == "memory" else [store, "--artifactfs-option", "durability=none"]
    ran = run("--artifactfs-url", *where)
    assert ran.code == 0, ran.text
    assert set(ran.tests.values()) == {"passed"}
    assert "deselected" not in ran.text
    assert _names(ran, "passed") == _functions(BackendConformance, StoreConformance) | {MODEL}
    assert "a create is atomic, the end of an upload atomic, a rewrite atomic" in ran.text
    if kind == "local":
        assert list(store.iterdir()) == []


def test_the_suites_run_on_a_bucket_and_leave_nothing_there(run: Callable[..., Ran], moto: Server) -> None:
    url = moto.bucket("some/prefix")
    some = "(race_of_creators and 300-tasks) or abort_leaves_nothing or probe or saves_only_after or longest"
    ran = run(
        "--artifactfs-url", url, *_options(moto), "-k", some, '--artifactfs-option=client_kwargs={"verify": false}'
    )
    assert ran.code == 0, ran.text
    assert set(ran.tests.values()) == {"passed"} and len(ran.tests) == 9
    assert re.search(rf"^artifactfs: {url}/artifactfs-conformance-\w+ \(emptied at the end\)$", ran.text, re.MULTILINE)
    assert SECRET not in ran.text and moto.key not in ran.text
    assert _is_empty(moto, url)


@pytest.mark.nightly
def test_processes_of_xdist_share_the_folder_of_a_run(run: Callable[..., Ran], moto: Server) -> None:
    url = moto.bucket()
    ran = run("--artifactfs-url", url, *_options(moto), "-n", "2", "-k", "round_trips and a or compact")
    assert ran.code == 0, ran.text
    assert set(ran.tests.values()) == {"passed"} and len(ran.tests) > 20
    assert len(re.findall("emptied at the end", ran.text)) == 1
    assert _is_empty(moto, url)


def test_a_filesystem_for_one_writer_is_proved_without_races(run: Callable[..., Ran], tmp_path: Path) -> None:
    options = {"path": tmp_path / "store", "target_protocol": "file", "single_writer": "true"}
    ran = run("--artifactfs-url", "dir://", *(f"--artifactfs-option={name}={value}" for name, value in options.items()))
    assert ran.code == 0, ran.text
    assert set(ran.tests.values()) == {"passed"}
    left_out = (_functions(BackendConformance, StoreConformance) | {MODEL}) - _names(ran, "passed")
    assert left_out and all(name.startswith("test_race_") for name in left_out)
    assert re.search(r"\d+ deselected", ran.text)
    assert "single_writer: the tests of races are left out" in ran.text
    assert "a segment of a key holds at most 255 bytes" in ran.text
    assert list((tmp_path / "store").iterdir()) == []


# --- what the suites must see -----------------------------------------------------------------------------------------

OVERWRITES = """
from artifactfs.backends.local import LocalBackend

async def create(self, key, data, content_type):
    return await self.put(key, data, content_type)

LocalBackend.create = create
"""

LOSES = """
import fsspec
from fsspec.implementations.memory import MemoryFileSystem

class Losing(MemoryFileSystem):
    protocol = "losing"
    store, pseudo_dirs = {}, [""]

    def ls(self, path, detail=True, **kwargs):
        found = super().ls(path, detail=True, **kwargs)
        found = found[:-1] if len(found) > 12 else found
        return found if detail else [each["name"] for each in found]

fsspec.register_implementation("losing", Losing)
"""


def test_a_store_that_overwrites_is_caught(run: Callable[..., Ran], here: Path, tmp_path: Path) -> None:
    (here / "fault.py").write_text(OVERWRITES)
    ran = run("-p", "fault", "--artifactfs-url", tmp_path / "store", "-k", "never_overwrites or one_winner or missing")
    assert ran.code == 1, ran.text
    assert _names(ran, "failure") >= {"test_create_never_overwrites", "test_race_of_creators_has_one_winner"}
    assert "test_a_missing_object_is_none" in _names(ran, "passed")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_filesystem_that_loses_what_it_lists_is_caught(run: Callable[..., Ran], here: Path) -> None:
    (here / "fault.py").write_text(LOSES)
    one = "--artifactfs-option=single_writer=true"
    ran = run("-p", "fault", "--artifactfs-url", "losing://store", one, "-k", "list or names")
    assert ran.code == 1, ran.text
    assert "test_many_keys_are_listed_once_each" in _names(ran, "failure")
    assert "test_names_are_sorted_by_their_segments_and_read_lazily" in _names(ran, "failure")


@pytest.mark.parametrize("kind", ["racy", "ignored", "refused"])
def test_a_store_whose_creates_are_not_atomic_is_refused_with_the_reason(kind: Mode, run: Callable[..., Ran]) -> None:
    with serving(kind) as server:
        url = server.bucket()
        ran = run("--artifactfs-url", url, *_options(server))
        assert (ran.code, ran.tests) == (4, {})
        told = ran.line("ERROR: ")
        assert f"(seen: {kind}), so saves could be lost without anyone noticing" in told
        assert "--artifactfs-option single_writer=true" in told
        assert _is_empty(server, url)


def test_a_server_that_ignores_preconditions_is_proved_for_one_writer(run: Callable[..., Ran]) -> None:
    with serving("ignored") as server:
        url = server.bucket()
        one = "--artifactfs-option=single_writer=true"
        ran = run("--artifactfs-url", url, *_options(server), one, "-k", "never_overwrites or expect or race_of")
        assert ran.code == 0, ran.text
        assert "test_create_never_overwrites" in _names(ran, "passed")
        assert "a create is ignored" in ran.text
        assert _is_empty(server, url)


# --- what cannot be used is told in a line ----------------------------------------------------------------------------


class _Denying(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _deny(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _deny

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def denying() -> Iterator[str]:
    """A server that permits nothing."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Denying) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _is_told(ran: Ran, why: str) -> None:
    assert (ran.code, ran.tests) == (4, {}), ran.text
    assert re.search(why, ran.line("ERROR: ")), ran.text
    assert ran.text.strip() == ran.line("ERROR: "), "there is more than that line"
    assert "hunter2" not in ran.text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--artifactfs-url", ""], "no store is named"),
        (["--artifactfs-url", "s3://"], "s3://bucket/prefix"),
        (["--artifactfs-url", "nonsense://x"], "nonsense://"),
        (["--artifactfs-url", "dir:///tmp/x"], "no create that only one of several writers wins.*single_writer=true"),
        (["--artifactfs-url", "simplecache::s3://alice:hunter2@b/x"], "not a chain: 'simplecache::s3://…:…@b/x'"),
        (["--artifactfs-url", "memory://x", "--artifactfs-option", "secret=hunter2"], "no such option: secret"),
        (["--artifactfs-url", "memory://x", "--artifactfs-option", "hunter2"], "takes NAME=VALUE"),
        (["--artifactfs-url", "memory://x", "--artifactfs-option", "url=hunter2"], "takes NAME=VALUE"),
        (["--artifactfs-url", "memory://x", "--artifactfs-option", "tries=hunter2"], "tries must be at least 1"),
        (["--artifactfs-url", "memory://x", "--artifactfs-option", "read_only=true"], "read_only=True"),
        (["--artifactfs-option", "secret=hunter2"], "give both"),
    ],
)
def test_what_cannot_be_opened_is_one_line(arguments: list[str], why: str, run: Callable[..., Ran]) -> None:
    _is_told(run(*arguments), why)


def test_a_bucket_that_is_not_there_or_denied_is_one_line(run: Callable[..., Ran], moto: Server) -> None:
    _is_told(run("--artifactfs-url", "s3://nobody-made-this", *_options(moto)), "nobody-made-this")
    with denying() as endpoint:
        options = ["--artifactfs-option=key=alice", "--artifactfs-option=secret=hunter2"]
        ran = run("--artifactfs-url", "s3://bucket/x", f"--artifactfs-option=endpoint_url={endpoint}", *options)
        _is_told(ran, r"--artifactfs-url: s3://bucket/x/.*may not do that")


@pytest.mark.parametrize(
    ("missing", "why"), [("s3fs", r"pip install \"artifactfs\[s3\]\""), ("hypothesis", "pip install hypothesis")]
)
def test_a_package_that_is_missing_is_one_line(missing: str, why: str, run: Callable[..., Ran], here: Path) -> None:
    (here / "without.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    _is_told(run("-p", "without", "-p", "no:hypothesispytest", "--artifactfs-url", "s3://bucket"), why)


# --- secrets ----------------------------------------------------------------------------------------------------------

TELLS_ALL = """
from artifactfs.backends.s3 import S3Backend

first = S3Backend.__init__

def init(self, url, *, options, **kwargs):
    self.given = options
    first(self, url, options=options, **kwargs)

async def now(self):
    options = self.given
    print(options)
    raise RuntimeError(f"signed with {options} and {options['secret']}")

S3Backend.__init__, S3Backend.now = init, now
"""


def test_a_failure_does_not_show_options_of_the_store(run: Callable[..., Ran], here: Path, moto: Server) -> None:
    (here / "fault.py").write_text(TELLS_ALL)
    url = moto.bucket()
    ran = run(
        *("-p", "fault", "--artifactfs-url", url, *_options(moto), "-k", "clock_that_dates"), "-vv", "-l", "--tb=long"
    )
    assert ran.code == 1 and "signed with" in ran.text and "Captured stdout call" in ran.text
    assert "'secret': '…'" in ran.text and moto.url in ran.text
    assert SECRET not in ran.text and moto.key not in ran.text
    assert _is_empty(moto, url)


def test_what_is_hidden_is_whole_values_however_deep_they_lie() -> None:
    hide = hiding({"key": "test", "more": [{"token": "a.b+c"}], "secret": 12345678, "tries": 3, "anon": False})
    assert hide("test_3: 'test', a.b+c and aab+c, 12345678, False") == "test_3: '…', … and aab+c, …, False"
    assert hiding({})("text") == "text"


# --- what is the user's own -------------------------------------------------------------------------------------------


def _own_project(here: Path) -> None:
    (here / "pytest.ini").write_text(
        "[pytest]\ntestpaths = tests\npython_files = check_*.py\npython_classes = Suite\npython_functions = check\n"
        "addopts = --strict-markers\nfilterwarnings = error\n"
    )
    (here / "tests").mkdir()
    (here / "tests" / "conftest.py").write_text("print('the conftest was loaded')\n")
    (here / "tests" / "check_own.py").write_text(
        "def check_store(artifactfs_store, artifactfs_open):\n"
        "    scope = artifactfs_store.scope('shop', 'alice', 's1')\n"
        "    assert scope.save('x', b'0').version == 0\n"
        "    other = artifactfs_open('other').scope('shop', 'alice', 's1')\n"
        "    assert list(other.names()) == []\n"
    )


def test_without_paths_the_tests_of_the_current_folder_do_not_run(run: Callable[..., Ran], here: Path) -> None:
    _own_project(here)
    ran = run("--artifactfs-url", "memory://", "-s", "-k", "probe or store")
    assert ran.code == 0, ran.text
    assert "the conftest was loaded" not in ran.text
    assert _names(ran, "passed") > {
        "test_a_probe_leaves_nothing_behind",
        "test_a_probe_says_whether_creates_are_atomic",
    }
    assert "check_store" not in str(ran.tests)


def test_with_paths_only_those_run_and_have_the_store(run: Callable[..., Ran], here: Path, tmp_path: Path) -> None:
    _own_project(here)
    ran = run("--artifactfs-url", tmp_path / "store", "tests")
    assert ran.code == 0, ran.text
    assert list(ran.tests) == ["tests.check_own::check_store"]
    assert "emptied at the end" in ran.text
    assert list((tmp_path / "store").iterdir()) == []


def test_nothing_is_written_where_tests_are_only_collected(run: Callable[..., Ran], tmp_path: Path) -> None:
    ran = run("--artifactfs-url", tmp_path / "store", "--collect-only", "-q")
    assert ran.code == 0 and "TestStore::test_a_probe" in ran.text
    assert not (tmp_path / "store").exists()


INTERRUPTS = """
import os, signal

def pytest_runtest_logreport(report):
    if report.when == "call":
        os.kill(os.getpid(), signal.SIGINT)
"""


def test_an_interrupt_leaves_nothing(run: Callable[..., Ran], here: Path, tmp_path: Path) -> None:
    (here / "impatient.py").write_text(INTERRUPTS)
    ran = run("-p", "impatient", "--artifactfs-url", tmp_path / "store")
    assert ran.code == 2 and "KeyboardInterrupt" in ran.text
    assert 1 <= len(ran.tests) < 5
    assert list((tmp_path / "store").iterdir()) == []


LEAVES = """
from artifactfs.backends.s3 import S3Backend
from artifactfs.errors import AccessDenied

async def delete(self, keys):
    raise AccessDenied("deleting is not permitted")

S3Backend.delete = delete
"""


def test_a_folder_that_cannot_be_emptied_is_told(run: Callable[..., Ran], here: Path, moto: Server) -> None:
    (here / "keeps.py").write_text(LEAVES)
    arguments = ["-p", "keeps", "--artifactfs-url", moto.bucket(), *_options(moto), "-k", "a_folder_is_no_object"]
    ran = run(*arguments)
    assert ran.code == 4 and set(ran.tests.values()) == {"passed"}
    assert re.search(
        r"artifactfs-conformance-\w+ could not be emptied: remove it by hand\. deleting", ran.line("ERROR: ")
    )


def test_without_the_option_nothing_is_imported_and_nothing_happens(here: Path) -> None:
    script = (
        "import sys, pytest\n"
        "code = pytest.main(['-q', '-W', 'error', '-p', 'no:zarr', '-p', 'no:cacheprovider'])\n"
        "print([name for name in sorted(sys.modules) if name.split('.')[0] in ('artifactfs', 'fsspec', 'msgspec')])\n"
        "sys.exit(code)\n"
    )
    (here / "test_own.py").write_text(
        "def test_it(request):\n    assert request.config.pluginmanager.has_plugin('artifactfs')\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "['artifactfs', 'artifactfs.testing', 'artifactfs.testing.plugin']"
    assert "artifactfs:" not in done.stdout
