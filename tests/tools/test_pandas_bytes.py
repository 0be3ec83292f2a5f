"""What pandas moves over the wire when it reads a part of a large artifact from S3."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactfs import ArtifactStore

from ..proxy import Proxy, Request, in_front_of
from ..servers import Server
from .wheel import Root, Tool

BYTES = 100_000_000
COLUMNS = 250
"""So many that a piece of one column is small, and any read-ahead shows."""


@dataclass(frozen=True)
class Large:
    """A parquet artifact, 100 MB that cannot be compressed, in eight row groups."""

    root: Root
    front: Proxy
    size: int
    needed: int

    def env(self) -> dict[str, str]:
        return {**self.root.env, "S3_ENDPOINT_URL": self.front.url}

    def moved(self, requests: list[Request]) -> int:
        """Bytes of the payload that *requests* asked for."""
        return sum(self.asked(request) for request in requests)

    def asked(self, request: Request) -> int:
        if request.method != "GET" or not re.search(r"/t\.parquet/\d+$", request.path):
            return 0
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "bytes=0-"))
        assert match is not None
        if not match[1]:
            return min(int(match[2]), self.size)
        return max(0, min(int(match[2] or self.size), self.size - 1) - int(match[1]) + 1)


@pytest.fixture(scope="module")
def large(moto: Server) -> Iterator[Large]:
    rng = np.random.default_rng(0)
    rows = BYTES // COLUMNS // 8
    table = pa.table({f"c{number}": rng.standard_normal(rows) for number in range(COLUMNS)})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=-(-rows // 8))
    details = pq.read_metadata(file)
    groups = [details.row_group(number) for number in range(details.num_row_groups)]
    needed = details.serialized_size + sum(group.column(7).total_compressed_size for group in groups)
    root = Root.on(moto)
    with ArtifactStore(root.url, **root.storage_options) as store:
        store.scope("shop", "alice", "s1").save("t.parquet", file.getbuffer())
    with in_front_of(moto.url) as front:
        yield Large(root, front, len(file.getbuffer()), needed)


@pytest.mark.parametrize("place", ["t.parquet", "t.parquet@0", "@0/t.parquet"])
def test_one_column_of_a_large_table_moves_less_than_twice_its_bytes(place: str, large: Large, run_tool: Tool) -> None:
    """And no more than three requests come before the first one for data, though pandas and pyarrow look three times."""
    assert large.size > BYTES and large.needed < large.size / 20
    with large.front.counted() as seen:
        run_tool(
            f"""
            import pandas as pd
            back = pd.read_parquet("artifact://shop/alice/s1/{place}", columns=["c7"])
            assert list(back.columns) == ["c7"] and abs(back["c7"].mean()) < 0.1
            """,
            **large.env(),
        )
    lines = [f"{request} {request.headers.get('range', '')} {large.asked(request)}" for request in seen]
    before = next(number for number, request in enumerate(seen) if large.asked(request))
    assert before <= 3, lines
    assert large.moved(seen) < 2 * large.needed, lines


def test_counting_sees_a_reader_that_takes_it_all(large: Large, run_tool: Tool) -> None:
    with large.front.counted() as seen:
        run_tool(
            """
            import pandas as pd
            pd.read_parquet("artifact://shop/alice/s1/t.parquet")
            """,
            **large.env(),
        )
    assert large.moved(seen) >= BYTES
