"""A Dask cluster of this machine for tests that hand their work to one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def a_cluster() -> Iterator[Any]:
    """A client of two workers, whose every port is one that is free: without a name for its page's port, each cluster
    wants 8787, and the second of two at once warns."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client
