"""The documents are true: their code runs, their tables hold, and the bytes that they show are the bytes that are written.

In a Python block an expression that stands alone with a comment behind it promises that its value is shown so.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import io
import os
import pkgutil
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

import artifactfs
from artifactfs import ArtifactStore, Scope, UnsafeBackend, config, errors, names, pointers, records
from artifactfs.backends import base, memory, retry
from artifactfs.cli.root import COMMANDS
from artifactfs.keys import base as keys
from artifactfs.layout import HINT_EVERY
from artifactfs.protocol import ability, claim, env
from artifactfs.refs import Ref

from .proxy import in_front_of
from .racy_server import Mode, serving
from .servers import Server

ROOT = Path(__file__).resolve().parent.parent
README, SPEC = ROOT / "README.md", ROOT / "docs" / "spec.md"
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = ["artifactfs", *(found.name for found in pkgutil.walk_packages(artifactfs.__path__, "artifactfs."))]
BUCKET = "my-bucket"


class Block(NamedTuple):
    document: Path
    language: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path, language: str) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        Block(document, match[1], text.count("\n", 0, match.start()) + 1, match[2])
        for match in found
        if match[1] == language
    ]


def table(document: Path, *heading: str) -> list[list[str]]:
    """The rows below the table's *heading*, cell by cell, without marks of code."""
    lines = document.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"| {' | '.join(heading)} |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def run(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block, and compare what it promises of its expressions."""
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(block.text).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(block.text).body:
        promised = comments.get(node.end_lineno or 0) if isinstance(node, ast.Expr) else None
        ast.increment_lineno(node, block.line)
        if isinstance(node, ast.Expr):
            value = eval(compile(ast.Expression(node.value), str(block.document), "eval"), namespace)
            if promised is not None:
                assert repr(value) == promised, f"{block.document.name}, line {node.lineno}"
        else:
            exec(compile(ast.Module([node], []), str(block.document), "exec"), namespace)


@pytest.fixture
def cloud(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket that the documents speak of, by the environment."""
    moto.client().create_bucket(Bucket=BUCKET)
    for name, value in (
        ("S3_ENDPOINT_URL", moto.url),
        ("S3_ACCESS_KEY_ID", moto.key),
        ("S3_SECRET_ACCESS_KEY", moto.secret),
    ):
        monkeypatch.setenv(name, value)


@pytest.fixture
def fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_roots", {})


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
@pytest.mark.usefixtures("fresh_memory")
def test_python_of_a_document_runs_in_order_and_shows_what_it_says(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    python = blocks(document, "python")
    if any(BUCKET in block.text for block in python):
        request.getfixturevalue("cloud")
    namespace: dict[str, Any] = {"__name__": "document"}
    for block in python:
        run(block, namespace)


def test_a_promise_of_a_document_that_is_not_kept_is_found() -> None:
    with pytest.raises(AssertionError, match=r"README\.md, line 8"):
        run(Block(README, "python", 6, "two = 2\ntwo + two  # 5\n"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_of_a_document_is_of_a_language_that_is_tested(document: Path) -> None:
    fences = re.findall(r"^```(\S*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= {"python", "console", "yaml", "json", "text"}


def test_commands_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commands = [
        line.removeprefix("$ ").partition(" #")[0].split()
        for document in DOCUMENTS
        if document.name != "cli.md"  # whose commands are run by tests/cli/test_page.py
        for block in blocks(document, "console")
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]
    assert commands
    for program, *arguments in commands:
        if program == "make":
            assert arguments[0] in targets
        elif program == "python":
            assert (ROOT / arguments[0]).is_file()
        elif program == "artifactfs":
            assert arguments[0] in COMMANDS
        else:
            assert (program, arguments[0]) == ("pip", "install")
            extras = re.search(r"\[(.*)\]", arguments[1])
            assert extras is None or set(extras[1].split(",")) <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("block", [block for document in DOCUMENTS for block in blocks(document, "yaml")], ids=str)
def test_configuration_in_the_documents_loads(block: Block, tmp_path: Path) -> None:
    file = tmp_path / config.FILENAME
    file.write_text(block.text, encoding="utf-8")
    assert config.load(file, environ={}).url.endswith(("artifacts", f"s3://{BUCKET}/artifacts"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = {(document.parent / link) for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text)}
    named |= {ROOT / path for path in re.findall(r"`((?:docs|examples|tests|benchmarks|artifactfs)/[\w./-]+)`", text)}
    assert [str(path) for path in named if not path.exists()] == []


def test_sections_of_the_spec_that_the_code_names_are_there() -> None:
    headings = " ".join(re.findall(r"^##+ (.*)$", SPEC.read_text(encoding="utf-8"), re.MULTILINE)).lower()
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "artifactfs").rglob("*.py"))
    named = {name for text in sources for name in re.findall(r'docs/spec\.md, "?([A-Z][a-z]+)', text)}
    assert len(named) > 3
    assert [name for name in named if name.lower() not in headings] == []


# --- docstrings -------------------------------------------------------------------------------------------------------


def docstrings() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in MODULES:
        yield from (found for found in finder.find(importlib.import_module(module)) if found.examples)


@pytest.mark.parametrize("example", list(docstrings()), ids=lambda found: found.name)
@pytest.mark.usefixtures("fresh_memory")
def test_examples_of_docstrings_run(example: doctest.DocTest) -> None:
    store = ArtifactStore("memory://docstrings")
    scope = store.scope("shop", "alice", "s1")
    if not example.name.endswith(".save"):  # which saves these two
        scope.save("notes.txt", b"first")
        scope.save("notes.txt", b"second")
    example.globs |= {"ArtifactStore": ArtifactStore, "store": store, "scope": scope}
    told = io.StringIO()
    failed, tried = doctest.DocTestRunner(verbose=False).run(example, out=told.write)
    assert tried and not failed, told.getvalue()


def test_the_examples_of_saving_and_loading_are_among_those_that_run() -> None:
    found = {example.name for example in docstrings()}
    assert found >= {"artifactfs.store.ArtifactStore", "artifactfs.store.Scope.save", "artifactfs.store.Scope.open"}
    assert found >= {f"artifactfs.operations.reading.Reading.{name}" for name in ("load", "stat", "versions", "names")}


# --- tables -----------------------------------------------------------------------------------------------------------


def test_errors_table_names_every_error_and_a_builtin_that_it_is() -> None:
    rows = {name: builtin for name, builtin, _ in table(README, "Error", "Also is a", "When")}
    tree = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert rows.keys() == tree - {"ArtifactError"}
    for name, builtin in rows.items():
        assert issubclass(getattr(errors, name), getattr(__import__("builtins"), builtin)), name


def test_limits_of_the_spec_are_those_of_the_code() -> None:
    told = {label: int(number.replace(",", "")) for label, number, _ in table(SPEC, "Limit", "Value", "Unit")}
    assert told == {
        "A name, user, session or app": names.MAX_NAME,
        "Metadata of a record, as JSON": records.MAX_METADATA,
        "A payload that is created by one request": base.WHOLE_LIMIT,
        "Age of a claim from which it may be fenced": env.CLAIM_TTL,
        "Age of a claim from which its save gives up": env.GIVE_UP,
        "Age of a tombstone or a fence from which it may be compacted": env.KEEP_TOMBSTONES,
        "Age of a remembered number from which it is not used": env.HINT_TTL,
        "Age of a probe's answer from which it is not believed": ability.VALID,
        "Numbers between two hints, and between two numbers that compaction leaves": HINT_EVERY,
        "Conflicts in a row after which a saver lists again": claim.CONFLICTS_BEFORE_LISTING,
        "A fence": records.FENCE_SIZE,
        "The id of a key": keys.MAX_KEY_ID,
        "A wrapped data key": keys.MAX_WRAPPED,
        "A URI of a pointer": pointers.MAX_URI,
    }


def test_segments_of_the_spec_are_those_of_the_code() -> None:
    rows = table(SPEC, "Kind", "Name", "Segment")
    assert len(rows) > 10
    for kind, name, segment in rows:
        text = name.replace("\\|", "|").replace("␠", " ")
        assert names.encode(text, kind) == segment
        assert names.decode(segment, kind) == text


def test_references_of_the_spec_are_read_so_and_printed_in_their_one_spelling() -> None:
    rows = table(SPEC, "Written", "Scope", "Name", "Selector", "Printed")
    assert len(rows) > 10
    for written, scope, name, selector, printed in rows:
        ref = Ref.parse(written)
        assert "/".join(filter(None, (ref.app, ref.user, "user" if ref.user_scope else ref.session))) == scope
        assert (ref.name or "") == name
        assert ("" if ref.selector is None else str(ref).rpartition("@")[2].partition("/")[0]) == selector
        assert str(ref) == printed


def test_records_of_the_spec_are_what_the_code_writes() -> None:
    kinds = []
    for block in blocks(SPEC, "json"):
        stored = block.text.strip().encode()
        if b'"kind"' not in stored:
            continue
        record = records.decode_tag(stored, "") if b'"kind":"tag"' in stored else records.decode(stored)
        assert records.encode(record) == stored
        kinds.append(type(record).__name__)
    assert sorted(kinds) == ["Blob", "Blob", "Pointer", "Removed", "TagRecord", "Tombstone"]


def test_the_probe_answer_of_the_spec_is_what_the_code_writes() -> None:
    (stored,) = (text for block in blocks(SPEC, "json") if b'"identity"' in (text := block.text.strip().encode()))
    assert msgspec.json.encode(msgspec.json.decode(stored, type=ability._Seen)) == stored


def test_retries_that_the_readme_tells_are_the_defaults() -> None:
    defaults = inspect.signature(ArtifactStore).parameters
    text = README.read_text(encoding="utf-8")
    assert f"{defaults['tries'].default} tries within {defaults['deadline'].default:.0f} seconds" in text
    assert defaults["deadline"].default > retry.LONGEST_PAUSE


@pytest.mark.parametrize("kind", ["racy", "ignored", "refused"])
def test_stores_that_the_readme_calls_unsafe_are_refused_and_nothing_is_written(kind: Mode) -> None:
    rows = {
        seen.partition(":")[0]: does for seen, _, does in table(README, "What is seen of creates", "Stores", "A save")
    }
    assert rows[kind] == "raises UnsafeBackend"
    with serving(kind) as server:
        _is_unsafe(server, kind)


def test_the_server_that_the_readme_calls_unsafe_is_refused_and_nothing_is_written(rclone: Server) -> None:
    (named,) = (
        stores for seen, stores, _ in table(README, "What is seen of creates", "Stores", "A save") if "ignored" in seen
    )
    assert named.startswith("rclone")
    _is_unsafe(rclone, "ignored")


def _is_unsafe(server: Server, kind: str) -> None:
    url = server.bucket()
    scope = ArtifactStore(url, **server.storage_options).scope("shop", "alice", "s1")
    for _ in range(2):
        with pytest.raises(UnsafeBackend, match="nothing was written") as refused:
            scope.save("report.csv", b"first")
        assert refused.value.seen == kind
    left = server.client().list_objects_v2(Bucket=url.removeprefix("s3://").partition("/")[0])
    assert left.get("Contents", []) == []


# --- requests ---------------------------------------------------------------------------------------------------------


def _many_versions(folder: Path, count: int) -> Path:
    """A folder that holds a store with so many versions of one artifact: the layout is the same in every store."""
    scope = ArtifactStore(folder, durability="none").scope("shop", "alice", "s1")
    for number in range(count):
        scope.save("many", str(number))
    return folder


def _copied(folder: Path, server: Server, bucket: str) -> None:
    name, _, prefix = bucket.removeprefix("s3://").partition("/")
    client = server.client()

    def copy(path: Path) -> None:
        client.put_object(Bucket=name, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(copy, (path for path in folder.rglob("many/*") if path.is_file())))


def test_requests_that_the_readme_tells_are_those_at_the_wire(moto: Server, tmp_path: Path) -> None:
    told = {work: int(count) for work, count in table(README, "Work", "Requests")}
    bucket = moto.bucket()
    counts = {}
    with in_front_of(moto.url) as front:

        def scope() -> Scope:
            """A session of a store that remembers nothing of it, and knows already that creates are atomic."""
            store = ArtifactStore(bucket, **moto.at(front.url).storage_options)
            store.scope("shop", "alice", "another").save("probed", b"")
            return store.scope("shop", "alice", "s1")

        def count(what: str, work: Callable[[], object]) -> None:
            with front.counted() as seen:
                work()
            counts[what] = len(seen)

        warm = scope()
        warm.save("report.csv", b"first")
        count(
            "save, when this store saved the same name in the last 5 minutes", lambda: warm.save("report.csv", b"2nd")
        )
        cold = scope()
        count("load of a known version", lambda: cold.load("report.csv", version=0))
        count("load of the newest", lambda: cold.load("report.csv"))
        cold.tag("report.csv", "prod", 0)
        count("load by a tag", lambda: cold.load("report.csv", version="prod"))
        count("stat of the newest", lambda: cold.stat("report.csv"))
        count("names of a session, for each 1,000 names", lambda: list(cold.names()))
        count("save, cold", lambda: cold.save("report.csv", b"third"))
        _copied(_many_versions(tmp_path, 510), moto, bucket)
        cold = scope()
        count("load of the newest, above about 400 versions", lambda: cold.load("many"))
        count("save, cold, above about 400 versions", lambda: cold.save("many", b"next"))
    assert counts == told


# --- the tour ---------------------------------------------------------------------------------------------------------


def test_the_tour_runs_to_its_end_and_keeps_all_of_its_race(tmp_path: Path) -> None:
    """With files of our own in the place of those that matplotlib brings: it is not needed for anything else."""
    import numpy

    samples = tmp_path / "sample_data"
    samples.mkdir()
    (samples / "Stocks.csv").write_text("# prices\nDate,IBM,AAPL,MSFT\n1990-01-02,1.5,2,3\n")
    for image, head in (("grace_hopper.jpg", b"\xff\xd8\xff\xe0"), ("logo2.png", b"\x89PNG\r\n\x1a\n")):
        (samples / image).write_bytes(head + os.urandom(2000))
    numpy.savez(samples / "goog.npz", price_data=numpy.zeros(3, [("open", float), ("close", float)]))
    (tmp_path / "matplotlib.py").write_text(f"def get_data_path():\n    return {str(tmp_path)!r}\n")
    told = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "tour.py"), str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert told.returncode == 0, told.stderr
    assert "400 versions kept, numbered 0 to 399" in told.stdout
    assert told.stdout.endswith("0 exceptions\n   Nothing was lost.\n")
