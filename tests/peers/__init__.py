"""Running the packages whose stores are imported, in the environment that ``make peers`` makes for them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = _ROOT / ".venv-peers" / "bin" / "python"


class Loaded(NamedTuple):
    """A version as the service's own loader gives it. No `data`: it loads nothing, or what a `uri` points to."""

    app: str
    user: str
    session: str | None
    name: str
    version: int
    data: bytes | None
    mime_type: str | None
    text: bool
    uri: str | None


def run(service: str, **told: Any) -> list[dict[str, Any]]:
    """Have a service save a little of everything; what it says itself of all that."""
    if not _PYTHON.exists():
        why = "the packages whose stores are imported are not installed: make peers"
        if os.environ.get("ARTIFACTFS_REQUIRE_SERVERS", "0") not in ("", "0"):
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    command = [str(_PYTHON), str(Path(__file__).with_name("work.py")), service]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
    done = subprocess.run(command, input=json.dumps(told).encode(), capture_output=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def loaded(service: str, **told: Any) -> list[Loaded]:
    """As `run`, of a service with a loader."""
    return [
        Loaded(**{**one, "data": None if one["data"] is None else base64.b64decode(one["data"])})
        for one in run(service, **told)
    ]
