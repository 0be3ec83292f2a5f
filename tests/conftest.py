"""What every test stands on: a clean environment, Hypothesis profiles, and real servers as session fixtures.

Server fixtures: `moto`, `ministack`, `rclone`, which pip brings, and `ceph`, `minio`, `fake_gcs`, which
`.ci/install-servers` installs. `s3_server` is each of moto and ministack, `any_server` each that creates atomically.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from . import servers

# Before any test imports a storage client: no setting of the person who runs the tests may reach them, and gcsfs would
# stall a minute for every bucket of an emulator, which it asks for its kind of storage layout.
for _name in list(os.environ):
    if _name.startswith(("AWS_", "S3_", "R2_", "GOOGLE_", "FSSPEC_")) or _name in (
        "ARTIFACTFS_URL",
        "ARTIFACTFS_CONFIG",
        "ARTIFACTFS_KEYS",
        "ARTIFACTFS_ACTIVE_KEY_ID",
        "ARTIFACTFS_SCOPE_SECRET",
    ):
        del os.environ[_name]
# On a CI, as it tells by these, pytest works out the whole difference of two values: for a megabyte that takes hours.
for _name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(_name, None)
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, [os.environ.get(_name), "127.0.0.1", "localhost"]))

# The same examples at every run, so that a failure is the change's own; `make nightly` looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("nightly", deadline=None, max_examples=5000, stateful_step_count=100, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pip-only", action="store_true", help="leave out the tests of servers that pip does not install")
    parser.addoption("--servers", metavar="NAME,…", help="leave out the tests of all other servers")


def _servers_of(item: pytest.Item) -> set[str]:
    """The servers that a test starts: by its marks, its fixtures, its parameters, or its class's `server_name`."""
    marked = {str(name) for mark in item.iter_markers("server") for name in mark.args}
    params = getattr(getattr(item, "callspec", None), "params", {}).values()
    named = {*getattr(item, "fixturenames", ()), getattr(getattr(item, "cls", None), "server_name", None)}
    named |= {value for value in params if isinstance(value, str)}
    return marked | (named & servers.SERVERS.keys())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    allowed = set(servers.FROM_PIP if config.getoption("--pip-only") else servers.SERVERS)
    if (chosen := config.getoption("--servers")) is not None:
        allowed &= set(chosen.split(","))
    left_out = [item for item in items if not _servers_of(item) <= allowed]
    if left_out:
        items[:] = [item for item in items if _servers_of(item) <= allowed]
        config.hook.pytest_deselected(items=left_out)


def _fixture(name: str) -> object:
    @pytest.fixture(scope="session", name=name)
    def server() -> Iterator[servers.Server]:
        try:
            start = servers.SERVERS[name]()
            with start as running:
                yield running
        except servers.Missing as missing:
            if os.environ.get("ARTIFACTFS_REQUIRE_SERVERS", "0") not in ("", "0"):
                pytest.fail(str(missing), pytrace=False)
            pytest.skip(str(missing))

    return server


for _name in servers.SERVERS:
    globals()[_name] = _fixture(_name)


def _param(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.server(name))


@pytest.fixture(params=[_param("moto"), _param("ministack")])
def s3_server(request: pytest.FixtureRequest) -> servers.Server:
    """Each S3 server that pip brings and whose creates are atomic."""
    server: servers.Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(params=[_param(name) for name in ("moto", "ministack", "ceph", "minio", "fake_gcs")])
def any_server(request: pytest.FixtureRequest) -> servers.Server:
    """Each server whose creates are atomic."""
    server: servers.Server = request.getfixturevalue(request.param)
    return server
