"""The README's section on performance, written from a file of results: ``python -m neurograph.bench.readme README.md``.

The section stands between two comments, of which the first names the file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import FileFormatError
from .report import machine_line, tables
from .runner import Results

__all__ = ["main", "rewritten", "section"]

BEGIN, END = "<!-- measured: {} -->", "<!-- end of what was measured -->"
MARKS = re.compile(rf"{BEGIN.format('(?P<path>.+?)')}\n.*?{END}", re.DOTALL)


def section(results: Results, picture: str | None = None) -> str:
    """What stands between the comments.

    Parameters
    ----------
    results : Results
    picture : str, optional
        Path of the picture, as the README names it.

    Returns
    -------
    str
        Markdown; one sentence on the machine, the picture, the table.
    """
    parts = [f"Measured on {machine_line(results.machine)}."]
    if picture:
        parts.append(f"![Time of a training step against density]({picture})")
    return "\n\n".join([*parts, tables(results.outcomes)])


def rewritten(text: str, root: Path, results: str | None = None) -> str:
    """The README with its section written anew.

    Parameters
    ----------
    text : str
        The README as it is.
    root : Path
        Folder that the paths in it start from.
    results : str, optional
        Another file of results than the one that the first comment names.

    Returns
    -------
    str

    Raises
    ------
    FileFormatError
        The comments are not there.
    """
    found = MARKS.search(text)
    if found is None:
        raise FileFormatError(f"the README has no lines {BEGIN.format('RESULTS.json')} and {END}; put them in")
    path = results or found["path"]
    picture = Path(path).with_suffix(".png")
    shown = picture.as_posix() if (root / picture).exists() else None
    body = section(Results.load(root / path), shown)
    return f"{text[: found.start()]}{BEGIN.format(path)}\n{body}\n{END}{text[found.end() :]}"


def main(arguments: Sequence[str]) -> None:
    """Write the section of a README anew: its path, and that of other results than it names now, relative to it."""
    if not 1 <= len(arguments) <= 2:
        raise SystemExit("usage: python -m neurograph.bench.readme README.md [RESULTS.json]")
    readme = Path(arguments[0])
    text = rewritten(readme.read_text(encoding="utf-8"), readme.parent, *arguments[1:])
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
