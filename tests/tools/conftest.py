"""What the tests of the data tools stand on: the installed wheel, a process to run a script in, and the stores.

def test_a_table_is_read(run_tool, root):
    run_tool(SCRIPT, **root.env)       # SCRIPT imports pandas, and reads artifact://shop/alice/s1/…
    assert root.versions("t.csv") == [0]
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import wheel as wheels
from .wheel import Root, Tool


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        others = not item.path.stem.startswith("test_pandas")  # pandas and pyarrow below it go over S3 in CI too
        if (others or item.get_closest_marker("nightly_over_s3")) and params.get("root") == "moto":
            item.add_marker(pytest.mark.nightly)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that this repository's wheel is installed in; made once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    return wheels.install(base if worker_id == "master" else base.parent)


@pytest.fixture
def run_tool(wheel: Path, tmp_path: Path) -> Tool:
    """Run a script as somebody does who installed the wheel: see `wheel.Tool`."""
    return Tool(wheel, tmp_path / "tool")


@pytest.fixture(params=["local", pytest.param("moto", marks=pytest.mark.server("moto"))])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    """An empty store: in a folder, and in a bucket."""
    if request.param == "local":
        return Root(f"file://{tmp_path}/store")
    return Root.on(request.getfixturevalue("moto"))
