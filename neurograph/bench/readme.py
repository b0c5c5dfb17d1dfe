"""The README's section on performance, written from a file of results: ``python -m neurograph.bench.readme README.md``.

The section stands between two comments, of which the first names the file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileFormatError
from .report import machine_line, tables
from .runner import Results

__all__ = ["Marks", "main", "rewritten", "section"]


@dataclass(frozen=True)
class Marks:
    """The two comments between which a section stands; the first has room for the path of the results.

    Examples
    --------
    >>> marks = Marks("<!-- from: {} -->", "<!-- end -->")
    >>> marks.filled("a <!-- from: x.json --> old <!-- end --> b", lambda path: f"of {path}", "y.json")
    'a <!-- from: y.json -->\\nof y.json\\n<!-- end --> b'
    """

    begin: str
    end: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a section looks like; its group "path" is the file of results."""
        return re.compile(rf"{self.begin.format('(?P<path>.+?)')}.*?{self.end}", re.DOTALL)

    def filled(self, text: str, write: Callable[[str], str], path: str | None = None) -> str:
        """The text with what ``write`` makes of the path, or of another one, between the comments.

        Raises
        ------
        FileFormatError
            The comments are not there.
        """
        found = self.pattern.search(text)
        if found is None:
            raise FileFormatError(
                f"the README has no lines {self.begin.format('RESULTS.json')} and {self.end}; put them in"
            )
        path = path or found["path"]
        begin = self.begin.format(path)
        return f"{text[: found.start()]}{begin}\n{write(path)}\n{self.end}{text[found.end() :]}"


MEASURED = Marks("<!-- measured: {} -->", "<!-- end of what was measured -->")


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

    def write(path: str) -> str:
        picture = Path(path).with_suffix(".png")
        shown = picture.as_posix() if (root / picture).exists() else None
        return section(Results.load(root / path), shown)

    return MEASURED.filled(text, write, results)


def main(arguments: Sequence[str], rewrite: Callable[..., str] = rewritten, module: str = __name__) -> None:
    """Write the section of a README anew: its path, and that of other results than it names now, relative to it."""
    if not 1 <= len(arguments) <= 2:
        raise SystemExit(f"usage: python -m {module} README.md [RESULTS.json]")
    readme = Path(arguments[0])
    text = rewrite(readme.read_text(encoding="utf-8"), readme.parent, *arguments[1:])
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:], module="neurograph.bench.readme")
