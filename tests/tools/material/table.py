"""Real data for scripts: a table with every kind of column that pandas has, 100,000 rows of each."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd

ROWS = 100_000
WORDS = ["äpfel", "梨", "kiwi, green", 'say "so"', "два\nстроки", "🍊", "ñandú", "plain", "e\u0301", "'; --"]


def frame(seed: int = 0) -> pd.DataFrame:
    """Every kind of column, missing values where a kind has them; the same for the same *seed*."""
    return pd.concat([plain(seed), nested(seed)], axis=1)


def plain(seed: int = 0) -> pd.DataFrame:
    """Columns of one value a cell, which text can hold."""
    rng = np.random.default_rng(seed)
    missing = rng.random(ROWS) < 0.1
    words = pd.Series(np.array(WORDS, dtype=object)[rng.integers(0, len(WORDS), ROWS)])
    columns: dict[str, object] = {}
    for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        limits = np.iinfo(kind)
        columns[kind] = rng.integers(limits.min, limits.max, ROWS, kind, endpoint=True)
    columns["float32"] = rng.standard_normal(ROWS, "float32")
    columns["float64"] = np.where(missing, np.nan, rng.standard_normal(ROWS) * 10.0 ** rng.integers(-200, 200, ROWS))
    columns["bool"] = rng.random(ROWS) < 0.5
    nullable = {
        "Int64": rng.integers(-(2**62), 2**62, ROWS),
        "UInt8": rng.integers(0, 256, ROWS),
        "Float64": rng.standard_normal(ROWS),
        "boolean": rng.random(ROWS) < 0.5,
    }
    columns |= {kind: pd.Series(pd.array(values, kind)).mask(missing) for kind, values in nullable.items()}
    columns["text"] = words + pd.Series(rng.integers(0, 1000, ROWS)).astype(str)
    columns["string"] = words.astype("string").mask(missing)
    columns["category"] = pd.Categorical(words.mask(missing), categories=sorted(WORDS))
    ticks = rng.integers(0, 2_000_000_000_000_000, ROWS)
    moments = pd.Series(ticks.astype("datetime64[us]"))
    columns["time"] = moments.mask(missing)
    columns["time_ns"] = moments.astype("datetime64[ns]") + pd.Timedelta(7, "ns")
    columns["time_in_zone"] = moments.dt.tz_localize("UTC").dt.tz_convert("Europe/Vienna")
    columns["duration"] = pd.Series((ticks // 1000).astype("timedelta64[us]")).mask(missing)
    return pd.DataFrame(columns)


def nested(seed: int = 0) -> pd.DataFrame:
    """Columns of Python objects: decimals, dates, bytes, lists and dicts; and of periods."""
    numbers = [int(n) for n in np.random.default_rng(seed + 1).integers(-(10**12), 10**12, ROWS)]
    objects = {
        "decimal": [Decimal(n).scaleb(-4) for n in numbers],
        "date": [date.fromordinal(700_000 + n % 40_000) for n in numbers],
        "bytes": [n.to_bytes(8, "big", signed=True) for n in numbers],
        "list": [[n, n + 1][: n % 3] for n in numbers],
        "struct": [{"n": n, "word": WORDS[n % len(WORDS)]} for n in numbers],
    }
    columns = {
        kind: pd.Series(
            [None if n % 10 == 0 else value for n, value in zip(numbers, values, strict=True)], dtype=object
        )
        for kind, values in objects.items()
    }
    days = pd.Series(pd.to_datetime([n % 20_000 for n in numbers], unit="D"))
    return pd.DataFrame({**columns, "period": days.dt.to_period("M")})


def assert_same(back: pd.DataFrame, wanted: pd.DataFrame, **lenient: object) -> None:
    """Every value and every dtype is the same; a list may have come back as an array."""
    if "list" in wanted and "list" in back:
        same = back["list"].map(lambda value: None if value is None else list(value))
        back = back.assign(list=pd.Series(same, index=back.index, dtype=object))
    pd.testing.assert_frame_equal(back, wanted, **{"check_exact": True, **lenient})  # type: ignore[arg-type]
