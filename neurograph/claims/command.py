"""The command `neurograph claims`."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path

from ..errors import UnknownNameError
from .cases import CLAIMS
from .rows import Row, Settings

__all__ = ["main"]


def main(options: argparse.Namespace) -> int:
    """Run claims, print each figure beside its target, write them as JSON.

    Returns
    -------
    int
        0 if all targets were met, 1 if not.
    """
    modules = {name: importlib.import_module(f"{__package__}.cases.{name}") for name in CLAIMS}
    if options.list:
        width = max(map(len, CLAIMS), default=0)
        for name, module in modules.items():
            print(f"{name:<{width}}  {module.ABOUT}")
        return 0
    unknown = [name for name in options.claims if name not in CLAIMS]
    if unknown:
        raise UnknownNameError(f"There is no claim {unknown[0]!r}. Known claims: {', '.join(CLAIMS)}.")
    seeds = tuple(range(options.seeds))
    settings = Settings(Path(options.data) if options.data else None, seeds, options.quick)
    file = Path(options.output)
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    held = True
    for name in options.claims or CLAIMS:
        start, rows = time.perf_counter(), []
        for row in modules[name].run(settings):
            rows.append(row)
            held &= row.holds
            print(line(name, row), flush=True)
        seconds = time.perf_counter() - start
        machine = f"{platform.system()} {platform.machine()}"
        record[name] = {
            "seconds": round(seconds, 1), "seeds": len(seeds), "quick": options.quick, "machine": machine,
            "rows": [asdict(row) | {"holds": row.holds} for row in rows],
        }  # fmt: skip
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")  # claim by claim, for it takes long
    print(f"Written: {file}")
    return 0 if held else 1


def line(claim: str, row: Row) -> str:
    """One line for one figure.

    Examples
    --------
    >>> print(line("lottery", Row("gap to dense", 0.1, 0.2, False, "points", (0.0, 0.2), "60,000 samples")))
    met    lottery: gap to dense 0.1 points (at most 0.2) [0, 0.2]; 60,000 samples
    """
    bound = "at least" if row.at_least else "at most"
    each = f" [{', '.join(f'{value:.4g}' for value in row.seeds)}]" if row.seeds else ""
    unit = f" {row.unit}" if row.unit else ""
    note = f"; {row.note}" if row.note else ""
    verdict = "met   " if row.holds else "MISSED"
    return f"{verdict} {claim}: {row.name} {row.measured:.4g}{unit} ({bound} {row.target:g}){each}{note}"
