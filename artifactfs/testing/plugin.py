"""pytest's option ``--artifactfs-url``: the conformance suites on anybody's own store (docs/testing.md).

pytest imports this module wherever artifactfs is installed, so it imports nothing itself: what the option needs is in
`artifactfs.testing.own_run`, and the tests are those of `artifactfs.testing.own_store`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SUITES = Path(__file__).with_name("own_store.py")
"""What pytest collects where the option is given and no path is."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("artifactfs", "conformance suites of artifactfs")
    group.addoption(
        "--artifactfs-url",
        metavar="URL",
        help="store to prove, such as s3://my-bucket/some/prefix; without paths, run the suites that come with artifactfs "
        "there, in a fresh folder which is emptied at the end",
    )
    group.addoption(
        "--artifactfs-option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="option of that store, such as endpoint_url=http://127.0.0.1:9000; the value is JSON, or else text; "
        "may be given several times",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Name the suites where nobody named a path; before any conftest, as that of the current folder is not theirs."""
    known = early_config.known_args_namespace
    if known.artifactfs_url is not None and not known.file_or_dir:
        args.insert(0, str(SUITES))  # in front: an option at the end may take a value
        known.file_or_dir = [str(SUITES)]


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("artifactfs_url") is not None:
        from artifactfs.testing import own_run

        config.pluginmanager.register(own_run, "artifactfs-own-run")
    elif config.getoption("artifactfs_option"):
        raise pytest.UsageError("--artifactfs-option says how to open the store that --artifactfs-url names: give both")
