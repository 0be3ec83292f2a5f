"""`upath.UPath` over ``artifact://``: files, listings and names behave as pathlib's do, and versions stay readable."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from artifactfs import ArtifactStore
from artifactfs.refs import components
from artifactfs.upath import ArtifactPath

from ..test_escapes import CORPUS
from .wheel import Root, Tool

START = """
import os, pickle, warnings
warnings.simplefilter("error")
from upath import UPath

def raises(kind, work, *args, **kwargs):
    try:
        work(*args, **kwargs)
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind} was not raised")

s1 = UPath("artifact://shop/alice/s1")
"""


def test_files_are_written_and_read_and_each_version_stays(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
report = s1 / "report.csv"
for text in ("a,b\\n", "a,b\\n1,2\\n"):
    assert report.write_text(text) == len(text)
assert report.read_text() == "a,b\\n1,2\\n"
assert UPath("artifact://shop/alice/s1/report.csv@0").read_bytes() == b"a,b\\n"
assert (s1 / "@0" / "report.csv").read_text() == "a,b\\n"
with report.open("a") as f:
    f.write("3,4\\n")
with (s1 / "report.csv@-1").open() as f:
    assert [line.strip() for line in f] == ["a,b", "1,2", "3,4"]
raises(FileExistsError, report.open, "x")

one = (s1 / "report.csv@1").stat()
assert (one.st_size, report.stat().st_size) == (8, 12)
assert one.st_mtime <= report.stat().st_mtime
assert report.exists() and report.is_file() and not report.is_dir()
assert s1.exists() and s1.is_dir() and not s1.is_file()
assert not (s1 / "absent").exists() and not (s1 / "report.csv@9").exists()

told = raises(PermissionError, (s1 / "report.csv@1").write_text, "")
assert "write to artifact://shop/alice/s1/report.csv instead" in told
raises(PermissionError, (s1 / "report.csv@1").unlink)
raises(FileNotFoundError, (s1 / "absent").read_bytes)
raises(IsADirectoryError, s1.read_bytes)
raises(NotADirectoryError, lambda: list(report.iterdir()))
raises(TypeError, os.fspath, report)
""",
        **root.env,
    )
    assert root.versions("report.csv") == [0, 1, 2]


def test_files_are_moved_and_removed_and_their_history_stays(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
old, new = s1 / "old.txt", s1 / "folder" / "new.txt"
old.write_text("first")
old.write_text("second")
assert old.rename(new) == new
assert new.read_text() == "second" and not old.exists()
assert (s1 / "old.txt@0").read_text() == "first"
assert str(new.rename("artifact://shop/alice/s1/newer.txt")) == "artifact://shop/alice/s1/newer.txt"
assert (s1 / "newer.txt").copy(s1 / "copy.txt").read_text() == "second"

(s1 / "newer.txt").unlink()
raises(FileNotFoundError, (s1 / "newer.txt").unlink)
(s1 / "newer.txt").unlink(missing_ok=True)
assert (s1 / "newer.txt@0").read_text() == "second"

(s1 / "empty").touch()
(s1 / "empty").touch()
raises(FileExistsError, (s1 / "empty").touch, exist_ok=False)

(s1 / "plots").mkdir()
assert not (s1 / "plots").exists()
(s1 / "plots" / "one.svg").write_text("<svg/>")
(s1 / "plots").mkdir(exist_ok=True, parents=True)
raises(FileExistsError, (s1 / "plots").mkdir)
raises(FileExistsError, (s1 / "empty").mkdir, exist_ok=True)
(s1 / "plots").rmdir()
assert not (s1 / "plots").exists()
assert (s1 / "plots" / "one.svg@0").read_text() == "<svg/>"
""",
        **root.env,
    )


def test_what_listings_yield_opens(run_tool: Tool, root: Root) -> None:
    names = [
        "a.csv",
        "reports/q1.csv",
        "reports/2026/q2.csv",
        "logo@2",
        "logo@2.csv",
        "100% [new]?.csv",
        "data:a,b.csv",
    ]
    with root.store() as store:
        for name in names:
            store.scope("shop", "alice", "s 1#").save(name, name)
            store.scope("artifact", "alice", "s1").save(name, name)
        store.scope("shop", "alice").save("logo.png", "logo.png")
    run_tool(
        START
        + f"names = {names}"
        + """
top = UPath("artifact://")
assert [str(app) for app in top.iterdir()] == ["artifact://artifact", "artifact://shop"]
assert sorted(path.name for path in (top / "shop" / "alice").iterdir()) == ["s 1%23", "user"]
assert [path.read_text() for path in UPath("artifact://shop/alice/user").iterdir()] == ["logo.png"]
for path in (top / "artifact").rglob("*"):
    assert path.is_dir() or path.read_text() in names
assert [str(path) for path in (top / "artifact" / "alice").parents] == ["artifact://artifact", "artifact://"]

# The folder is typed as people type it, and found as it is spelled.
session = UPath("artifact://shop/alice/s 1#")
assert sorted(path.read_text() for path in session.iterdir() if path.is_file()) == sorted(n for n in names if "/" not in n)
assert sorted(path.read_text() for path in session.rglob("*.csv")) == sorted(n for n in names if n.endswith(".csv"))
assert sorted(path.read_text() for path in session.glob("reports/*.csv")) == ["reports/q1.csv"]
assert sorted(path.read_text() for path in session.glob("**/q?.csv")) == ["reports/2026/q2.csv", "reports/q1.csv"]
assert [path.name for path in session.glob("r*")] == ["reports"]
walked = [(str(path.relative_to(session)), folders, len(files)) for path, folders, files in session.walk()]
assert walked == [(".", ["reports"], 5), ("reports", ["2026"], 1), ("reports/2026", [], 1)]
for folder, _, files in session.walk():
    assert all((folder / file).read_text().endswith(folder.joinpath(file).read_text()[-4:]) for file in files)
latest = UPath("artifact://shop/alice/s 1%23/@latest")
assert sorted(path.read_text() for path in latest.rglob("*.csv")) == sorted(n for n in names if n.endswith(".csv"))
""",
        **root.env,
    )


def test_a_path_says_where_its_store_is_by_an_option_or_a_chained_url(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + f"root, options = {root.url!r}, {root.storage_options!r}"
        + """
protocol = root.partition(":")[0]
path = UPath("artifact://shop/alice/s1/a.txt", root=root, **options)
path.write_text("first")
assert (path.parent / "a.txt@0").read_text() == "first"
assert [child.read_text() for child in path.parent.glob("*.txt")] == ["first"]
assert pickle.loads(pickle.dumps(path)).read_text() == "first"

chained = UPath(f"artifact://shop/alice/s1/a.txt::{root}", **{protocol: options})
assert str(chained).startswith(f"artifact://shop/alice/s1/a.txt::{protocol}://")
chained.write_text("second")
assert (path.read_text(), chained.with_name("a.txt@0").read_text()) == ("second", "first")
assert [str(child) for child in chained.parent.iterdir()] == [str(chained)]
assert [child.read_text() for child in chained.parent.rglob("*.txt")] == ["second"]
assert pickle.loads(pickle.dumps(chained)).read_text() == "second"
assert [str(app).partition("::")[0] for app in UPath(f"artifact://::{root}", **{protocol: options}).iterdir()] == [
    "artifact://shop"
]
""",
        **root.way,
    )


def test_without_its_entry_point_upath_warns(run_tool: Tool) -> None:
    """The control of those above, which turn each warning into an error."""
    with pytest.raises(AssertionError, match="'artifact' filesystem not explicitly implemented"):
        run_tool(
            """
            from upath import UPath, registry
            del registry._registry._entries["artifact"]
            UPath("artifact://shop", root="memory://")
            """
        )


# --- names alone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stem", "suffixes"),
    [
        ("report.csv", "report", [".csv"]),
        ("report.csv@3", "report", [".csv"]),
        ("report.csv@-1", "report", [".csv"]),
        ("report.csv@latest", "report", [".csv"]),
        ("report.csv@prod", "report", [".csv"]),
        ("report.csv@2026-11-20T19:03:17.250000Z", "report", [".csv"]),
        ("report.tar.gz@0", "report.tar", [".tar", ".gz"]),
        ("logo@2.csv", "logo@2", [".csv"]),
        ("alice@example.com", "alice@example", [".com"]),
        ("q%231.csv@0", "q%231", [".csv"]),
        ("notes@4", "notes", []),
        (".profile", ".profile", []),
        ("@3", "@3", []),
        ("a.b@007", "a", [".b@007"]),
    ],
)
def test_a_suffix_leaves_the_version_out_and_the_name_keeps_it(name: str, stem: str, suffixes: list[str]) -> None:
    session = ArtifactPath("artifact://shop/alice/s1")
    for path in (session / name, (session / name).relative_to(session)):
        assert (path.name, path.stem, path.suffixes) == (name, stem, suffixes)
        assert path.suffix == "".join(suffixes[-1:])


def test_a_name_that_is_derived_names_no_version() -> None:
    session = ArtifactPath("artifact://shop/alice/s1")
    path = session / "report.csv@3"
    assert path.with_suffix(".parquet") == session / "report.parquet"
    assert path.with_suffix("") == session / "report"
    assert path.with_stem("final") == session / "final.csv"
    assert path.with_name("final.csv@1") == session / "final.csv@1"
    assert str((session / "@3" / "report.csv").with_suffix(".json")) == "artifact://shop/alice/s1/@3/report.json"


def test_paths_are_joined_and_taken_apart() -> None:
    path = ArtifactPath("artifact://shop/alice/s1/reports/q1.csv@2")
    session = path.parents[1]
    assert str(session) == "artifact://shop/alice/s1"
    assert [str(parent) for parent in session.parents] == ["artifact://shop/alice", "artifact://shop", "artifact://"]
    assert (
        session / "reports" / "q1.csv@2"
        == session / "reports/q1.csv@2"
        == session.joinpath("reports", path.name)
        == path
    )
    assert str(path.relative_to(session)) == "reports/q1.csv@2"
    assert path.is_relative_to(session) and not session.is_relative_to(path)
    assert session / path.relative_to(session) == path
    assert (path.parent / ".." / "a").resolve() == session / "a"
    assert path.as_uri() == str(path) == "artifact://shop/alice/s1/reports/q1.csv@2"
    assert path.protocol == "artifact" and path.path == "shop/alice/s1/reports/q1.csv@2"


def test_paths_are_equal_by_what_they_say_and_pickle(tmp_path: Path) -> None:
    path = ArtifactPath("artifact://shop/alice/s1/a", root=str(tmp_path))
    again = pickle.loads(pickle.dumps(path))
    assert again == path and hash(again) == hash(path) and type(again) is ArtifactPath
    assert path != path.with_name("a@0")
    assert path != ArtifactPath("artifact://shop/alice/s1/a", root=f"{tmp_path}/other")
    assert sorted([path, path.parent]) == [path.parent, path]


def test_every_name_that_is_iterated_opens(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    session = ArtifactPath("artifact://shop/alice/s1", root=str(tmp_path))
    saved = set()
    for name in CORPUS:
        try:
            scope.save(name, name)
        except ValueError:
            continue
        saved.add(name)
    assert len(saved) > 100
    saved -= {name for name in saved if name.startswith("user:")}

    def files(folder: ArtifactPath) -> set[str]:
        found = set()
        for path in folder.iterdir():
            found |= files(path) if path.is_dir() else {path.read_bytes().decode()}
        return found

    # Where an artifact and a folder have one name, it is a file to pathlib, and only globs go on below it.
    assert files(session) == {name for name in saved if saved.isdisjoint(_folders(name))}
    assert {path.read_bytes().decode() for path in session.rglob("*") if path.is_file()} == saved


def _folders(name: str) -> list[str]:
    pieces = components(name)
    return ["/".join(pieces[:end]) for end in range(1, len(pieces))]
