"""A version that pandas reads stays what it is, whatever is saved beside it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from .wheel import Root, Tool, over_s3

SAVERS = 20

# Reads what it is told to, again and again; answers with a digest of the bytes and of what pandas makes of them.
READER = """
import hashlib
import sys
import fsspec
import pandas as pd

for line in sys.stdin:
    url = "artifact://shop/alice/s1/" + line.strip()
    frame = pd.read_parquet(url) if "parquet" in url else pd.read_csv(url, compression="infer")
    with fsspec.open(url) as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    print(digest, pd.util.hash_pandas_object(frame).sum(), len(frame), flush=True)
"""
WRITER = """
import pandas as pd
import table

frame = table.plain()[["int64", "text", "time_in_zone", "Float64"]]
for rows in (10, len(frame)):
    frame.tail(rows).to_parquet("artifact://shop/alice/s1/t.parquet", index=False)
    frame.tail(rows)[["int64"]].to_csv("artifact://shop/alice/s1/t.csv.gz", index=False)
"""


@pytest.mark.parametrize("name", over_s3(["t.parquet", "t.csv.gz"]))
def test_a_version_is_the_same_before_during_and_after_twenty_saves(name: str, run_tool: Tool, root: Root) -> None:
    """All twenty are half-way when it is read first, and go on to their end while it is read again and again."""
    run_tool(WRITER, **root.env)
    halfway, go_on = threading.Barrier(SAVERS + 1, timeout=120), threading.Event()

    def save(number: int) -> int:
        data = np.random.default_rng(number).bytes(400_000)
        with root.store() as store, store.scope("shop", "alice", "s1").open(name, "wb") as f:
            f.write(data[:200_000])
            halfway.wait()
            go_on.wait()
            f.write(data[200_000:])
        assert f.record is not None
        return f.record.version

    with run_tool.start(READER, **root.env) as reader, ThreadPoolExecutor(SAVERS) as pool:
        before = reader.ask(f"@1/{name}")
        try:
            saves = [pool.submit(save, number) for number in range(SAVERS)]
            halfway.wait()
            during = [reader.ask(f"@1/{name}")]
        finally:
            halfway.abort()
            go_on.set()
        while not all(one.done() for one in saves):
            during.append(reader.ask(f"@1/{name}"))
        after = reader.ask(f"@1/{name}")
        assert before.endswith(" 100000")
        assert set(during) == {before} and after == before
        assert sorted(one.result() for one in saves) == list(range(2, 2 + SAVERS))
        assert reader.ask(f"@0/{name}").endswith(" 10")
        reader.finish()
    assert root.versions(name) == list(range(2 + SAVERS))
    # Another process sees it so too.
    with run_tool.start(READER, **root.env) as reader:
        assert reader.ask(f"@1/{name}") == before
        reader.finish()
