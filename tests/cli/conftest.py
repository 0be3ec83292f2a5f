"""A store in a folder, and the command line over it, in this process or in a terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from artifactfs import ArtifactStore, Scope
from artifactfs.cli.root import root


class Cli:
    """Runs commands over the store in `folder`, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ArtifactStore(folder, durability="none")
        self.scope: Scope = self.store.scope("shop", "alice", "s1")

    def __call__(self, *args: str | Path, data: bytes | None = None, code: int | None = 0) -> Result:
        """The result of a command, whose exit code is asserted; an error is one line, and no traceback."""
        result = CliRunner().invoke(root, [os.fspath(arg) for arg in args], input=data)
        if code is not None:
            assert result.exit_code == code, result.output
        assert all(line.startswith("artifactfs: ") for line in result.stderr.splitlines())
        return result

    def error(self, *args: str | Path, code: int, data: bytes | None = None) -> str:
        """The one line of error of a command that prints nothing else."""
        result = self(*args, data=data, code=code)
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        return line.removeprefix("artifactfs: ")

    def json(self, *args: str | Path, code: int = 0) -> Any:
        return json.loads(self(*args, "--json", code=code).stdout)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Over a fresh store that the environment names; the current folder is another, empty one."""
    monkeypatch.setenv("ARTIFACTFS_URL", str(tmp_path / "artifacts"))
    monkeypatch.delenv("ARTIFACTFS_SCOPE", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Cli(tmp_path / "artifacts")


@pytest.fixture
def saved(cli: Cli) -> Callable[..., None]:
    """Saves versions of an artifact."""

    def save(name: str, *contents: bytes) -> None:
        for content in contents:
            cli.scope.save(name, content)

    return save
