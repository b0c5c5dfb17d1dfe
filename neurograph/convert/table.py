"""Tables of columns: read from pandas, arrays, CSV or Parquet, and written."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks import require
from ..errors import FileFormatError, InvalidValueError, MissingDependencyError

TEXT = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
CURE = 'pip install "neurograph[tables]"'


def columns_of(table: Any, what: str = "the table") -> dict[str, np.ndarray]:
    """The columns of a data frame, mapping of arrays, structured array or file, all of one length."""
    if isinstance(table, str | os.PathLike):
        table = _read(os.fspath(table))
    if isinstance(table, np.ndarray) and table.dtype.names:
        found = {name: table[name] for name in table.dtype.names}
    elif isinstance(table, Mapping) or hasattr(table, "columns"):
        names = list(table) if isinstance(table, Mapping) else list(table.columns)
        found = {str(name): _column(table[name]) for name in names}
    else:
        raise InvalidValueError(
            f"{what} must be a pandas DataFrame, a mapping of arrays, a structured array or the path of a .csv, .tsv "
            f"or .parquet file, not {type(table).__name__}"
        )
    lengths = {name: column.shape for name, column in found.items()}
    require(
        len(set(lengths.values())) <= 1 and all(len(shape) == 1 for shape in lengths.values()),
        f"the columns of {what} must be one-dimensional and of equal length, not {lengths}",
    )
    return found


def _column(values: Any) -> np.ndarray:
    """An array; a list that is not all numbers stays a list of objects, where NumPy would make text of its numbers."""
    if isinstance(values, list | tuple) and not all(isinstance(value, int | float | np.number) for value in values):
        objects = np.empty(len(values), object)
        objects[:] = values
        return objects
    return np.asarray(values)


def pick(columns: Mapping[str, np.ndarray], name: str, what: str) -> np.ndarray:
    """A column by name."""
    require(name in columns, f"{what} is {name!r}, but the table has no such column; it has {', '.join(columns)}")
    return columns[name]


def write(columns: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write columns to a .csv, .tsv or .parquet file."""
    name = os.fspath(path)
    ending = os.path.splitext(name)[1].lower()
    if ending in TEXT:
        with open(name, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=TEXT[ending], lineterminator="\n")
            writer.writerow(columns)
            # str() of a Python float is the shortest text that reads back as the same number.
            writer.writerows(zip(*(_shortest(column) for column in columns.values()), strict=True))
    else:
        _known(name, ending)
        _pandas(name).DataFrame(dict(columns)).to_parquet(name, index=False)


def _shortest(column: np.ndarray) -> list[Any]:
    """Values to print; of a float32 no more digits than it has."""
    return [str(value) for value in column] if column.dtype == np.float32 else column.tolist()


def _known(name: str, ending: str) -> None:
    known = (*TEXT, *PARQUET)
    require(ending in known, f"{name!r} ends in {ending!r}; known table files are {', '.join(known)}")


def _read(name: str) -> Any:
    ending = os.path.splitext(name.removesuffix(".gz"))[1].lower()
    _known(name, ending)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"there is no file {name!r}; give the path of an edge table, or the table itself")
    try:
        if ending in PARQUET:
            return _pandas(name).read_parquet(name)
        try:
            import pandas
        except ImportError:
            return _read_text(name, TEXT[ending])
        # Only empty cells are missing: "NA" and "nan" are good names of neurons.
        return pandas.read_csv(name, sep=TEXT[ending], keep_default_na=False, na_values=[""])
    except MissingDependencyError:
        raise
    except Exception as error:
        # pandas and pyarrow raise errors of many kinds.
        raise FileFormatError(
            f"{name!r} cannot be read as a table ({error}); its first line must name columns"
        ) from None


def _pandas(name: str) -> Any:
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"{name!r} needs pandas and pyarrow ({error}); install them: {CURE}") from None
    return pandas


def _read_text(name: str, delimiter: str) -> dict[str, np.ndarray]:
    """The table without pandas; a column is of whole numbers, numbers or text, whatever fits all its cells."""
    import gzip

    opener = gzip.open if name.endswith(".gz") else open
    with opener(name, "rt", newline="", encoding="utf-8") as file:
        rows = csv.reader(file, delimiter=delimiter)
        header = next(rows)
        cells = [row for row in rows if row]
    for number, row in enumerate(cells):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells for {len(header)} columns")
    return {name: _typed([row[i] for row in cells]) for i, name in enumerate(header)}


def _typed(cells: list[str]) -> np.ndarray:
    for kind in (np.int64, np.float64):
        try:
            return np.array([cell or "nan" for cell in cells], kind)
        except ValueError:
            continue
    return np.array([cell or None for cell in cells], object)
