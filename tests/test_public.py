"""The public surface: what is exported, what errors are, what an import costs, and that all of it is documented."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import artifactfs
from artifactfs import errors

ROOT = Path(__file__).resolve().parent.parent
MODULES = ["artifactfs", *(found.name for found in pkgutil.walk_packages(artifactfs.__path__, "artifactfs."))]
ERRORS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and kind.__module__ == errors.__name__]
HEAVY = {
    "s3fs",
    "gcsfs",
    "botocore",
    "aiobotocore",
    "aiohttp",
    "cryptography",
    "pandas",
    "tenacity",
    "yaml",
    "filetype",
    "duckdb",
}


# --- what is exported -------------------------------------------------------------------------------------------------


def test_what_is_exported_is_what_all_names() -> None:
    assert artifactfs.__all__ == sorted(set(artifactfs.__all__))
    assert set(artifactfs.__all__) <= set(dir(artifactfs))
    for name in artifactfs.__all__:
        assert getattr(artifactfs, name) is not None
    namespace: dict[str, Any] = {}
    exec("from artifactfs import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(artifactfs.__all__)


def test_what_is_exported_is_what_type_checkers_see() -> None:
    stub = (Path(artifactfs.__file__).parent / "__init__.pyi").read_text()
    seen = re.findall(r"^from artifactfs\.([\w.]+) import (\w+) as (\w+)$", stub, re.MULTILINE)
    assert all(name == again for _, name, again in seen)
    assert {name: home for home, name, _ in seen} == artifactfs._HOME
    assert re.findall(r'^    "(\w+)",$', stub, re.MULTILINE) == artifactfs.__all__


def test_the_version_is_that_of_the_distribution() -> None:
    assert artifactfs.__version__ == metadata.version("artifactfs")


def test_every_error_is_exported() -> None:
    assert {kind.__name__ for kind in ERRORS} <= set(artifactfs.__all__)


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ArtifactStor'"):
        _ = artifactfs.ArtifactStor


def test_both_stores_and_both_scopes_have_the_same_methods_with_the_same_arguments() -> None:
    for plain, awaited in (
        (artifactfs.ArtifactStore, artifactfs.AsyncArtifactStore),
        (artifactfs.Scope, artifactfs.AsyncScope),
    ):
        ours, theirs = dict(_methods(plain)), dict(_methods(awaited))
        assert ours.keys() == theirs.keys()
        for name in ours:
            if not isinstance(ours[name], property):
                assert list(inspect.signature(ours[name]).parameters) == list(
                    inspect.signature(theirs[name]).parameters
                )


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("ArtifactError", Exception),
        ("InvalidName", ValueError),
        ("InvalidRef", ValueError),
        ("ImmutableVersion", PermissionError),
        ("ImmutableVersion", ValueError),
        ("InvalidConfig", ValueError),
        ("InvalidMetadata", ValueError),
        ("PayloadTooLarge", ValueError),
        ("UnsupportedFormat", ValueError),
        ("ArtifactNotFound", FileNotFoundError),
        ("VersionNotFound", FileNotFoundError),
        ("Conflict", FileExistsError),
        ("ForeignPayload", FileExistsError),
        ("IntegrityError", OSError),
        ("BackendError", OSError),
        ("BackendUnavailable", ConnectionError),
        ("AccessDenied", PermissionError),
        ("KeyUnavailable", OSError),
        ("PointerNotManaged", OSError),
        ("UnsafeBackend", OSError),
    ],
)
def test_an_error_is_also_the_builtin_that_a_caller_expects(name: str, also: type[Exception]) -> None:
    kind = getattr(artifactfs, name)
    assert issubclass(kind, also) and issubclass(kind, artifactfs.ArtifactError)
    with pytest.raises(also, match="what was wrong"):
        raise kind("what was wrong")


def test_errors_of_the_store_below_have_one_base() -> None:
    below = {kind.__name__ for kind in ERRORS if issubclass(kind, artifactfs.BackendError)}
    assert below == {"BackendError", "BackendUnavailable", "AccessDenied", "UnsafeBackend"}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_errors_survive_pickling_with_all_they_carry(kind: type[errors.ArtifactError], protocol: int) -> None:
    error = kind("say what to do", store="s3://bucket", artifact="shop/alice/s1/a", in_progress=True, version=7)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert str(again) == str(error) == "say what to do"
    assert vars(again) == vars(error)
    assert again.store == "s3://bucket" and again.artifact == "shop/alice/s1/a"
    assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_errors_of_missing_and_existing_things_carry_the_number_that_the_system_gives_them() -> None:
    import errno

    assert artifactfs.ArtifactNotFound("gone").errno == artifactfs.VersionNotFound("gone").errno == errno.ENOENT
    assert artifactfs.Conflict("there").errno == errno.EEXIST
    assert artifactfs.AccessDenied("no").errno == errno.EACCES


# --- what an import costs ---------------------------------------------------------------------------------------------


def imported(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after *code*."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return {name.partition(".")[0] for name in told.stdout.split()}


def test_importing_the_package_brings_in_no_library_at_all() -> None:
    assert imported("import artifactfs") & (HEAVY | {"fsspec", "msgspec", "asyncio"}) == set()


def test_importing_the_errors_brings_in_no_library_at_all() -> None:
    assert (
        imported("import artifactfs.errors, artifactfs; artifactfs.Conflict") & (HEAVY | {"fsspec", "msgspec"}) == set()
    )


@pytest.mark.parametrize("url", ["memory://cost", "{folder}"])
def test_a_store_in_memory_or_a_folder_brings_in_no_network_library(url: str, tmp_path: Path) -> None:
    code = f"""
from artifactfs import ArtifactStore
scope = ArtifactStore({url.format(folder=tmp_path)!r}).scope("shop", "alice", "s1")
scope.save("report.csv", "a,b")
scope.load("report.csv"), list(scope.names()), scope.versions("report.csv"), scope.remove("report.csv")
"""
    assert imported(code) & (HEAVY | {"fsspec"}) == set()


def test_what_an_import_brings_in_is_seen() -> None:
    assert "yaml" in imported("import yaml")


# --- documentation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    text = importlib.import_module(module).__doc__ or ""
    assert len(text.split()) >= 5, f"{module} has no docstring"


@pytest.mark.parametrize("name", artifactfs.__all__)
def test_everything_public_is_documented(name: str) -> None:
    thing = getattr(artifactfs, name)
    if inspect.isfunction(thing):
        assert inspect.getdoc(thing)
        return
    if not inspect.isclass(thing):  # a union of records: its members are documented
        assert name == "Record"
        return
    own = vars(thing).get("__doc__")
    assert own and own.strip()
    undocumented = [method for method, held in _methods(thing) if not inspect.getdoc(held)]
    assert undocumented == []


def _methods(thing: type) -> Iterator[tuple[str, Any]]:
    """What a class of ours defines for others to use."""
    for name, held in vars(thing).items():
        if not name.startswith("_") and (callable(held) or isinstance(held, (property, classmethod, staticmethod))):
            yield name, held if isinstance(held, property) else getattr(thing, name)


# --- the repository ---------------------------------------------------------------------------------------------------


def files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    kept = (".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".cfg")
    return [ROOT / name for name in names if name.endswith(kept) and (ROOT / name).is_file()]


def test_no_file_names_a_folder_of_somebodys_machine_or_holds_a_secret() -> None:
    never = re.compile(
        r"(?<![\w.])/(?:home|Users|root|work)/[a-z][\w.-]*"  # absolute paths of one machine
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{40}"
        r"|\bA(?:KIA|SIA)[0-9A-Z]{16}\b"
        r"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files()
        for match in never.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_file_leaves_work_for_later_without_saying_so() -> None:
    later = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
    here = Path(__file__).resolve()
    found = [str(path.relative_to(ROOT)) for path in files() if path != here and later.search(path.read_text("utf-8"))]
    assert found == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "artifactfs" / "py.typed").is_file()
