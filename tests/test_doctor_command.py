"""``artifactfs doctor``: what it prints, and what it ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from artifactfs.cli.root import root


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        root.main(["doctor", *arguments], prog_name="artifactfs")
    return int(ended.value.code or 0), capsys.readouterr().out


def test_a_store_that_can_be_used_ends_with_0_and_the_last_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = doctor(capsys, "--store", str(tmp_path / "store"))
    assert code == 0
    assert out.splitlines()[-1] == f"file://{tmp_path}/store can be used for reading and saving."
    assert (
        "permission create" in out
        and "permission create" not in doctor(capsys, "--read-only", "--store", str(tmp_path / "store"))[1]
    )


def test_json_is_the_diagnosis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = doctor(capsys, "--json", "--store", str(tmp_path))
    found: dict[str, Any] = json.loads(out)
    assert code == 0 and set(found) == {"store", "at", "verdict", "summary", "checks"}
    assert {one["name"]: one["state"] for one in found["checks"]}["reach"] == "ok"


def test_what_does_not_work_ends_with_1_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out = doctor(capsys)
    assert code == 1 and "ARTIFACTFS_URL" in out.splitlines()[-1]
    (tmp_path / "artifactfs.yaml").write_text("type: filesystem\nbase_path: store\ndurability: maybe\n")
    code, out = doctor(capsys)
    assert code == 1 and "FAILED" in out and "durability" in out.splitlines()[-1]
