"""docs/cli.md is complete, as click's tree has it, and its examples do what it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from artifactfs.cli.root import COMMANDS, root

from . import page

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
TEXT = PAGE.read_text(encoding="utf-8")
TREE = dict(page.commands())


class Example(NamedTuple):
    line: int
    command: str
    shown: str


def examples(text: str) -> list[Example]:
    """What the page runs, in its order, and what it shows behind each."""
    found = []
    for block in re.finditer(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, block.start()) + 2
        for said in re.split(r"^\$ ", block[1], flags=re.MULTILINE)[1:]:
            command, _, shown = said.partition("\n")
            found.append(Example(line, command, shown))
            line += said.count("\n")
    return found


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a line of the page prints: a command in this process, all else by a shell."""
    words = shlex.split(command)
    match words:
        case ["export", setting]:
            monkeypatch.setenv(*setting.split("=", 1))
            return ""
        case ["unset", name]:
            monkeypatch.delenv(name)
            return ""
        case ["artifactfs", *arguments] if "|" not in words:
            result = CliRunner().invoke(root, arguments)
            assert result.exit_code == 0, f"{command}: {result.output}"
            return result.stdout
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0 and told.stderr == "", f"{command}: {told.stderr}"
    return told.stdout


def fits(printed: str, shown: str) -> bool:
    """Whether *printed* is what is *shown*, where … stands for anything."""
    return re.fullmatch(re.escape(shown).replace("…", ".*"), printed, re.DOTALL) is not None


def test_what_the_page_shows_is_what_its_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARTIFACTFS_SCOPE", raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for example in examples(TEXT):
        printed = run(example.command, monkeypatch)
        if example.shown:
            assert fits(printed, example.shown), f"line {example.line}: {example.command}\n{printed}"


def test_an_example_that_shows_something_else_is_found() -> None:
    assert fits("2 files\n", "… files\n")
    assert not fits("2 files\nand more\n", "… files\n")


@pytest.mark.parametrize("path", TREE)
def test_the_page_tells_of_a_command_with_all_its_options(path: str) -> None:
    assert page.section(path, TREE[path]) + "\n\n" in TEXT


def test_the_page_tells_of_the_options_of_every_command_and_of_the_exit_codes() -> None:
    assert page.common() + "\n" in TEXT
    assert page.exits() + "\n" in TEXT


def test_the_page_tells_of_no_other_command() -> None:
    assert re.findall(r"^### (.*)$", TEXT, re.MULTILINE) == list(TREE)


@pytest.mark.parametrize("path", TREE)
def test_every_command_has_an_example_that_runs(path: str) -> None:
    assert any(example.command.partition("artifactfs ")[2].startswith(path) for example in examples(TEXT))


def test_every_command_takes_store_and_json_and_tells_what_each_option_is_for() -> None:
    for path, command in TREE.items():
        names = {param.name for param in command.params}
        assert {"store_name", "json"} <= names, path
        assert all(param.help for param in command.params if isinstance(param, click.Option)), path


def test_every_command_that_deletes_has_a_dry_run_and_asks() -> None:
    for path in ("delete", "prune", "gc", "compact", "erase", "undo"):
        assert {"dry_run", "yes"} <= {param.name for param in TREE[path].params}, path


def test_the_list_of_commands_says_what_their_help_says() -> None:
    context = click.Context(root)
    for name, (_, text) in COMMANDS.items():
        command = root.get_command(context, name)
        assert command is not None and command.name == name
        assert (command.help or "").split("\n\n")[0].replace("\n", " ") == text


def test_all_commands_that_were_promised_are_there() -> None:
    promised = """ls tree put get cat stat log diff restore undo rm delete tag point search watch du verify gc prune compact
    erase migrate import keys config doctor"""
    assert set(COMMANDS) == set(promised.split())


def test_a_command_that_the_page_forgets_is_found() -> None:
    added = click.Command("forgotten", params=[click.Option(["--more"], help="More.")], help="Do more.")
    assert page.section("forgotten", added) not in TEXT
