"""The command line where a person sits: progress, questions, colours, Ctrl-C; and where a pipe ends."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest

from artifactfs.cli.exits import Exit
from artifactfs.cli.progress import LONG

from .conftest import Cli
from .terminal import PROGRAM, Terminal

BIG = LONG + 4 * 1024 * 1024


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_progress_is_shown_at_a_terminal_and_leaves_standard_output_alone(cli: Cli) -> None:
    Path("big").write_bytes(os.urandom(BIG))
    with Terminal(["put", "big", "shop/alice/s1/big"], stdout=subprocess.PIPE) as terminal:
        terminal.wait_for(r"saving big.*/12\.6 MB")
        assert terminal.end() == Exit.OK
        assert terminal.process.stdout is not None
        assert terminal.process.stdout.read() == b"artifact://shop/alice/s1/big@0\n"
    with Terminal(["get", "shop/alice/s1/big", "-o", "again"]) as terminal:
        terminal.wait_for("getting big")
        assert terminal.end() == Exit.OK
    assert Path("again").read_bytes() == Path("big").read_bytes()


def test_lines_that_are_printed_beside_a_bar_go_where_they_belong(cli: Cli) -> None:
    for name in ("a", "b"):
        Path("in", name).parent.mkdir(exist_ok=True)
        Path("in", name).write_bytes(b"x")
    with Terminal(["put", "-r", "in", "shop/alice/s1"], stdout=subprocess.PIPE) as terminal:
        terminal.wait_for(r"saving in.*0/2")
        assert terminal.end() == Exit.OK
        assert terminal.process.stdout is not None
        assert terminal.process.stdout.read().splitlines() == [
            b"artifact://shop/alice/s1/a@0",
            b"artifact://shop/alice/s1/b@0",
        ]
        assert "artifact://" not in terminal.text


def test_nothing_is_shown_where_no_terminal_is(cli: Cli) -> None:
    Path("big").write_bytes(bytes(BIG))
    result = cli("put", "big", "shop/alice/s1/big")
    assert result.stderr == "" and result.stdout == "artifact://shop/alice/s1/big@0\n"


def test_a_deletion_is_asked_about_and_done_only_on_yes(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    for key, code, left in (("n\n", Exit.FAILED_CHECK, [0]), ("\n", Exit.FAILED_CHECK, [0]), ("y\n", Exit.OK, [])):
        with Terminal(["delete", "shop/alice/s1/a"]) as terminal:
            terminal.wait_for(r"deleting artifact://shop/alice/s1/a, all versions: 1 \(3 B\) for good. Go on\? \[y/N\]")
            terminal.press(key)
            assert terminal.end() == code
        assert cli.scope.versions("a") == left


def test_ctrl_c_at_the_question_deletes_nothing(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    with Terminal(["erase", "shop/alice"]) as terminal:
        terminal.wait_for("Go on")
        terminal.press("\x03")
        terminal.press("\n")  # Python may wait for a key before it looks at the signal
        assert terminal.end() == Exit.INTERRUPTED
        assert "artifactfs: interrupted" in terminal.text and "Traceback" not in terminal.text
    assert cli.scope.versions("a") == [0]


@pytest.mark.parametrize(("how", "code"), [("\x03", Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_a_save_that_is_cut_off_leaves_no_version_and_no_bytes(cli: Cli, how: str | signal.Signals, code: Exit) -> None:
    with Terminal(["put", "-", "shop/alice/s1/a"], stdin=subprocess.PIPE) as terminal:
        assert terminal.process.stdin is not None
        terminal.process.stdin.write(bytes(BIG))  # ends when almost all is read
        terminal.wait_for("saving a")
        if isinstance(how, str):
            terminal.press(how)
        else:
            terminal.process.send_signal(how)
        terminal.process.stdin.close()  # what waits for more sees the signal then
        assert terminal.end() == code
        assert "Traceback" not in terminal.text
    assert cli.scope.versions("a") == []
    assert bytes_below(cli.folder) < 2000  # what says that the number is taken


def test_a_get_that_is_cut_off_leaves_the_file_as_it_was(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.scope.save("a", bytes(BIG))
    Path("a").write_bytes(b"before")
    written: list[bytes] = []

    def interrupted(out: BinaryIO, data: bytes) -> None:
        out.write(data)
        written.append(data)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("artifactfs.cli.fetching.write_all", interrupted)
    assert cli.error("get", "shop/alice/s1/a", "-o", "a", code=Exit.INTERRUPTED) == "interrupted"
    assert [path.name for path in Path().iterdir()] == ["a"] and Path("a").read_bytes() == b"before"


def test_folders_are_bold_at_a_terminal_unless_no_colour_is_wanted(cli: Cli) -> None:
    cli.scope.save("folder/a", b"one")
    for wanted, bold in (("", True), ("1", False)):
        with Terminal(["ls", "shop/alice/s1"], env={"NO_COLOR": wanted}) as terminal:
            assert terminal.end() == Exit.OK
        assert "folder/" in terminal.text and ("\x1b[" in terminal.text) == bold


@pytest.mark.parametrize("arguments", [["cat", "shop/alice/s1/a"], ["log", "--json", "shop/alice/s1/b"]])
def test_a_reader_that_stops_is_no_error(cli: Cli, arguments: list[str]) -> None:
    cli.scope.save("a", bytes(1024 * 1024))
    cli.scope.save("b", b"one", metadata={"long": "x" * 60_000})
    cli.scope.save("b", b"two", metadata={"long": "x" * 60_000})
    reader, writer = os.pipe()
    process = subprocess.Popen([PROGRAM, *arguments], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert os.read(reader, 10)
    os.close(reader)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == Exit.BROKEN_PIPE


def test_a_watch_ends_when_nobody_reads_it_any_more_though_nothing_happens(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    process = subprocess.Popen([PROGRAM, "watch", "shop/alice/s1", "--from-start"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert b"shop/alice/s1/a@0" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == Exit.BROKEN_PIPE


def test_a_watch_tells_what_comes_and_goes_on_behind_it(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    command = [PROGRAM, "watch", "shop/alice/s1", "--from-start", "--state", "seen"]

    def told(*names: str, before: str = "") -> None:
        """*before* may come once more: the watch was ended between telling it and noting that."""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for name in names:
                if name == "c":
                    cli.scope.save("c", b"three")
                line = process.stdout.readline()
                if before and f"/{before}@0" in line:
                    line = process.stdout.readline()
                assert line.split()[1:3] == ["published", f"artifact://shop/alice/s1/{name}@0"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == Exit.TERMINATED

    told("a")
    cli.scope.save("b", b"two")
    told("b", "c", before="a")
