"""Run the benchmarks, keep what they measured, and write the page about it: ``python -m benchmarks --size quick``."""

from __future__ import annotations

import argparse
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


if __name__ == "__main__":
    main()
