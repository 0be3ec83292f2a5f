"""What a shell offers: commands, options, references from the store; never an error, and never a long wait."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from artifactfs.cli import completion
from artifactfs.cli.root import root

from .conftest import Cli
from .terminal import PROGRAM


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    *before, incomplete = words
    shell = ShellComplete(root, {}, "artifactfs", "_ARTIFACTFS_COMPLETE")
    return [str(item.value) for item in shell.get_completions(list(before), incomplete)]


@pytest.fixture
def filled(cli: Cli) -> Cli:
    for name in ("report.csv", "reports/q1.csv", "reports/q2.csv", "a b", "100%"):
        cli.scope.save(name, b"one")
    cli.scope.save("report.csv", b"two")
    cli.scope.tag("report.csv", "prod")
    cli.store.scope("shop", "alice").save("shared", b"x")
    cli.store.scope("shop", "bob", "s2").save("x", b"x")
    return cli


def test_commands_and_options_are_offered() -> None:
    assert offered("de") == ["delete"]
    assert {"--store", "--json", "--dry-run", "--yes"} <= set(offered("delete", "--"))


def test_references_are_offered_level_by_level(filled: Cli) -> None:
    assert offered("cat", "") == ["shop/"]
    assert offered("cat", "shop/") == ["shop/alice/", "shop/bob/"]
    assert offered("cat", "shop/alice/") == ["shop/alice/s1/", "shop/alice/user/"]
    assert offered("cat", "shop/alice/s1/rep") == ["shop/alice/s1/report.csv", "shop/alice/s1/reports/"]
    assert offered("cat", "shop/alice/s1/reports/") == ["shop/alice/s1/reports/q1.csv", "shop/alice/s1/reports/q2.csv"]
    assert offered("cat", "shop/alice/s1/1") == ["shop/alice/s1/100%25"]
    assert offered("cat", "artifact://shop/al") == ["artifact://shop/alice/"]
    assert offered("diff", "shop/alice/s1/report.csv@0", "shop/alice/s1/a") == ["shop/alice/s1/a b"]


def test_versions_and_tags_are_offered_behind_the_at(filled: Cli) -> None:
    name = "shop/alice/s1/report.csv"
    assert offered("cat", f"{name}@") == [f"{name}@prod", f"{name}@1", f"{name}@0"]
    assert offered("cat", f"{name}@p") == [f"{name}@prod"]


def test_what_is_offered_heeds_scope_and_store(filled: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered("cat", "--scope", "shop/alice/s1", "reports/q") == ["reports/q1.csv", "reports/q2.csv"]
    assert offered("--scope", "shop/alice/s1", "cat", "100") == ["100%25"]
    assert offered("ls", "--scope", "shop/bob/") == ["shop/bob/s2"]
    monkeypatch.setenv("ARTIFACTFS_SCOPE", "shop/alice/s1")
    assert offered("cat", "rep") == ["report.csv", "reports/"]
    assert offered("cat", "--store", str(tmp_path / "none"), "rep") == []


@pytest.mark.parametrize("word", ["%", "a//b", "shop/nobody/", "artifact:/", "artifact:", "x::y", "@", "\x00", "-"])
def test_nothing_that_is_typed_is_an_error(filled: Cli, word: str) -> None:
    assert isinstance(offered("cat", word), list)


def test_a_store_that_does_not_answer_is_not_waited_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()

    def stuck(*_: object) -> Iterator[object]:
        yield completion.CompletionItem("first")
        waiting.wait(60)

    monkeypatch.setattr(completion, "_below", stuck)
    monkeypatch.setattr(completion, "PATIENCE", 0.01)
    begun = time.monotonic()
    offers = offered("cat", "")
    waiting.set()
    assert offers in ([], ["first"]) and time.monotonic() - begun < 30


def test_a_shell_is_answered_without_a_word_on_standard_error(filled: Cli) -> None:
    environment = {
        **os.environ,
        "_ARTIFACTFS_COMPLETE": "bash_complete",
        "COMP_WORDS": "artifactfs cat shop/alice/s1/report.",
        "COMP_CWORD": "2",
    }
    told = subprocess.run([PROGRAM], capture_output=True, text=True, env=environment)
    assert (told.returncode, told.stdout, told.stderr) == (0, "plain,shop/alice/s1/report.csv\n", "")
    environment["_ARTIFACTFS_COMPLETE"] = "bash_source"
    assert "complete -o nosort" in subprocess.run([PROGRAM], capture_output=True, text=True, env=environment).stdout
