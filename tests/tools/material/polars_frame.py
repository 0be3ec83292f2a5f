"""Real data for scripts: a frame with a column of every dtype of polars, 100,000 rows of each."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal

import polars as pl

ROWS = 100_000
WORDS = ["äpfel", "梨", "kiwi, green", 'say "so"', "два\nстроки", "🍊"]

# What a format cannot hold, or polars cannot read back from it.
NOT_IN_CSV = ["binary", "duration_ms", "duration_us", "duration_ns", "list", "array", "struct", "null"]
NOT_IN_NDJSON = [
    "i8",
    "i16",
    "i128",
    "u8",
    "u16",
    "binary",
    "time",
    "duration_ms",
    "duration_us",
    "duration_ns",
    "decimal",
    "f32",
]


def frame(seed: int = 0) -> pl.DataFrame:
    """The same for the same *seed*; every seventh cell of most columns is missing."""

    def gaps(values: list[object]) -> list[object]:
        return [None if (row + seed) % 7 == 0 else value for row, value in enumerate(values)]

    numbers = [(row * 7919 + seed) % 100_003 for row in range(ROWS)]
    whole = {
        "i8": pl.Int8, "i16": pl.Int16, "i32": pl.Int32, "i64": pl.Int64, "i128": pl.Int128,
        "u8": pl.UInt8, "u16": pl.UInt16, "u32": pl.UInt32, "u64": pl.UInt64,
    }  # fmt: skip
    widths = {"i8": 127, "u8": 255, "i16": 32767, "u16": 65535}
    columns = [pl.Series("row", range(ROWS), dtype=pl.Int64)]
    columns += [
        pl.Series(name, gaps([n % widths.get(name, 10**9) for n in numbers]), dtype=kind)
        for name, kind in whole.items()
    ]
    columns += [
        pl.Series("f32", [n / 8 for n in numbers], dtype=pl.Float32),
        pl.Series("f64", gaps([n / 7 for n in numbers]), dtype=pl.Float64),
        pl.Series("bool", gaps([n % 3 == 0 for n in numbers])),
        pl.Series("text", gaps([WORDS[n % 6] + str(n) for n in numbers])),
        pl.Series("binary", gaps([n.to_bytes(4, "big") for n in numbers])),
        pl.Series("date", gaps([date(2000, 1, 1) + timedelta(n % 20_000) for n in numbers])),
        pl.Series("time", gaps([time(n % 24, n % 60, n % 59, n) for n in numbers])),
        pl.Series("decimal", gaps([Decimal(n).scaleb(-3) for n in numbers]), dtype=pl.Decimal(30, 3)),
        pl.Series("categorical", gaps([WORDS[n % 6] for n in numbers]), dtype=pl.Categorical),
        pl.Series("enum", gaps([WORDS[n % 6] for n in numbers]), dtype=pl.Enum(sorted(WORDS))),
        pl.Series("list", gaps([[n, n + 1][: n % 3] for n in numbers])),
        pl.Series("array", gaps([[n, n + 1] for n in numbers]), dtype=pl.Array(pl.Int64, 2)),
        pl.Series("struct", [{"n": n, "word": WORDS[n % 6]} for n in numbers]),
        pl.Series("null", [None] * ROWS),
    ]
    ticks = pl.Series([n * 1_000_003 for n in numbers])
    for unit in ("ms", "us", "ns"):
        columns.append(ticks.cast(pl.Datetime(unit)).alias(f"moment_{unit}"))
        columns.append(ticks.cast(pl.Duration(unit)).alias(f"duration_{unit}"))
    columns.append(ticks.cast(pl.Datetime("us", "Europe/Vienna")).alias("moment_in_zone"))
    return pl.DataFrame(columns)
