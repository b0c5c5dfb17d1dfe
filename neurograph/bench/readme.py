"""The README's figures, written from files of results: ``python -m neurograph.bench.readme README.md``.

Those of the processor and those of a GPU stand between two comments each, of which the first names the file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileFormatError
from . import crossovers
from .report import machine_line, tables
from .runner import Results

__all__ = ["Marks", "gpu_section", "main", "rewritten", "section"]


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
ON_GPU = Marks("<!-- measured on a GPU: {} -->", "<!-- end of what was measured on a GPU -->")
NOTHING = "nothing yet"  # stands for the path where no GPU was measured


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


def gpu_section(results: Results | None, picture: str | None = None) -> str:
    """What stands between the comments of the GPU: the answer, or that there is none.

    Parameters
    ----------
    results : Results or None
        None where nothing was measured.
    picture : str, optional
        Path of the picture, as the README names it.

    Returns
    -------
    str
        Markdown; the device, below which densities we are faster than dense layers, the picture, the table.

    Raises
    ------
    FileFormatError
        These results are of no GPU, or only a look.

    Examples
    --------
    >>> gpu_section(None)[:40]
    'Nothing has been measured on a GPU yet, '
    """
    if results is None:
        return (
            "Nothing has been measured on a GPU yet, so there is no figure and no answer here.\n"
            "`neurograph bench --backend gpu` finds it on a machine that has one."
        )
    if not results.machine.get("gpu") or results.quick:
        raise FileFormatError("these are no results of `neurograph bench --backend gpu`, or only of a --quick look")
    parts = [
        f"Measured on {machine_line(results.machine)}.",
        "A pruned network is faster here than PyTorch's dense layers on the same GPU below these densities; above them "
        "dense layers win:",
        crossovers.table(results.outcomes) or "No density was measured.",
    ]
    if picture:
        parts.append(f"![Time against density on a GPU]({picture})")
    return "\n\n".join([*parts, tables([outcome for outcome in results.outcomes if "points" not in outcome.figures])])


def rewritten(text: str, root: Path, results: str | None = None) -> str:
    """The README with its figures written anew.

    Parameters
    ----------
    text : str
        The README as it is.
    root : Path
        Folder that the paths in it start from.
    results : str, optional
        Another file of results than the one that the first comment names, of the processor or of a GPU.

    Returns
    -------
    str

    Raises
    ------
    FileFormatError
        The comments are not there.
    """

    def shown(path: str) -> str | None:
        picture = Path(path).with_suffix(".png")
        return picture.as_posix() if (root / picture).exists() else None

    def write(path: str) -> str:
        return section(Results.load(root / path), shown(path))

    def write_gpu(path: str) -> str:
        return gpu_section(None) if path == NOTHING else gpu_section(Results.load(root / path), shown(path))

    of_gpu = results is not None and bool(Results.load(root / results).machine.get("gpu"))
    text = MEASURED.filled(text, write, None if of_gpu else results)
    if of_gpu or ON_GPU.pattern.search(text):
        text = ON_GPU.filled(text, write_gpu, results if of_gpu else None)
    return text


def main(arguments: Sequence[str], rewrite: Callable[..., str] = rewritten, module: str = __name__) -> None:
    """Write the figures of a README anew: its path, and that of other results than it names now, relative to it."""
    if not 1 <= len(arguments) <= 2:
        raise SystemExit(f"usage: python -m {module} README.md [RESULTS.json]")
    readme = Path(arguments[0])
    text = rewrite(readme.read_text(encoding="utf-8"), readme.parent, *arguments[1:])
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:], module="neurograph.bench.readme")
