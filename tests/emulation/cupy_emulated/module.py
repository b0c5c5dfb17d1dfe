"""Kernels from source: compiled for the host, their arguments checked against the signature before they run."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

import numpy as np

from .. import compiler, memory, state
from .array import ndarray
from .cuda import driver, limits

_running = threading.RLock()


class RawModule:
    """A source and the instances of its templates that may be asked for."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ):
        if code is None or path is not None:
            raise NotImplementedError("only modules from code are emulated")
        if not isinstance(options, tuple):
            raise TypeError("options must be a tuple of strings")
        self.code, self.options, self.backend, self.name_expressions = code, options, backend, name_expressions

    def get_function(self, name: str) -> RawKernel:
        """A kernel, compiled now."""
        plain = self.name_expressions is None and f'extern "C" __global__ void {name}(' in self.code
        if not plain and name not in (self.name_expressions or ()):
            raise RuntimeError(f"{name!r} is not among the name expressions {self.name_expressions}")
        return RawKernel(compiler.build(self.code, tuple(self.options), name))


class RawKernel:
    """A kernel that can be launched."""

    def __init__(self, library: compiler.Library):
        self._library = library
        self.name = library.name
        self._dynamic_limit = limits.STATIC_SHARED - library.static_shared

    @property
    def shared_size_bytes(self) -> int:
        return self._library.static_shared

    @property
    def max_threads_per_block(self) -> int:
        return self._library.most_threads

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._dynamic_limit

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, nbytes: int) -> None:
        if nbytes + self._library.static_shared > limits.DYNAMIC_SHARED:
            raise driver.CUDADriverError(
                1, f"{self.name}: {nbytes} bytes of dynamic shared memory, the device has {limits.DYNAMIC_SHARED}"
            )
        self._dynamic_limit = nbytes

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0, stream: Any = None) -> None:
        grid, block = self._geometry(grid, block, shared_mem)
        arrays, values = self._arguments(args)
        capture = state.capture() if stream is None else stream.capturing
        state.counters.launches += 1
        state.counters.kernels.append(self.name)
        if capture is None:
            self._run(grid, block, arrays, values, shared_mem)
            return
        kept = [a if a is None else (a._host, weakref.ref(a._memory)) for a in arrays]

        def again() -> None:
            self._run(grid, block, [a and ndarray._of(a[0], a[1]()) for a in kept], values, shared_mem)

        capture._record(again, [a for a in arrays if a is not None])

    def _geometry(self, grid: Any, block: Any, shared_mem: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        for what, sizes, most in (("grid", grid, limits.GRID), ("block", block, limits.BLOCK)):
            if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3:
                raise TypeError(f"{self.name}: {what} must be a tuple of one to three integers, not {sizes!r}")
            for size, limit in zip(sizes, most, strict=False):
                if not isinstance(size, int | np.integer):
                    raise TypeError(f"{self.name}: {what} must be integers, not {sizes!r}")
                if not 1 <= size <= limit:
                    raise driver.CUDADriverError(1, f"{self.name}: {what} {sizes}: not within 1 to {limit}")
        threads = int(np.prod(block))
        if threads > limits.THREADS:
            raise driver.CUDADriverError(
                1, f"{self.name}: block {block} has {threads} threads, at most {limits.THREADS}"
            )
        if threads > self._library.most_threads:
            raise driver.CUDADriverError(
                701,
                f"{self.name}: block {block}, more threads than its __launch_bounds__({self._library.most_threads})",
            )
        static = self._library.static_shared
        if static > limits.STATIC_SHARED:
            raise driver.CUDADriverError(
                1, f"{self.name}: {static} bytes of static shared memory, at most {limits.STATIC_SHARED}"
            )
        if shared_mem > self._dynamic_limit:
            raise driver.CUDADriverError(
                1,
                f"{self.name}: {shared_mem} bytes of dynamic shared memory, more than max_dynamic_shared_size_bytes "
                f"= {self._dynamic_limit}",
            )
        return tuple(int(n) for n in grid), tuple(int(n) for n in block)

    def _arguments(self, args: Any) -> tuple[list[ndarray | None], list[Any]]:
        """The array of each argument, or None for scalars, and what holds the argument's value for C."""
        expected = self._library.parameters
        if not isinstance(args, tuple | list):
            raise TypeError(f"{self.name}: arguments must be a tuple, not {type(args)}")
        if len(args) != len(expected):
            raise TypeError(
                f"{self.name}: {len(expected)} arguments expected ({', '.join(expected)}), {len(args)} given"
            )
        arrays: list[ndarray | None] = []
        values: list[Any] = []
        for position, (argument, parameter) in enumerate(zip(args, expected, strict=True)):
            pointee = parameter.removeprefix("const").removeprefix("*")
            fits = isinstance(argument, ndarray) and (pointee == "void" or argument.dtype == pointee)
            if "*" not in parameter:
                fits = isinstance(argument, np.generic) and argument.dtype == parameter
            if not fits:
                raise TypeError(f"{self.name}: argument {position} must be {parameter}, not {_described(argument)}")
            if isinstance(argument, ndarray):
                arrays.append(argument)
                values.append(ctypes.c_void_p(argument._host.ctypes.data))
            else:
                arrays.append(None)
                values.append(np.asarray(argument).reshape(1).copy())
        return arrays, values

    def _run(self, grid: Any, block: Any, arrays: Any, values: Any, shared_mem: int) -> None:
        pointers = [ctypes.addressof(v) if isinstance(v, ctypes.c_void_p) else v.ctypes.data for v in values]
        with _running:
            said = self._library.launch(grid, block, pointers, shared_mem, state.launch_order)
        if said:
            raise KernelError(f"{self.name}: {said}")
        for position, array in enumerate(arrays):
            if array is not None:
                self._check(array._memory, f"argument {position} ({array.dtype} {array.shape})")
        others = memory.live()
        if len(others) <= 256 or state.counters.launches % 16 == 0:
            for other in others:
                self._check(other, f"an array of {other.nbytes} bytes that is no argument")

    def _check(self, block: memory.Memory, what: str) -> None:
        at = block.damage()
        if at is None:
            return
        block.mend()
        where = f"{at} bytes behind its end" if at >= 0 else f"{-at} bytes before its start"
        raise KernelError(f"{self.name}: wrote out of bounds of {what}: {where}")


def _described(argument: Any) -> str:
    if isinstance(argument, ndarray):
        return f"an array of {argument.dtype}"
    if isinstance(argument, np.generic):
        return f"a scalar of {argument.dtype}"
    return f"a {type(argument).__name__}"


class KernelError(RuntimeError):
    """A kernel did what on a GPU would be an error or undefined."""
