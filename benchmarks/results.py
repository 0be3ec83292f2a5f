"""What was measured, kept as JSON: all rounds of all sides, and on what machine. No name and no path of it."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .bench import Results
from .harness import plain
from .worker import PEERS

KEPT = Path(__file__).with_name("results") / "latest.json"
_OURS = ("fsspec", "msgspec", "cryptography", "s3fs", "gcsfs", "aiobotocore", "boto3", "obstore", "pins", "pyarrow")
_PEERS = ("google_adk", "google_adk_community", "solace_agent_mesh")


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    found = {package: _version(package) for package in _OURS}
    for package in _PEERS:
        paths = PEERS.parents[1].glob(f"lib/python*/site-packages/{package}-*.dist-info")
        found[package.replace("_", "-")] = next((path.name.split("-")[1].removesuffix(".dist") for path in paths), None)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "versions": {name: version for name, version in found.items() if version},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def begin(*, everything: bool) -> dict[str, Any]:
    """The results that a run adds to: none, or where it does not run *everything* those kept from the same machine."""
    here = machine()
    if not everything and KEPT.exists():
        kept: dict[str, Any] = read()
        if kept["machine"] == here:
            return kept
    return {"machine": here, "cases": {}}


def add(kept: dict[str, Any], name: str, size: str, took: float, found: Results) -> None:
    """Keep what a case found."""
    kept["cases"][name] = {
        "size": size,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "seconds": round(took, 1),
        "comparisons": [plain(one) for one in found.comparisons],
        "facts": [plain(one) for one in found.facts],
        "left_out": found.left_out,
    }


def write(kept: dict[str, Any]) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    text = json.dumps(kept, indent=1, ensure_ascii=False, default=str)
    KEPT.write_text(text + "\n", encoding="utf-8")


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return found
