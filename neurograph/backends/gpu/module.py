"""The CUDA C++ sources beside this file, compiled when a kernel is first asked for."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np

from ..device import header_options
from . import watch

REALS = (np.float32, np.float64)  # what networks are made of, and most kernels are for
SOURCES = Path(__file__).parent / "sources"
OPTIONS = ("-std=c++17", f"-I{SOURCES}", *header_options())
TYPES = {"float32": "float", "float64": "double", "uint16": "__nv_bfloat16"}
FAMILIES: list[Family] = []


class Family:
    """Instances of one kernel template, each compiled (and cached on disk, by CuPy) when it is first called.

    Parameters
    ----------
    source : str
        File among the sources.
    name : str
        Of the ``__global__`` function template.
    choices : tuple
        For each template argument those that occur: dtypes, integers or bools. All combinations may be asked for, and
        tests compile every one of them.

    Examples
    --------
    >>> FORWARD = Family("rows.cu", "forward_rows", (np.float32, np.float64), (1, 4))   # doctest: +SKIP
    >>> FORWARD(np.float32, 4)((blocks,), (threads,), arguments)                        # doctest: +SKIP
    """

    def __init__(self, source: str, name: str, *choices: tuple[Any, ...]):
        self.source, self.name, self.choices = source, name, choices
        FAMILIES.append(self)

    def __call__(self, *arguments: Any) -> Any:
        """The compiled kernel of these template arguments."""
        return _kernel(self.source, self.expression(*arguments))

    def expression(self, *arguments: Any) -> str:
        """What C++ calls an instance."""
        written = [_written(a) for a in arguments]
        return f"{self.name}<{', '.join(written)}>" if written else self.name

    @property
    def expressions(self) -> list[str]:
        """All instances."""
        return [self.expression(*combination) for combination in itertools.product(*self.choices)]


def _written(argument: Any) -> str:
    if isinstance(argument, bool | np.bool_):
        return "true" if argument else "false"
    return str(argument) if isinstance(argument, int) else TYPES[np.dtype(argument).name]


class Kernel:
    """A compiled kernel: called as CuPy's, and with its attributes."""

    __slots__ = ("compiled",)

    def __init__(self, compiled: Any):
        object.__setattr__(self, "compiled", compiled)

    def __call__(self, grid: Any, block: Any, arguments: tuple[Any, ...], *, shared_mem: int = 0) -> None:
        if watch.current is not None:
            watch.current.launched(self, grid, block, arguments, shared_mem)
        self.compiled(grid, block, arguments, shared_mem=shared_mem)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.compiled, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.compiled, name, value)


@cache
def _kernel(source: str, expression: str) -> Kernel:
    # One module an instance: few of them are used by one network, and compiling all would take minutes.
    code = (SOURCES / source).read_text()
    module = cupy.RawModule(code=code, options=OPTIONS, name_expressions=(expression,))
    return Kernel(module.get_function(expression))
