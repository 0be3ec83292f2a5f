"""Real data for scripts: a table with a column of every type of Arrow, 100,000 rows of each."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa

ROWS = 100_000
WORDS = ["äpfel", "梨", "kiwi, green", 'say "so"', "plain", "🍊"]

# What a file format does not hold, or hands back as another type.
NOT_IN_PARQUET = ["date64", "interval"]


def table() -> pa.Table:
    """Every seventh cell of most columns is missing."""
    numbers = np.random.default_rng(0).integers(0, 2**31, ROWS)
    missing = numbers % 7 == 0

    def ints(kind: pa.DataType, most: int = 2**31) -> pa.Array:
        return pa.array(numbers % most, mask=missing).cast(kind)

    words = pa.array([WORDS[n % 6] + str(n) for n in numbers], mask=missing)
    columns = {"row": pa.array(range(ROWS)), "bool": pa.array(numbers % 3 == 0, mask=missing)}
    for bits in (8, 16, 32, 64):
        columns[f"int{bits}"] = ints(getattr(pa, f"int{bits}")(), 2 ** (min(bits, 32) - 1))
        columns[f"uint{bits}"] = ints(getattr(pa, f"uint{bits}")(), 2 ** min(bits, 31))
    columns |= {
        "float16": pa.array((numbers % 1000 / 8).astype("float16")),
        "float32": pa.array((numbers / 7).astype("float32"), mask=missing),
        "float64": pa.array(numbers / 7, mask=missing),
        "decimal128": pa.array([Decimal(int(n)).scaleb(-4) for n in numbers], pa.decimal128(30, 4)),
        "decimal256": pa.array([Decimal(int(n)).scaleb(-4) for n in numbers], pa.decimal256(60, 4)),
        "string": words,
        "large_string": words.cast(pa.large_string()),
        "binary": words.cast(pa.binary()),
        "large_binary": words.cast(pa.large_binary()),
        "fixed_binary": pa.array([int(n).to_bytes(8, "big") for n in numbers], pa.binary(8)),
        "dictionary": pa.array([WORDS[n % 6] for n in numbers], mask=missing).dictionary_encode(),
        "date32": ints(pa.int32(), 20_000).cast(pa.date32()),
        "date64": ints(pa.int32(), 20_000).cast(pa.date32()).cast(pa.date64()),
        "time32": ints(pa.int32(), 86_400_000).cast(pa.time32("ms")),
        "time64": ints(pa.int64(), 86_400_000).cast(pa.time64("us")),
        "duration": ints(pa.int64()).cast(pa.duration("us")),
        "interval": pa.array([(int(n) % 12, int(n) % 28, int(n)) for n in numbers], pa.month_day_nano_interval()),
        "in_zone": ints(pa.int64()).cast(pa.timestamp("us", "Europe/Vienna")),
        "list": pa.array([[int(n), None][: n % 3] for n in numbers], pa.list_(pa.int64())),
        "large_list": pa.array([[int(n)] for n in numbers], pa.large_list(pa.int64())),
        "fixed_list": pa.array([[int(n), 1] for n in numbers], pa.list_(pa.int64(), 2)),
        "struct": pa.array([{"n": int(n), "word": WORDS[n % 6]} for n in numbers]),
        "map": pa.array([[("k", int(n))] for n in numbers], pa.map_(pa.string(), pa.int64())),
        "null": pa.nulls(ROWS),
    }
    for unit in ("ms", "us", "ns"):
        columns[f"timestamp_{unit}"] = ints(pa.int64()).cast(pa.timestamp(unit))
    return pa.table(columns)


def text_table() -> pa.Table:
    """Columns that csv and lines of JSON bring back with their types."""
    names = ["row", "bool", "int64", "float64", "string", "date32"]
    return table().select(names).filter(pa.compute.field("string").is_valid())
