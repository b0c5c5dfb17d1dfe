"""Run the benchmarks: ``python -m tests.benchmarks [case ...] [--json FILE]``.

Figures are ratios against a peer in the same run, or counts; run them on an otherwise idle machine.
"""

import argparse
import json

from . import any_topology, cases
from .harness import machine

CASES = cases.CASES | any_topology.CASES


def main() -> None:
    """Run the cases that were named, or all, and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; all when none is named")
    parser.add_argument("--json", help="write the figures to this file as well")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known are {', '.join(CASES)}")
    results = {"machine": machine(), "figures": []}
    for name in arguments.cases or CASES:
        for figure in CASES[name]():
            results["figures"].append(figure)
            rest = {k: v for k, v in figure.items() if k != "name"}
            print(figure["name"] + ": " + ", ".join(f"{k} {_short(v)}" for k, v in rest.items()), flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


def _short(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
