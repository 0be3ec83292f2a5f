"""What commands do: references, saving and fetching, history, deleting, upkeep; and the JSON that they print."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from artifactfs import ArtifactStore
from artifactfs.cli import fetching
from artifactfs.cli.exits import Exit
from artifactfs.cli.moving import KINDS
from artifactfs.cli.output import size_text
from artifactfs.importing import Kind
from artifactfs.keys.keyring import new_key

from ..servers import Server
from .conftest import Cli
from .terminal import PROGRAM, Terminal
from .test_page import TEXT

A = "shop/alice/s1/a"
MIB = 1024 * 1024


# --- references and stores --------------------------------------------------------------------------------------------


def test_a_reference_is_in_full_or_relative_to_a_scope(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.scope.save("a", b"one")
    cli.scope.save("user:shared", b"two")
    assert cli("cat", A).stdout == cli("cat", f"artifact://{A}@0").stdout == "one"
    assert cli("cat", "--scope", "shop/alice/s1", "a").stdout == "one"
    monkeypatch.setenv("ARTIFACTFS_SCOPE", "shop/alice/s1")
    assert cli("cat", "a@0").stdout == "one"
    assert cli("cat", "user:shared").stdout == cli("cat", "artifact://shop/alice/user/shared").stdout == "two"
    assert cli("ls").stdout == "a\n" and cli("ls", "artifact://").stdout == "shop/\n"
    assert cli("--scope", "artifact://shop/alice/user", "ls").stdout == "shared\n"
    assert cli("ls", "--scope", "shop/bob/s1", "a", code=Exit.NOT_FOUND).stdout == ""


def test_the_store_is_an_option_a_chained_root_a_file_or_the_environment(cli: Cli, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ArtifactStore(tmp_path / name, durability="none").scope("shop", "alice", "s1").save("a", name)
    (tmp_path / "one.yaml").write_text("type: filesystem\nbase_path: one\n")
    cli.scope.save("a", b"environment")
    assert cli("cat", A).stdout == "environment"
    assert cli("--store", tmp_path / "one", "cat", A).stdout == "one"
    assert cli("--store", tmp_path / "one", "cat", "--store", tmp_path / "two", A).stdout == "two"
    assert cli("cat", A, "--store", tmp_path / "one.yaml").stdout == "one"
    assert cli("cat", f"artifact://{A}::{tmp_path / 'two'}").stdout == "two"
    Path("artifactfs.yaml").write_text(f"type: filesystem\nbase_path: {tmp_path / 'one'}\n")
    assert cli("cat", A).stdout == "one"


def test_a_command_that_reads_writes_nothing_into_the_store(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    before = sorted(cli.folder.rglob("*"))
    for command in (
        ["ls", "-l"],
        ["tree"],
        ["stat", A],
        ["log", A],
        ["du"],
        ["verify"],
        ["search"],
        ["gc", "--dry-run"],
    ):
        cli(*command)
    assert sorted(cli.folder.rglob("*")) == before


def test_a_bucket_is_a_store_and_one_that_is_not_there_is_unavailable(cli: Cli, moto: Server, tmp_path: Path) -> None:
    bucket = moto.bucket().removeprefix("s3://").partition("/")[0]
    text = f"type: s3\nendpoint_url: {moto.url}\naccess_key_id: {moto.key}\nsecret_access_key: {moto.secret}\n"
    there, elsewhere = tmp_path / "there.yaml", tmp_path / "elsewhere.yaml"
    there.write_text(f"{text}bucket_name: {bucket}\n")
    elsewhere.write_text(f"{text}bucket_name: nobodys-{bucket}\n")
    Path("long").write_bytes(os.urandom(MIB))
    assert cli("put", "--store", there, "long", A).stdout == f"artifact://{A}@0\n"
    cli("get", "--store", there, A, "-o", "again")
    assert Path("again").read_bytes() == Path("long").read_bytes()
    assert "there is no bucket" in cli.error("ls", "--store", elsewhere, code=Exit.UNAVAILABLE)
    with Terminal(["put", "-", "shop/alice/s1/cut", "--store", str(there)], stdin=subprocess.PIPE) as terminal:
        assert terminal.process.stdin is not None
        terminal.process.stdin.write(bytes(12 * MIB))
        terminal.wait_for("saving cut")
        terminal.press("\x03")
        terminal.process.stdin.close()
        assert terminal.end() == Exit.INTERRUPTED
    assert "Uploads" not in moto.client().list_multipart_uploads(Bucket=bucket)


# --- listing ----------------------------------------------------------------------------------------------------------


def test_what_is_listed_can_be_given_back(cli: Cli) -> None:
    names = ["logo@2", "100%.csv", "a b", "q*?", "reports/q1.csv", "..", "日本", "x\x1b[31m", "a//b", ".hidden"]
    for name in names:
        cli.scope.save(name, name.encode())
    shown = cli("ls", "-R", "shop/alice/s1").stdout.splitlines()
    assert "\x1b" not in "".join(shown) and len(shown) == len(names)
    assert {cli("cat", f"shop/alice/s1/{name}").stdout_bytes for name in shown} == {name.encode() for name in names}
    assert {entry["filename"] for entry in cli.json("ls", "-R", "shop/alice/s1")} == set(names)


def test_folders_are_listed_level_by_level_and_as_they_were(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    cli.scope.save("deep/er/x", b"two")
    between = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    cli.scope.save("b", b"three")
    cli.scope.tag("a", "prod")
    cli.scope.save("deep", b"a file of a folder's name")
    cli.store.scope("shop", "alice").save("shared", b"four")
    assert cli("ls", "shop").stdout == "alice/\n"
    assert cli("ls", "shop/alice").stdout == "s1/\nuser/\n"
    assert cli("ls", "shop/alice/s1").stdout.split() == ["a", "b", "deep", "deep/"]
    assert cli("ls", "shop/alice/s1/deep").stdout == "er/\n"
    assert cli("ls", f"shop/alice/s1/@{between}").stdout.split() == ["a", "deep/"]
    assert cli("ls", "shop/alice/s1/@prod").stdout == "a\n"
    assert cli("ls", A).stdout == "a\n"
    assert [entry["type"] for entry in cli.json("ls", "shop/alice")] == ["session", "user scope"]
    assert cli("tree", "shop").stdout.count("──") == 9


def test_what_is_used_is_what_lies_on_the_disk(cli: Cli) -> None:
    for name in ("a", "a", "deep/x", "deep"):
        cli.scope.save(name, b"x" * 1000)
    cli.store.scope("shop", "bob", "s1").save("a", b"y")
    cli.scope.tag("a", "prod")
    files = [path for path in (cli.folder / "shop").rglob("*") if path.is_file()]
    used = cli.json("du")
    assert (used["objects"], used["bytes"]) == (len(files), sum(path.stat().st_size for path in files))
    assert {part["name"]: part["versions"] for part in cli.json("du", "shop")["parts"]} == {"alice/": 4, "bob/": 1}
    assert {part["name"]: part["versions"] for part in cli.json("du", "shop/alice/s1")["parts"]} == {
        "a": 2,
        "deep": 1,
        "deep/": 1,
    }
    assert cli.json("du", A)["versions"] == 2 and cli.json("du", "shop/alice/s1/deep")["versions"] == 2


# --- saving and fetching ----------------------------------------------------------------------------------------------


def test_a_file_is_saved_with_its_type_and_metadata(cli: Cli) -> None:
    Path("page.html").write_bytes(b"<p>")
    record = cli.json("put", "page.html", "shop/alice/s1/", "--metadata", "a=b=c", "--metadata", '{"n": 1, "a": null}')
    assert record["ref"] == "artifact://shop/alice/s1/page.html@0"
    assert (record["mime_type"], record["metadata"]) == ("text/html", {"a": None, "n": 1})
    assert cli.json("put", "page.html", A, "--mime-type", "text/plain")["mime_type"] == "text/plain"
    assert cli.json("put", "page.html", A, "--expect", "0")["version"] == 1
    cli("put", "-", "shop/alice/s1/empty", data=b"")
    assert cli("cat", "shop/alice/s1/empty").stdout == ""


def test_a_folder_comes_back_as_it_was_saved(cli: Cli) -> None:
    names = ["100%.csv", "logo@2", "deep/er/x", "deep/.hidden", "a b", "日本"]
    for name in names:
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).write_bytes(name.encode())
    os.symlink("nowhere", "in/dangling")
    assert len(cli.json("put", "-r", "in", "shop/alice/s1/below")) == len(names)
    assert sorted(cli.scope.names(shared=False)) == sorted(f"below/{name}" for name in names)
    told = cli("get", "-r", "shop/alice/s1/below", "-o", "out").stdout.splitlines()
    assert {str(path.relative_to("out")): path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == {
        name: name.encode() for name in names
    }
    assert sorted(told) == sorted(f"out/{name}" for name in names)


def test_what_of_a_folder_is_not_saved_is_told(cli: Cli) -> None:
    Path("in/sub").mkdir(parents=True)
    Path("in/a").write_text("a")
    Path("in/link").symlink_to("sub")
    Path("in/broken").symlink_to("nowhere")
    os.mkfifo("in/pipe")
    result = cli("put", "-r", "in", "shop/alice/s1")
    assert result.stdout == "artifact://shop/alice/s1/a@0\n"
    assert result.stderr.splitlines() == [
        "artifactfs: left out in/link: it is a link to a folder",
        "artifactfs: left out in/broken: it is a link to nothing",
        "artifactfs: left out in/pipe: it is no file",
    ]


def test_what_is_whole_is_got_from_a_folder_where_something_is_damaged(cli: Cli, saved: Callable[..., None]) -> None:
    for name in ("a", "b", "c"):
        saved(name, b"text")
    (cli.folder / "shop/alice/s1/b/0").write_bytes(b"TEXT")
    result = cli("get", "-r", "shop/alice/s1", "-o", "out", code=Exit.FAILED_CHECK)
    assert result.stdout == "out/a\nout/c\n"
    assert "left out artifact://shop/alice/s1/b" in result.stderr
    assert sorted(os.listdir("out")) == ["a", "c"]


def test_no_name_leads_out_of_the_folder_that_is_written_to(cli: Cli) -> None:
    for name in ("..", "../../up", "/etc/passwd", "a/../b", "back\\slash"):
        cli.scope.save(name, b"x")
    for entry in cli.json("ls", "-R", "shop/alice/s1"):
        cli("get", entry["ref"], "-o", "out/")
    before = {path for path in Path("..").resolve().rglob("*") if "out" not in path.parts}
    result = cli("get", "-r", "shop/alice/s1", "-o", "out/all", code=Exit.FAILED_CHECK)
    assert "left out artifact://shop/alice/s1/%2E%2E: a folder has its name" in result.stderr
    assert {path for path in Path("..").resolve().rglob("*") if "out" not in path.parts} == before
    assert len([path for path in Path("out/all").rglob("*") if path.is_file()]) == 4


def test_a_file_that_is_here_is_replaced_only_when_it_is_named(cli: Cli) -> None:
    cli.scope.save("a", b"new")
    Path("a").write_bytes(b"old")
    assert "to write there all the same, say -o a" in cli.error("get", A, code=Exit.CONFLICT)
    assert Path("a").read_bytes() == b"old"
    Path("a").chmod(0o640)
    os.symlink("a", "link")
    cli("get", A, "-o", "link")
    assert Path("link").is_symlink() and Path("a").read_bytes() == b"new"
    assert stat.S_IMODE(Path("a").stat().st_mode) == 0o640
    assert cli.json("get", A, "-o", "into/")["file"] == "into/a"
    assert sorted(path.name for path in Path().iterdir()) == ["a", "into", "link"]


def test_a_pipe_and_a_device_are_written_to_and_stay(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    os.mkfifo("pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()))
    reader.start()
    cli("get", A, "-o", "pipe")
    reader.join(60)
    cli("get", A, "-o", os.devnull)
    assert read == [b"one"] and stat.S_ISFIFO(os.stat("pipe").st_mode) and stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert cli("get", A, "-o", "-").stdout == "one"


def test_a_write_that_is_not_atomic_is_found(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the tests that a `get` leaves the file as it was."""
    monkeypatch.setattr(fetching, "whole", lambda path: open(path, "wb"))  # noqa: SIM115
    cli.scope.save("a", b"genuine")
    (cli.folder / f"{A}/0").write_bytes(b"altered")
    Path("a").write_bytes(b"before")
    cli.error("get", A, "-o", "a", code=Exit.FAILED_CHECK)
    assert Path("a").read_bytes() != b"before"


def test_pointers_are_told_of_and_fetched_only_when_asked(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    cli("point", "shop/alice/s1/link", "https://example.org/x", "--size", "3")
    assert cli.json("stat", "shop/alice/s1/link")["uri"] == "https://example.org/x"
    result = cli("get", "-r", "shop/alice/s1", "-o", "out", code=Exit.FAILED_CHECK)
    assert result.stdout == "out/a\n" and "left out" in result.stderr


def test_long_files_pass_in_bounded_memory(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_KEYS", new_key("v1"))
    peaks = {}
    for size in (9, 41):
        with open("data", "wb") as file:
            for _ in range(size):
                file.write(os.urandom(MIB))
        peaks[size] = _peak("put", "data", A)
    assert max(peaks[41], _peak("get", A, "-o", "again"), _peak("cat", A)) - peaks[9] < 16 * MIB
    assert Path("again").read_bytes() == Path("data").read_bytes()


def _peak(*arguments: str) -> int:
    """The most bytes that a command held in memory."""
    process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- history ----------------------------------------------------------------------------------------------------------


def test_the_log_is_an_array_with_the_newest_version_first(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    cli.scope.save("a", b"three", metadata={"n": 1})
    cli.scope.remove("a")
    cli.scope.tag("a", "prod", 0)
    told = cli.json("log", A)
    assert [(one["version"], one["kind"], one["size_bytes"], one["tags"]) for one in told] == [
        (2, "removed", 0, []),
        (1, "blob", 5, []),
        (0, "blob", 3, ["prod"]),
    ]
    assert told[1]["ref"] == f"artifact://{A}@1" and told[1]["metadata"] == {"n": 1}
    assert "(removed)" in cli("log", A).stdout and "prod" in cli("log", A).stdout


def test_what_was_removed_or_overwritten_comes_back(cli: Cli) -> None:
    for content in (b"one\n", b"two\n"):
        cli.scope.save("a", content)
    assert "-one\n+two" in cli("diff", f"{A}@0").stdout
    assert cli.json("diff", f"{A}@0", f"{A}@0")["same"] is True
    assert cli.json("restore", f"{A}@0")["version"] == 2
    cli("rm", A, "--dry-run")
    assert cli("cat", A).stdout == "one\n"
    cli("rm", A, "--expect", "2")
    assert cli("ls", "shop/alice/s1", code=Exit.NOT_FOUND).stdout == ""
    assert cli.json("restore", A)["version"] == 4


def test_a_diff_of_hostile_text_shows_no_control_characters(cli: Cli) -> None:
    cli.scope.save("a", b"safe\n")
    cli.scope.save("a", "\x1b[2Jgone\u202e\u2028\n".encode())
    shown = cli("diff", f"{A}@0").stdout
    assert "\x1b" not in shown and "\u202e" not in shown and "\u2028" not in shown and "\\u001b[2Jgone" in shown


def test_a_session_is_taken_back_and_what_changed_meanwhile_is_left_alone(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.scope.save("a", b"one")
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    cli.scope.save("a", b"spoiled")
    cli.scope.save("b", b"new")
    plan = cli.json("undo", "shop/alice/s1", "--at", at, "--dry-run")
    assert [(step["name"], step["action"], step["outcome"]) for step in plan["steps"]] == [
        ("a", "restore", "planned"),
        ("b", "remove", "planned"),
    ]
    assert cli("cat", A).stdout == "spoiled"
    assert cli.json("undo", "shop/alice/s1", "--at", at, "--yes")["complete"] is True
    assert cli("cat", A).stdout == "one" and list(cli.scope.names()) == ["a"]
    cli.scope.save("a", b"spoiled again")
    monkeypatch.setattr("artifactfs.cli.history.confirm", lambda *_: cli.scope.save("a", b"meanwhile"))
    assert "changed" in cli("undo", "shop/alice/s1", "--at", at, code=Exit.CONFLICT).stdout
    assert cli("cat", A).stdout == "meanwhile"


# --- deleting and upkeep ----------------------------------------------------------------------------------------------


def test_a_dry_run_deletes_nothing_and_says_what_would_go(cli: Cli) -> None:
    for _ in range(3):
        cli.scope.save("a", b"x" * 10)
    Path("policy.yaml").write_text("retention:\n  rules:\n  - keep_last: 1\nother: {}\n")
    before = sorted(cli.folder.rglob("*"))
    assert cli.json("delete", A, "--dry-run")["deleted"] == [f"artifact://{A}@{number}" for number in (2, 1, 0)]
    assert cli.json("delete", f"{A}@-1", "--dry-run")["deleted"] == [f"artifact://{A}@2"]
    assert cli.json("erase", "shop/alice", "--dry-run") == {
        "ref": "artifact://shop/alice",
        "objects": 6,
        "dry_run": True,
    }
    assert [one["action"] for one in cli.json("prune", "--policy", "policy.yaml", "--dry-run")["versions"]] == [
        "deleted",
        "deleted",
        "kept",
    ]
    assert cli.json("compact", "--dry-run") == {"cleared": 0, "dry_run": True}
    assert cli.json("gc", "--dry-run")["collected"] == []
    assert sorted(cli.folder.rglob("*")) == before


def test_what_is_deleted_erased_and_pruned_is_gone(cli: Cli) -> None:
    for name in ("a", "b", "c"):
        for _ in range(3):
            cli.scope.save(name, b"x" * 10)
    Path("policy.yaml").write_text("rules:\n- keep_last: 1\n")
    cli("delete", f"{A}@1", "--yes")
    assert cli.scope.versions("a") == [0, 2]
    Path("store.yaml").write_text(
        f"type: filesystem\nbase_path: {cli.folder}\nretention:\n  rules:\n  - keep_last: 1\n"
    )
    assert cli.json("prune", "--store", "store.yaml", "--dry-run")["versions"][0]["action"] == "deleted"
    cli("prune", "shop/alice/s1", "--policy", "policy.yaml", "--yes")
    assert (cli.scope.versions("a"), cli.scope.versions("b")) == ([2], [2])
    cli("erase", "shop/alice/s1/b", "-y")
    assert not (cli.folder / "shop/alice/s1/b").exists()
    cli("delete", A, "-y")
    assert cli("ls", "shop/alice/s1").stdout == "c\n"


def test_damage_is_found_and_named(cli: Cli) -> None:
    cli.scope.save("a", b"genuine")
    cli.scope.save("b", b"whole")
    (cli.folder / f"{A}/0").write_bytes(b"altered")
    told = cli.json("verify", code=Exit.FAILED_CHECK)
    assert [(one["ref"], one["state"]) for one in told["damaged"]] == [(f"artifact://{A}@0", "altered")]
    assert cli.json("verify", "shop/alice/s1/b")["ok"] is True
    assert "altered: " in cli("verify", "shop/alice/s1", "--checkpoint", "here", code=Exit.FAILED_CHECK).stdout


def test_a_store_is_copied_and_a_folder_brought_in(cli: Cli, tmp_path: Path) -> None:
    cli.scope.save("a", b"one")
    assert cli.json("migrate", cli.folder, tmp_path / "copy", "--dry-run")["copied"] == 1
    assert not (tmp_path / "copy" / "shop").exists()
    assert cli.json("migrate", cli.folder, tmp_path / "copy")["complete"] is True
    cli.store.scope("shop", "alice", "s1").save("a", b"two")
    ArtifactStore(tmp_path / "copy").scope("shop", "alice", "s1").save("a", b"other")
    assert "conflicts: " in cli("migrate", cli.folder, tmp_path / "copy", code=Exit.CONFLICT).stdout
    Path("in").mkdir()
    Path("in/x.txt").write_bytes(b"x")
    assert cli.json("import", "folder", "in", "--app", "shop", "--user", "bob")["versions"] == 1
    assert cli("cat", "shop/bob/user/x.txt").stdout == "x"


def test_what_can_be_imported_is_what_the_library_imports() -> None:
    assert get_args(Kind) == KINDS


def test_keys_are_made_and_rotated(cli: Cli) -> None:
    assert re.fullmatch(r"v1:[\w-]{43}\n", cli("keys", "new").stdout)
    assert cli("keys", "new").stdout != cli("keys", "new").stdout
    for key in ("v1", "v2"):
        cli("keys", "new", key, "-o", "keys.txt")
    assert stat.S_IMODE(Path("keys.txt").stat().st_mode) == 0o600
    assert "has a key 'v2' already" in cli.error("keys", "new", "v2", "-o", "keys.txt", code=Exit.USAGE)
    Path("artifactfs.yaml").write_text(
        f"type: filesystem\nbase_path: {cli.folder}\nkeys_file: keys.txt\nactive_key_id: v1\n"
    )
    assert cli.json("put", "keys.txt", A)["key_id"] == "v1"
    assert cli.json("keys", "rotate", "--to", "v2")["complete"] is True
    assert cli.json("stat", A)["key_id"] == "v2"
    checked = cli.json("config", "check")
    assert (checked["sealed"], checked["keys"]) == (True, ["v1", "v2"])
    secret = Path("keys.txt").read_text().split(":")[1][:20]
    assert secret not in cli("config", "check").output


def test_a_search_tells_what_fits_and_as_of_when(cli: Cli) -> None:
    cli.scope.save("a.csv", b"one", metadata={"n": 1})
    cli.scope.save("b.txt", b"two")
    found = cli.json("search", "*.csv", "--metadata", '{"n": 1}', "--app", "shop")
    assert [hit["ref"] for hit in found["hits"]] == ["artifact://shop/alice/s1/a.csv@0"] and found["as_of"][-1] == "Z"
    assert "artifactfs search --fresh" in found["hint"]
    fresh = cli.json("search", "--fresh", "--mime-type", "text/*", "--since", "2020-01-01T00:00:00Z")
    assert len(fresh["hits"]) == 2 and fresh["hint"] == ""


# --- JSON and text ----------------------------------------------------------------------------------------------------

# Field names are a promise: what is here may be added to, and nothing may go.
RECORD = "ref kind filename mime_type version size_bytes timestamp metadata"
SHAPES = {
    "put": (["put", "f", A], f"{RECORD} sha256 stored_bytes"),
    "stat": (["stat", A], f"{RECORD} sha256 stored_bytes tags"),
    "log": (["log", A], f"{RECORD} sha256 stored_bytes tags"),
    "get": (["get", A, "-o", "out"], f"file {RECORD} sha256 stored_bytes"),
    "ls": (["ls", "shop/alice/s1"], f"type name {RECORD} sha256 stored_bytes"),
    "tree": (["tree"], f"type name {RECORD} sha256 stored_bytes"),
    "tag": (["tag", A, "prod"], "prod"),
    "diff": (["diff", f"{A}@0"], "before after kind same changes text cut"),
    "undo": (
        ["undo", "shop/alice/s1", "--at", "2020-01-01T00:00:00Z", "--dry-run"],
        "scope at unchanged complete steps",
    ),
    "delete": (["delete", A, "--dry-run"], "deleted dry_run"),
    "du": (["du"], "ref versions objects bytes parts"),
    "search": (["search"], "as_of hint hits"),
    "verify": (["verify"], "counts damaged damaged_more keys_lacking bytes_checked ok"),
    "gc": (["gc", "--dry-run"], "dry_run collected left bytes_freed"),
    "prune": (["prune", "--policy", "p", "--dry-run"], "dry_run now versions"),
    "compact": (["compact", "--yes"], "cleared dry_run"),
    "erase": (["erase", "shop/alice", "--dry-run"], "ref objects dry_run"),
    "migrate": (
        ["migrate", "../artifacts", "copy"],
        """copied copied_bytes already deleted tags in_progress conflicts damaged left_out failed more dry_run complete""",
    ),
    "import": (
        ["import", "folder", "in", "--app", "a", "--user", "u", "--dry-run"],
        "kind location dry_run artifacts versions size_bytes already notes complete",
    ),
    "keys new": (["keys", "new"], "id key"),
    "config check": (["config", "check"], "ok url options sealed keys users_hidden read_only"),
}


def test_json_has_the_fields_that_are_promised_and_documented(cli: Cli) -> None:
    cli.scope.save("a", b"one")
    cli.scope.save("a", b"two")
    Path("f").write_bytes(b"three")
    Path("p").write_text("rules:\n- keep_last: 1\n")
    Path("in").mkdir()
    Path("in/x").write_bytes(b"x")
    for command, (arguments, fields) in SHAPES.items():
        told: Any = cli.json(*arguments)
        (row,) = re.findall(rf"^\| [^|]*`{command}`[^|]*\| (.*) \|$", TEXT, re.MULTILINE)
        assert set(fields.split()) <= set((told[0] if isinstance(told, list) else told).keys()), command
        known = set(re.findall(r"`(\w+)`", row)) | set(RECORD.split()) | {"sha256", "stored_bytes", "tags", "prod"}
        assert set(fields.split()) <= known, command


def test_a_listing_that_fails_prints_no_part_of_an_array(cli: Cli) -> None:
    cli.folder.mkdir()
    assert cli("ls", "shop/nobody", "--json", code=Exit.NOT_FOUND).stdout == ""
    assert cli.json("ls") == []


def test_a_terminal_without_the_letters_of_a_name_is_no_failure(cli: Cli) -> None:
    cli.scope.save("日本", b"one")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    for arguments in (["ls", "shop/alice/s1"], ["ls", "--json", "shop/alice/s1"]):
        told = subprocess.run([PROGRAM, *arguments], capture_output=True, env=environment)
        assert told.returncode == 0 and b"\\u65e5\\u672c" in told.stdout


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_960, "10 kB"), (999_600, "1.0 MB"), (None, "-")]
)
def test_sizes_are_told_in_few_digits(size: int | None, text: str) -> None:
    assert size_text(size) == text


def test_saved_is_what_the_library_saved(cli: Cli, saved: Callable[..., None]) -> None:
    saved("a", b"\x00\xff" * 1000)
    assert cli("cat", A).stdout_bytes == b"\x00\xff" * 1000
