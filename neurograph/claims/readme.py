"""The README's section on what papers claim, from a file of results: ``python -m neurograph.claims.readme README.md``.

The section stands between two comments, of which the first names the file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bench.readme import Marks, main

__all__ = ["rewritten", "table"]

CLAIMED = Marks("<!-- claimed: {} -->", "<!-- end of what was claimed -->")


def table(record: Mapping[str, Any]) -> str:
    """Markdown of the figures that `neurograph claims` wrote.

    Examples
    --------
    >>> row = {"name": "gap", "measured": 0.1, "target": 0.2, "at_least": False, "unit": "points", "holds": True}
    >>> print(table({"lottery": {"rows": [row | {"seeds": [0.05, 0.15], "note": "short"}]}}))
    | claim | figure | measured | target | met? | each seed | how |
    |---|---|---|---|---|---|---|
    | lottery | gap | 0.1 points | ≤ 0.2 | yes | 0.05, 0.15 | short |
    """
    lines = ["| claim | figure | measured | target | met? | each seed | how |", "|---|---|---|---|---|---|---|"]
    for claim, result in sorted(record.items()):
        for row in result["rows"]:
            bound, verdict = "≥" if row["at_least"] else "≤", "yes" if row["holds"] else "no"
            each = ", ".join(f"{value:.3g}" for value in row["seeds"])
            measured = f"{row['measured']:.3g} {row['unit']}".strip()
            cells = claim, row["name"], measured, f"{bound} {row['target']:g}", verdict, each, row["note"]
            lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def rewritten(text: str, root: Path, results: str | None = None) -> str:
    """The README with its section written anew; parameters and errors as in `neurograph.bench.readme.rewritten`."""
    return CLAIMED.filled(text, lambda path: table(json.loads((root / path).read_text(encoding="utf-8"))), results)


if __name__ == "__main__":
    main(sys.argv[1:], rewritten, "neurograph.claims.readme")
