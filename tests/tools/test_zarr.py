"""zarr and xarray over ``artifact://``: stores are written, grown and overwritten by URL; no version of a chunk is lost."""

from __future__ import annotations

import pytest

from .wheel import Root, Tool

START = """
import warnings
warnings.simplefilter("error")
# What zarr says of its own format: that not all programs read these two.
warnings.filterwarnings("ignore", "Consolidated metadata is currently not part in the Zarr format 3")
warnings.filterwarnings("ignore", "The data type .* does not have a Zarr V3 specification")
import fsspec, numpy as np, xarray as xr, zarr
import weather

url = "artifact://shop/alice/s1/weather.zarr"
identical = xr.testing.assert_identical

def raises(kind, work, *args, **kwargs):
    try:
        work(*args, **kwargs)
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind} was not raised")
"""

LIFE = """
kept = {}

def keep():
    "Remember each artifact's newest version under its number."
    fs = fsspec.filesystem("artifact")
    versions = {path: info["version"] for path, info in fs.find("shop/alice/s1/weather.zarr", detail=True).items()}
    kept.update(fs.cat([f"{path}@{version}" for path, version in versions.items()]))
    return versions

first, other, later = weather.data_set(), weather.data_set(seed=1), weather.data_set("2026-01-05", seed=2)
first.to_zarr(url, mode="w", encoding=weather.encoding(3))
made = keep()
other.to_zarr(url, mode="w", encoding=weather.encoding(3))
identical(xr.open_zarr(url).load(), other)
again = keep()

over_time = later.drop_vars(["height", "station"])
over_time.to_zarr(url, append_dim="time")
grown = xr.concat([other, over_time], "time", data_vars="minimal", coords="minimal", compat="override", join="override")
identical(xr.open_zarr(url).load(), grown)
more = keep()

part = over_time[["temperature", "wet"]].isel(time=slice(24, 48)).reset_coords(drop=True).drop_vars(["time", "lat", "lon"])
part.to_zarr(url, region={"time": slice(48, 72)})
now = xr.open_zarr(url).load()
np.testing.assert_array_equal(now["temperature"][48:72], part["temperature"])
identical(now.isel(time=slice(0, 48)), grown.isel(time=slice(0, 48)))
identical(now.isel(time=slice(72, None)), grown.isel(time=slice(72, None)))
last = keep()

chunk = "shop/alice/s1/weather.zarr/temperature/c/2/0/0"
assert made[chunk] < again[chunk] == more[chunk] < last[chunk]
assert made.keys() == again.keys() < more.keys() == last.keys()
assert fsspec.filesystem("artifact").cat(list(kept)) == kept
"""


def test_a_data_set_comes_back_as_it_was(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
wanted = weather.data_set()
for zarr_format in (2, 3):
    for consolidated in (True, False):
        url = f"artifact://shop/alice/s1/{zarr_format}/{consolidated}.zarr"
        wanted.to_zarr(url, zarr_format=zarr_format, consolidated=consolidated, encoding=weather.encoding(zarr_format))
        with xr.open_zarr(url, consolidated=consolidated) as back:
            assert back["temperature"].chunks[0] == (24, 24, 24, 24)
            identical(back.load(), wanted)
        with xr.open_dataset(url, engine="zarr", consolidated=consolidated, chunks=None) as back:
            identical(back[["temperature"]].isel(time=30, lat=3).load(), wanted[["temperature"]].isel(time=30, lat=3))
raises(FileExistsError, wanted.to_zarr, url)
raises(FileNotFoundError, xr.open_zarr, "artifact://shop/alice/s1/absent.zarr", consolidated=False)
""",
        **root.env,
    )


@pytest.mark.nightly_over_s3
def test_what_is_overwritten_appended_to_and_replaced_in_part_keeps_its_history(run_tool: Tool, root: Root) -> None:
    run_tool(START + LIFE, **root.env)


def test_a_filesystem_that_removes_for_good_is_found(run_tool: Tool, tmp_path: object) -> None:
    """The control of the test above."""
    fault = """
from artifactfs import AsyncScope, Scope
for kind in (Scope, AsyncScope):
    kind.remove = lambda self, name: self.delete(name)
"""
    with pytest.raises(AssertionError, match="NotFound"):
        run_tool(fault + START + LIFE, helper=True, ARTIFACTFS_URL=f"file://{tmp_path}/store")


@pytest.mark.nightly_over_s3
def test_a_store_is_opened_by_a_chained_url_or_by_options(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + f"root, options = {root.url!r}, {root.storage_options!r}"
        + """
wanted = weather.data_set()
chained = {root.partition(":")[0]: options} if options else None
wanted.to_zarr(f"{url}::{root}", storage_options=chained, consolidated=False)
for where, way in ((f"{url}::{root}", chained), (url, {"root": root, **options})):
    identical(xr.open_zarr(where, storage_options=way, consolidated=False).load(), wanted)
    assert zarr.open(where, storage_options=way, mode="r")["height"].shape == (10, 40)
""",
        **root.way,
    )


@pytest.mark.nightly_over_s3
def test_zarr_alone_makes_lists_and_changes_groups_and_arrays(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
group = zarr.open(url, mode="w", attributes={"title": "numbers"})
values = np.arange(10_000, dtype="int64").reshape(100, 100)
small = group.create_array("small", data=values, chunks=(10, 100))
shards = group.create_group("deep/er").create_array("shards", data=values, chunks=(10, 10), shards=(50, 100))

group = zarr.open(url, mode="r")
assert dict(group.attrs) == {"title": "numbers"}
assert sorted(group.keys()) == ["deep", "small"] and list(group["deep/er"].array_keys()) == ["shards"]
assert (group["small"][:] == values).all() and (group["deep/er/shards"][7:33, 40:61] == values[7:33, 40:61]).all()
raises(ValueError, group.create_group, "more")

group = zarr.open(url, mode="a")
group.attrs["title"] = "more numbers"
group["small"].resize((110, 100))
group["small"][100:] = 7
assert dict(zarr.open(url, mode="r").attrs) == {"title": "more numbers"}
assert (zarr.open(url, mode="r")["small"][95:105, 0] == [9500, 9600, 9700, 9800, 9900, 7, 7, 7, 7, 7]).all()
del group["deep"]
assert list(zarr.open(url, mode="r").keys()) == ["small"]
raises(KeyError, lambda: zarr.open(url, mode="r")["deep"])
kept = fsspec.filesystem("artifact").cat("shop/alice/s1/weather.zarr/deep/er/shards/zarr.json@0")
assert b'"sharding_indexed"' in kept
zarr.save("artifact://shop/alice/s1/one.zarr", values)
assert (zarr.load("artifact://shop/alice/s1/one.zarr") == values).all()
""",
        **root.env,
    )


@pytest.mark.nightly_over_s3
def test_chunks_are_written_at_the_same_time_by_dask(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
wanted = weather.data_set().drop_vars("station").chunk(time=12)
wanted.to_zarr(url, mode="w", consolidated=False)
identical(xr.open_zarr(url, consolidated=False).load(), wanted.load())
mean = xr.open_zarr(url, consolidated=False)["temperature"].mean("time").compute()
xr.testing.assert_allclose(mean, wanted["temperature"].mean("time"))
""",
        **root.env,
    )


@pytest.mark.nightly_over_s3
def test_a_store_is_read_as_it_was_at_a_time_whatever_is_written_since(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
def moment():
    fs = fsspec.filesystem("artifact")
    newest = max(info["mtime"] for info in fs.find("shop/alice/s1/weather.zarr", detail=True).values())
    return newest.replace(tzinfo=None).isoformat() + "Z"

first, other = weather.data_set(), weather.data_set(seed=1)
first.to_zarr(url, mode="w")
then = f"artifact://shop/alice/s1/@{moment()}/weather.zarr"
weather.data_set("2026-01-05").drop_vars(["height", "station"]).to_zarr(url, append_dim="time")
grown = xr.open_zarr(url).load()
since = f"artifact://shop/alice/s1/@{moment()}/weather.zarr"
other.to_zarr(url, mode="w")

for consolidated in (True, False):
    identical(xr.open_zarr(then, consolidated=consolidated).load(), first)
    identical(xr.open_zarr(since, consolidated=consolidated).load(), grown)
identical(xr.open_zarr("artifact://shop/alice/s1/@latest/weather.zarr").load(), other)
names = sorted(zarr.open(then, mode="r", use_consolidated=False).array_keys())
assert names == sorted(first.variables)
assert "never changes" in raises(ValueError, other.to_zarr, then, mode="w")
identical(xr.open_zarr(url).load(), other)
""",
        **root.env,
    )


def test_a_number_over_a_store_is_refused(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
weather.data_set().to_zarr(url)
for pinned in ("artifact://shop/alice/s1/@0/weather.zarr", "artifact://shop/alice/s1/@-1/weather.zarr/height"):
    for open in (xr.open_zarr, zarr.open, zarr.open_group):
        assert "numbers of their own" in raises(ValueError, open, pinned, **({} if open is xr.open_zarr else {"mode": "r"}))
    raises(ValueError, weather.data_set().to_zarr, pinned, mode="w")
raises(FileNotFoundError, xr.open_zarr, f"{url}@0", consolidated=False)
""",
        **root.env,
    )
