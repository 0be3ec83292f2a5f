"""Build and install this repository's wheel, and run scripts that find it instead of the checkout."""

from __future__ import annotations

import ast
import fcntl
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore

from ..servers import Server

REPOSITORY = Path(__file__).resolve().parents[2]
MATERIAL = Path(__file__).with_name("material")
SECONDS = 240

# Appended to each script: that it used the wheel's copy, and did use it. Processes that it spawns import it as a module.
# And where pyarrow was used, an end that leaves out the last of Python's steps: in those pyarrow's threads may abort or hang
# a process that gave them a Python file, of any filesystem (apache/arrow#34314, apache/arrow#50482).
_CHECK = """
if __name__ == "__main__":
    import sys as _sys
    _used = getattr(_sys.modules.get("artifactfs"), "__file__", None)
    assert str(_used).startswith({folder!r}), f"artifactfs was not used from the wheel but from {{_used}}"
    if "pyarrow" in _sys.modules:
        import atexit as _atexit, gc as _gc, os as _os, threading as _threading
        _gc.collect()
        _threading._shutdown()
        _atexit._run_exitfuncs()
        _sys.stdout.flush()
        _sys.stderr.flush()
        _os._exit(0)
"""


def over_s3(formats: Iterable[str], *these: str) -> list[Any]:
    """Parameters of a test: all *formats*, of which over S3 only *these* are tried in CI."""
    return [pytest.param(one, marks=[pytest.mark.nightly_over_s3] * (one not in these)) for one in formats]


def install(shared: Path) -> Path:
    """The folder in which the wheel is installed, below *shared*; the first process to ask builds it."""
    folder = shared / "wheel"
    with (shared / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = shared / "wheel.made"
            _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made), str(REPOSITORY))
            (file,) = made.glob("artifactfs-*.whl")
            _pip("install", "--no-deps", "--no-compile", "--target", str(made / "installed"), str(file))
            (made / "installed").rename(folder)
    return folder


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"


@dataclass
class Tool:
    """Runs scripts of tools, each in a process of its own, in an empty folder, with a clean environment.

    A script may import modules of `tests/tools/material`. It fails by an exception, also one that Python could only
    print, and by a warning of the kinds that a user sees.
    """

    wheel: Path
    folder: Path
    _number: Any = field(default_factory=itertools.count)

    def __call__(self, script: str, *, helper: bool = False, **env: str) -> str:
        """What *script* prints. Names in *env* are environment variables.

        A script that imports artifactfs is refused unless *helper* says that it is about one of its helper modules.
        """
        file, here = self._prepare(script, helper)
        done = subprocess.run(
            self._command(file), cwd=here, env=self._environment(env), capture_output=True, text=True, timeout=SECONDS
        )
        self._judge(done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, script: str, *, helper: bool = False, **env: str) -> Running:
        """The same, without waiting for its end; lines may be exchanged with it meanwhile."""
        file, here = self._prepare(script, helper)
        errors = (here.parent / f"{here.name}.err").open("w+")
        process = subprocess.Popen(
            self._command(file),
            cwd=here,
            env=self._environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        return Running(self, process, errors)

    def _prepare(self, script: str, helper: bool) -> tuple[Path, Path]:
        text = textwrap.dedent(script)
        if not helper:
            refuse_imports(text)
        here = self.folder / str(next(self._number))
        here.mkdir(parents=True)
        file = self.folder / f"{here.name}.py"
        file.write_text(text + _CHECK.format(folder=f"{self.wheel}{os.sep}"), encoding="utf-8")
        return file, here

    def _command(self, file: Path) -> list[str]:
        return [sys.executable, "-P", "-W", "error::UserWarning", "-W", "always::ResourceWarning", str(file)]

    def _environment(self, env: dict[str, str]) -> dict[str, str]:
        kept = ("PATH", "LANG", "LC_ALL", "NO_PROXY", "no_proxy", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
        return {
            **{name: os.environ[name] for name in (*kept, "AWS_EC2_METADATA_DISABLED") if name in os.environ},
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(self.wheel), str(MATERIAL)]),
            **env,
        }

    def _judge(self, code: int, out: str, err: str) -> None:
        told = f"the script ended with {code}\n--- output\n{out}\n--- errors\n{err}"
        assert code == 0, told
        assert "Exception ignored" not in err, told


@dataclass
class Running:
    """A script that runs."""

    tool: Tool
    process: subprocess.Popen[str]
    errors: Any

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            if not pipe.closed:
                pipe.close()

    def ask(self, line: str) -> str:
        """Send a line to the script, and wait for the line that it answers with."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.finish()
        return answer.rstrip("\n")

    def finish(self) -> str:
        """End its input and wait for its end; what it printed since."""
        out, _ = self.process.communicate(timeout=SECONDS)
        self.errors.seek(0)
        self.tool._judge(self.process.returncode, out, self.errors.read())
        return out


def refuse_imports(script: str) -> None:
    for node in ast.walk(ast.parse(script)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] == "artifactfs" for name in names):
            raise AssertionError(
                "the script imports artifactfs, which users of a tool do not; say helper=True to allow it"
            )


@dataclass
class Root:
    """A store: its URL, and how a script reaches it.

    Attributes:
        url: such as ``s3://bucket/prefix``.
        storage_options: beside the URL.
        env: environment variables that name the store and the way to it, ``ARTIFACTFS_URL`` among them; without that
            one `way`.
    """

    url: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    way: dict[str, str] = field(default_factory=dict)

    @classmethod
    def on(cls, server: Server) -> Root:
        """A fresh bucket of an S3 server, or of a proxy in front of one."""
        way = {
            "S3_ENDPOINT_URL": server.url,
            "S3_ACCESS_KEY_ID": server.key,
            "S3_SECRET_ACCESS_KEY": server.secret,
        }
        return cls(server.bucket(), server.storage_options, way)

    @property
    def env(self) -> dict[str, str]:
        return {**self.way, "ARTIFACTFS_URL": self.url}

    def store(self) -> ArtifactStore:
        """The store in this process, to look and to save behind the tool's back."""
        return ArtifactStore(self.url, **self.storage_options)

    def versions(self, name: str) -> list[int]:
        """Of ``artifact://shop/alice/s1/{name}``."""
        with self.store() as store:
            return store.scope("shop", "alice", "s1").versions(name)
