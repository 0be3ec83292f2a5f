"""What is wrong is told in one line, with an exit code that a script can act on, and never by a traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifactfs import ArtifactStore, errors
from artifactfs.cli.exits import Exit, code_of, told
from artifactfs.cli.root import COMMANDS, root
from artifactfs.keys.keyring import new_key

from .conftest import Cli

NOWHERE = "shop/alice/s1/nothing"

# Every command with something that it cannot be given; the store holds shop/alice/s1/a, of one version, and a removed one.
WRONG = [
    (["ls", "shop/nobody"], Exit.NOT_FOUND, "nothing lies at artifact://shop/nobody"),
    (["ls", "a//b"], Exit.USAGE, "holds the component ''"),
    (["ls", "shop/alice/s1/@3/"], Exit.USAGE, "have numbers of their own"),
    (["tree", NOWHERE], Exit.NOT_FOUND, "there is no artifact"),
    (["put", "missing.csv", "shop/alice/s1/a"], Exit.USAGE, "missing.csv: No such file"),
    (["put", ".", "shop/alice/s1/a"], Exit.USAGE, "is a folder: add -r"),
    (["put", "-r", "missing", "shop/alice/s1"], Exit.USAGE, "missing is no folder"),
    (["put", "-r", "--expect", "1", ".", "shop/alice/s1"], Exit.USAGE, "--expect is about one artifact"),
    (["put", "-", "shop/alice/s1"], Exit.USAGE, "standard input has no name"),
    (["put", "-", "shop/alice"], Exit.USAGE, "names no artifact"),
    (["put", "-", "shop/alice/s1/a@3"], Exit.USAGE, "put takes no version.*write %40 for the '@' of a name"),
    (["put", "-", "shop/alice/s1/a", "--expect", "7"], Exit.CONFLICT, "expected to be at version 7"),
    (["put", "-", "shop/alice/s1/a", "--expect", "absent"], Exit.CONFLICT, "absent"),
    (["put", "-", "shop/alice/s1/a", "--expect", "-1"], Exit.USAGE, "neither a version number nor 'absent'"),
    (["put", "-", "shop/alice/s1/a", "--metadata", "x"], Exit.USAGE, "neither KEY=VALUE nor a JSON object"),
    (["put", "-", "shop/alice/s1/a", "--metadata", "{x"], Exit.USAGE, "no JSON object"),
    (["put", "-", "shop/alice/s1/a", "--metadata", '{"x": NaN}'], Exit.USAGE, "JSON cannot hold"),
    (["put", "-", "shop/alice/s1/a", "--mime-type", "nonsense"], Exit.USAGE, "nonsense"),
    (["put", "-", "shop/alice/s1/" + "x" * 2000], Exit.USAGE, "x"),
    (["get", NOWHERE], Exit.NOT_FOUND, "there is no artifact"),
    (["get", "shop/alice/s1/folder"], Exit.NOT_FOUND, "is a folder of artifacts"),
    (["get", "shop/alice/s1/a", "-o", "missing/file"], Exit.USAGE, "missing/file: No such file or directory"),
    (["get", "shop/alice/s1/a", "-o", "-", "--json"], Exit.USAGE, "leave --json out"),
    (["get", "shop/alice/s1/link"], Exit.USAGE, "add --follow"),
    (["get", "-r", "shop"], Exit.USAGE, "too much to get at once"),
    (["get", "-r", "shop/alice/s1", "-o", "-"], Exit.USAGE, "give -o a folder"),
    (["cat", "shop/alice/s1/a@7"], Exit.NOT_FOUND, "has no version 7 .newest is 0"),
    (["cat", "shop/alice/s1/a@prod"], Exit.NOT_FOUND, r"no tag 'prod'.*write artifact://shop/alice/s1/a%40prod"),
    (["cat", "shop/alice/s1/gone"], Exit.NOT_FOUND, "was removed at version 1"),
    (["cat", "shop/alice/s1"], Exit.USAGE, "names no artifact"),
    (["cat", "--json", "shop/alice/s1/a"], Exit.USAGE, "leave --json out"),
    (["stat", NOWHERE], Exit.NOT_FOUND, "there is no artifact"),
    (["log", NOWHERE], Exit.NOT_FOUND, "there is no artifact"),
    (["log", "shop/alice/s1/a@0"], Exit.USAGE, "log takes no version"),
    (["diff", "shop/alice/s1/a"], Exit.USAGE, "say what to compare"),
    (["diff", "shop/alice/s1/a@0", NOWHERE], Exit.NOT_FOUND, "there is no artifact"),
    (["restore", "shop/alice/s1/a"], Exit.CONFLICT, "is there, at version 0"),
    (["restore", NOWHERE], Exit.NOT_FOUND, "never saved"),
    (["undo", "shop/alice/s1"], Exit.USAGE, "--at"),
    (["undo", "shop/alice/s1", "--at", "yesterday"], Exit.USAGE, "is no time"),
    (["undo", "shop/alice/s1/a", "--at", "2026-01-01T00:00:00Z"], Exit.USAGE, "a whole session"),
    (["rm", NOWHERE], Exit.NOT_FOUND, "there is no artifact"),
    (["rm", "shop/alice/s1/a", "--expect", "4"], Exit.CONFLICT, "version 4"),
    (["rm", "shop/alice/s1/a@0"], Exit.USAGE, "rm takes no version"),
    (["delete", NOWHERE, "--yes"], Exit.NOT_FOUND, "there is no artifact"),
    (["delete", "shop/alice/s1/a@9", "--yes"], Exit.NOT_FOUND, "no version 9"),
    (["delete", "shop/alice/s1/a@latest", "--yes"], Exit.USAGE, "a version by its number"),
    (["tag", "shop/alice/s1/a", "Prod"], Exit.USAGE, "is no tag"),
    (["tag", "shop/alice/s1/a", "prod", "--expect", "3"], Exit.CONFLICT, "prod"),
    (["tag", "shop/alice/s1/a", "prod", "--delete"], Exit.NOT_FOUND, "prod"),
    (["tag", "shop/alice/s1/a", "--delete"], Exit.USAGE, "say which TAG"),
    (["tag", NOWHERE, "prod"], Exit.NOT_FOUND, "there is no artifact"),
    (["point", "shop/alice/s1/a", "file:///etc/passwd"], Exit.USAGE, "file"),
    (["point", "shop/alice/s1/a", "https://example.org", "--sha256", "abc"], Exit.USAGE, "abc|SHA-256"),
    (["du", "shop/nobody"], Exit.NOT_FOUND, "nothing lies at"),
    (["du", "shop/alice/s1/a@0"], Exit.USAGE, "counts all versions"),
    (["search", "--since", "never"], Exit.USAGE, "is no time"),
    (["search", "--limit", "-1"], Exit.USAGE, "-1"),
    (["watch", "shop"], Exit.USAGE, "neither a session nor the whole store"),
    (["watch", "shop/alice/s1", "--every", "0"], Exit.USAGE, "every"),
    (["verify", "shop"], Exit.USAGE, "neither a session nor the whole store"),
    (["verify", NOWHERE], Exit.NOT_FOUND, "there is no artifact"),
    (["verify", "shop/alice/s1/a", "--checkpoint", "x"], Exit.USAGE, "--checkpoint is for"),
    (["gc", "shop/alice/s1/a", "--yes"], Exit.USAGE, "neither a session nor the whole store"),
    (["prune"], Exit.USAGE, "nothing says what is kept: give --policy"),
    (["prune", "--policy", "missing.yaml"], Exit.USAGE, "missing.yaml: cannot be read: No such file"),
    (["prune", "--policy", "wrong.yaml"], Exit.USAGE, "wrong.yaml: "),
    (["compact"], Exit.USAGE, "no terminal is there to ask at: add --yes, or --dry-run"),
    (["delete", "shop/alice/s1/a"], Exit.USAGE, "no terminal is there to ask at"),
    (["erase", "shop", "--yes"], Exit.USAGE, "too much to erase at once"),
    (["erase", "shop/alice/user", "--yes"], Exit.USAGE, "what sessions share"),
    (["erase", "shop/alice/s1/a@0", "--yes"], Exit.USAGE, "erase takes no version"),
    (["erase", "shop/nobody", "--yes"], Exit.NOT_FOUND, "nothing lies at"),
    (["migrate", "missing", "there"], Exit.UNAVAILABLE, "there is no folder"),
    (["migrate", "--store", "third", "missing", "there"], Exit.USAGE, "leave --store out"),
    (["migrate", "../artifacts", "../artifacts"], Exit.USAGE, "are one store"),
    (["import", "tape", "."], Exit.USAGE, "'tape' is not one of"),
    (["import", "folder", "."], Exit.USAGE, "neither app nor user: give --app and --user"),
    (["import", "folder", ".", "--app", "a", "--user", "u", "--option", "x"], Exit.USAGE, "--option x is neither"),
    (["import", "folder", "missing", "--app", "a", "--user", "u"], Exit.NOT_FOUND, "missing"),
    (["keys", "new", "a b"], Exit.USAGE, "an id has"),
    (["keys", "rotate", "--to", "v2"], Exit.USAGE, "no keys"),
    (["keys", "rotate", "shop/alice", "--to", "v2"], Exit.USAGE, "cannot be rotated by itself"),
    (["config", "check", "missing.yaml"], Exit.FAILED_CHECK, "missing.yaml: cannot be read"),
    (["config", "check", "wrong.yaml"], Exit.FAILED_CHECK, "wrong.yaml: "),
    (["doctor", "shop"], Exit.USAGE, "shop"),
    (["nonsense"], Exit.USAGE, "No such command 'nonsense'"),
    (["ls", "--nonsense"], Exit.USAGE, "No such option"),
    (["stat"], Exit.USAGE, "Missing argument 'REF'"),
    (["--scope", "shop/alice", "ls"], Exit.USAGE, "--scope is app/user/session"),
    (["--store", "", "ls"], Exit.USAGE, "--store is empty"),
    (["--store", "s3:/bucket", "ls"], Exit.USAGE, "looks like a URL and is none"),
    (["--store", "nosuch://x", "ls"], Exit.USAGE, "nosuch"),
    (["--store", "missing", "ls"], Exit.UNAVAILABLE, "there is no folder missing"),
    (["--store", "x", "ls", "artifact://shop::y"], Exit.USAGE, "another one is named as well"),
]


@pytest.fixture
def holding(cli: Cli) -> Cli:
    cli.scope.save("a", b"one")
    cli.scope.save("folder/inner", b"two")
    cli.scope.save("gone", b"three")
    cli.scope.remove("gone")
    cli.scope.point("link", "https://example.org/x")
    Path("wrong.yaml").write_text("rules: [\n")
    return cli


def test_bad_input_of_every_command_is_told_in_one_line_with_its_exit_code_and_changes_nothing(holding: Cli) -> None:
    before = stored(holding.folder)
    for arguments, code, message in WRONG:
        line = holding.error(*arguments, code=code, data=b"data")
        assert re.search(message, line), f"{arguments}: {line}"
    assert stored(holding.folder) == before


def stored(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_command_is_among_those_that_are_given_bad_input() -> None:
    assert {arguments[0] for arguments, _, _ in WRONG} >= set(COMMANDS)


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type)], ids=repr)
def test_every_error_of_the_library_has_an_exit_code_of_its_own_kind(kind: type[Exception]) -> None:
    if issubclass(kind, errors.ArtifactError):
        assert code_of(kind("what")) not in (Exit.OK, Exit.LOCAL, Exit.INTERNAL)
        assert "\n" not in told(kind("two\nlines\x1b[31m"))
        assert "\x1b" not in told(kind("two\nlines\x1b[31m"))


@pytest.mark.parametrize("group", [[], ["keys"], ["config"]])
def test_without_a_command_the_help_is_shown_as_it_is(group: list[str]) -> None:
    result = CliRunner().invoke(root, group)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert result.stderr == CliRunner().invoke(root, [*group, "--help"]).stdout


def test_a_missing_store_is_said_with_all_that_can_be_done(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARTIFACTFS_URL")
    line = cli.error("ls", code=Exit.USAGE)
    assert all(word in line for word in ("--store", "ARTIFACTFS_URL", "artifactfs.yaml"))


def test_what_is_sealed_and_has_no_key_here_is_denied(cli: Cli) -> None:
    ArtifactStore(cli.folder, keys=new_key("v1")).scope("shop", "alice", "s1").save("secret", b"secret")
    assert "ARTIFACTFS_KEYS" in cli.error("cat", "shop/alice/s1/secret", code=Exit.DENIED)


def test_users_that_are_hidden_cannot_be_listed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_SCOPE_SECRET", "s" * 32)
    cli("put", "-", "shop/alice/s1/a", data=b"x")
    assert cli("ls", "shop/alice/s1").stdout == "a\n"
    assert "cannot be listed" in cli.error("ls", "shop", code=Exit.DENIED)


def test_altered_bytes_are_a_failed_check_and_leave_no_file(cli: Cli) -> None:
    cli.scope.save("a", b"genuine")
    (cli.folder / "shop/alice/s1/a/0").write_bytes(b"altered")
    assert "does not match its record" in cli.error("get", "shop/alice/s1/a", code=Exit.FAILED_CHECK)
    assert list(Path().iterdir()) == []
    assert cli("verify", "shop/alice/s1/a", code=Exit.FAILED_CHECK).stdout.startswith("altered: ")


def test_a_closed_port_is_an_unavailable_store(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "closed.yaml"
    file.write_text(
        "type: s3\nbucket_name: b\nendpoint_url: http://127.0.0.1:9\naccess_key_id: k\nsecret_access_key: s\n"
        "tries: 1\ndeadline: 5\n"
    )
    assert "artifactfs doctor" in cli.error("ls", "--store", file, code=Exit.UNAVAILABLE)


def test_a_mistake_of_the_program_is_one_line_and_with_debug_a_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("artifactfs.cli.invocation.open_store", broken)
    assert "RuntimeError: a mistake" in cli.error("ls", code=Exit.INTERNAL)
    assert "Traceback" in CliRunner().invoke(root, ["--debug", "ls"]).stderr


def test_without_click_the_program_says_what_to_install() -> None:
    code = "import sys; sys.modules['click'] = None; from artifactfs.cli import main; main()"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 2 and told.stdout == ""
    assert told.stderr == "artifactfs: the command line needs click: pip install 'artifactfs[cli]'\n"
