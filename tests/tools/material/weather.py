"""Real data for scripts: a data set with variables of several kinds, coordinates, attributes, and chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

CHUNKS = {"time": 24, "lat": 10, "lon": 40}


def data_set(start: str = "2026-01-01", seed: int = 0) -> xr.Dataset:
    """Four days of hours over a small map; the same for the same *seed*."""
    rng = np.random.default_rng(seed)
    time = pd.date_range(start, periods=96, freq="h", unit="ns")
    shape = (len(time), 10, 40)
    over = ("time", "lat", "lon")
    temperature = xr.Variable(
        over, 280 + rng.standard_normal(shape), {"units": "K", "long_name": "Temperatur, 2 m über Grund"}
    )
    return xr.Dataset(
        {
            "temperature": temperature.where(rng.random(shape) > 0.1),
            "rain": (
                over,
                rng.integers(0, 400, shape) / 4,
                {"units": "mm"},
                {"dtype": "int16", "scale_factor": 0.25, "_FillValue": -1},
            ),
            "wet": (over, rng.random(shape) < 0.5),
            "wind": (("time", "part"), rng.standard_normal((len(time), 2)).astype("float32")),
            "height": (("lat", "lon"), rng.integers(0, 4000, shape[1:], "int32")),
            "delay": ("time", rng.integers(0, 10**9, len(time)).astype("timedelta64[ns]")),
            "station": ("lat", np.array([f"Straße {n}, 東京" for n in range(10)], dtype=object)),
        },
        coords={
            "time": time,
            "lat": np.linspace(45, 50, 10),
            "lon": np.linspace(5, 25, 40, dtype="float32"),
            "part": [1, 2],
            "day": ("time", time.floor("D")),
        },
        attrs={"title": "Weather", "history": ["made", "checked"], "version": 1.5},
    )


def encoding(zarr_format: int, *names: str) -> dict[str, Any]:
    """Chunks and a compressor for the variables over the map."""
    if zarr_format == 3:
        from zarr.codecs import BloscCodec

        how = {"compressors": [BloscCodec(cname="zstd", clevel=5)]}
    else:
        from numcodecs import Zstd

        how = {"compressors": [Zstd(level=5)]}
    return {name: {"chunks": tuple(CHUNKS.values()), **how} for name in names or ("temperature", "rain", "wet")}
