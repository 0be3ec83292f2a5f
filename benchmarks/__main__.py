"""Run the benchmarks, keep what they measured, and write the page about it: ``python -m benchmarks --size quick``."""

from __future__ import annotations

import argparse
import os
import sys
import time

from . import results
from .bench import Bench
from .cases import CASES
from .harness import SIZES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="full", help="how much is run")
    parser.add_argument(
        "--only", metavar="CASE,…", help=f"run only these, keep what is known of others: {', '.join(CASES)}"
    )
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page again from what is kept")
    told = parser.parse_args()
    chosen = list(CASES) if told.only is None else told.only.split(",")
    if unknown := set(chosen) - CASES.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if not told.page:
        _shield()
        kept = results.begin(everything=told.only is None)
        with Bench(SIZES[told.size]) as bench:
            for name in chosen:
                begun = time.perf_counter()
                print(f"{name} … ", end="", file=sys.stderr, flush=True)
                CASES[name].run(bench)
                took = time.perf_counter() - begun
                print(f"{took:.0f} s", file=sys.stderr)
                results.add(kept, name, told.size, took, bench.take())
                results.write(kept)
    from . import page

    page.write(results.read())


def _shield() -> None:
    """No setting of the person who measures reaches the clients, gcsfs does not ask emulators what they cannot tell, and
    interpreters keep what they compiled: all that is installed has its bytecode, so what is measured has it too."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in list(os.environ):
        if name.startswith(("AWS_", "S3_", "R2_", "GOOGLE_", "FSSPEC_", "ARTIFACTFS_")) and name != "ARTIFACTFS_CACHE":
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))


if __name__ == "__main__":
    main()
