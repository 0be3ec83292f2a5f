"""What starting the program imports: little, so that help and completion come at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from artifactfs.cli.root import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {"fsspec", "msgspec", "asyncio", "rich", "cryptography", "duckdb", "yaml", "s3fs", "gcsfs", "pandas"}

_SHOW = "print(str(sorted(sys.modules)).replace(chr(39), chr(34)))"


def imported(code: str) -> set[str]:
    """The modules that are imported when *code* has run."""
    code = f"import sys\n{code}\n{_SHOW}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(told.stdout.splitlines()[-1]))


def after(*arguments: str) -> set[str]:
    """The modules that are imported when a command has run."""
    return imported(
        f"from artifactfs.cli import main\nsys.argv[1:] = {arguments!r}\ntry:\n    main()\nexcept SystemExit:\n    pass"
    )


def test_importing_the_command_line_imports_no_library_and_no_store() -> None:
    found = imported("import artifactfs.cli")
    assert not {name.partition(".")[0] for name in found} & (HEAVY | {"click"})
    assert {name for name in found if name.startswith("artifactfs")} == {"artifactfs", "artifactfs.cli"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--json", "--version"], ["nonsense"]], ids=str)
def test_help_and_version_import_no_command_and_no_store(arguments: list[str]) -> None:
    found = after(*arguments)
    assert not {name.partition(".")[0] for name in found} & HEAVY
    assert not {f"artifactfs.cli.{module}" for module, _ in COMMANDS.values()} & found
    assert not {"artifactfs.store", "artifactfs.config", "artifactfs.records"} & found
    assert ("click" in found) == (arguments != ["--version"])


def test_help_of_every_command_imports_no_store() -> None:
    found = imported(
        "import click\nfrom artifactfs.cli.root import root\n"
        "for name in root.list_commands(click.Context(root)):\n"
        "    root.get_command(click.Context(root), name).get_help(click.Context(root))"
    )
    assert not {name.partition(".")[0] for name in found} & HEAVY
    assert not {"artifactfs.store", "artifactfs.config", "artifactfs.records", "artifactfs.doctor"} & found


def test_a_command_that_uses_a_store_is_seen_to_import_one(tmp_path: Path) -> None:
    assert "artifactfs.store" in after("ls", "--store", str(tmp_path))
