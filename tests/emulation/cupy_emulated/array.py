"""Arrays of the emulated device: NumPy does the work, but only between arrays that are all on the device."""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import state
from ..memory import Memory

IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)
SCALARS = bool | int | float | complex | np.generic


def allocate(shape: Any, dtype: Any, order: str = "C") -> ndarray:
    """A new array whose memory is poisoned."""
    dtype = np.dtype(float if dtype is None else dtype)
    shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    count = 1
    for n in shape:
        if n < 0:
            raise ValueError("Negative dimensions are not allowed")
        count *= n
    memory = Memory(count * dtype.itemsize)
    if state.pool is not None:
        state.pool.kept.append(memory)
    return ndarray._of(memory.bytes.view(dtype).reshape(shape, order="F" if order == "F" else "C"), memory)


def device_value(value: Any) -> Any:
    """What NumPy may compute with: a device array's own array, or a scalar; anything on the host is refused."""
    if isinstance(value, ndarray):
        return value._host
    if value is None or isinstance(value, SCALARS | slice | type(Ellipsis) | str | np.dtype | type):
        return value
    if isinstance(value, tuple):
        return tuple(device_value(v) for v in value)
    if isinstance(value, list) and all(isinstance(v, SCALARS) for v in value):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def store(result: np.ndarray) -> ndarray:
    """A device array with a copy of a result."""
    result = np.asarray(result)
    array = allocate(result.shape, result.dtype)
    array._host[...] = result
    return array


def compute(function: Any, *arguments: Any, **options: Any) -> Any:
    """A new device array with what a NumPy function makes of device arrays; recorded where the stream captures."""
    values = [device_value(a) for a in arguments]
    with np.errstate(all="ignore"):
        result = function(*values, **options)
    if isinstance(result, tuple):
        state.refuse_in_capture(getattr(function, "__name__", "function"))
        return tuple(store(r) for r in result)
    made = store(result)
    graph = state.capture()
    if graph is not None:
        host = made._host

        def again() -> None:
            with np.errstate(all="ignore"):
                host[...] = function(*values, **options)

        graph._record(again, [made, *_arrays(arguments)])
        made._memory.bytes.fill(0xFF)
    return made


def change(function: Any, target: ndarray, *arguments: Any) -> None:
    """Let a NumPy function write into a device array; recorded, and not done yet, where the stream captures."""
    values = [device_value(a) for a in arguments]
    host = device_value(target)

    def act() -> None:
        with np.errstate(all="ignore"):
            function(host, *values)

    graph = state.capture()
    if graph is None:
        act()
    else:
        graph._record(act, [target, *_arrays(arguments)])


def _arrays(values: Any) -> list[ndarray]:
    found = []
    for value in values:
        if isinstance(value, ndarray):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _arrays(value)
    return found


def _operand(value: Any) -> bool:
    return isinstance(value, ndarray | SCALARS)


def _binary(name: str) -> tuple[Any, Any]:
    function = getattr(operator, name)

    def forward(self: ndarray, other: Any) -> Any:
        if not _operand(other):
            raise TypeError(f"Unsupported type {type(other)}")
        return compute(function, self, other)

    def reflected(self: ndarray, other: Any) -> Any:
        if not _operand(other):
            raise TypeError(f"Unsupported type {type(other)}")
        return compute(function, other, self)

    return forward, reflected


def _in_place(name: str) -> Any:
    function = getattr(operator, name)

    def method(self: ndarray, other: Any) -> Any:
        if not _operand(other):
            raise TypeError(f"Unsupported type {type(other)}")
        change(function, self, other)
        return self

    return method


def _reduction(name: str) -> Any:
    function = getattr(np, name)

    def method(self: ndarray, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        options = {"axis": axis, "keepdims": keepdims} | ({} if dtype is None else {"dtype": dtype})
        result = compute(function, self, **options)
        return result if out is None else _into(out, result)

    return method


def _plain_reduction(name: str) -> Any:
    function = getattr(np, name)

    def method(self: ndarray, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        result = compute(function, self, axis=axis, keepdims=keepdims)
        return result if out is None else _into(out, result)

    return method


def _index_reduction(name: str) -> Any:
    function = getattr(np, name)

    def method(self: ndarray, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        if out is not None:
            raise NotImplementedError("out")
        return compute(lambda a: function(a, axis=axis, keepdims=keepdims).astype(dtype or np.int64), self)

    return method


def _into(out: ndarray, result: ndarray) -> ndarray:
    change(lambda a, b: np.copyto(a, b), out, result)
    return out


class ndarray:
    """A device array: `numpy.ndarray`'s methods as CuPy has them, and no way into NumPy but `get`."""

    __array_ufunc__ = None  # NumPy's operators give up and let ours refuse
    __slots__ = ("__weakref__", "_host", "_memory", "_base")
    __module__ = "cupy"  # as CuPy has it
    __hash__ = None  # type: ignore[assignment]

    def __new__(
        cls, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> ndarray:
        if memptr is not None or strides is not None:
            raise NotImplementedError("ndarray with memptr or strides is not emulated")
        return allocate(shape, dtype, order)

    @classmethod
    def _of(cls, host: np.ndarray, memory: Memory, base: ndarray | None = None) -> ndarray:
        self = object.__new__(cls)
        self._host, self._memory, self._base = host, memory, base
        return self

    def _view(self, host: np.ndarray) -> ndarray:
        return ndarray._of(host, self._memory, self if self._base is None else self._base)

    # What is known without the device.
    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self._host.shape = shape

    @property
    def dtype(self) -> np.dtype:
        return self._host.dtype

    @property
    def ndim(self) -> int:
        return self._host.ndim

    @property
    def size(self) -> int:
        return self._host.size

    @property
    def itemsize(self) -> int:
        return self._host.itemsize

    @property
    def nbytes(self) -> int:
        return self._host.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        return self._host.strides

    @property
    def flags(self) -> Any:
        return _Flags(self._host.flags, self._base is None)

    @property
    def base(self) -> ndarray | None:
        return self._base

    @property
    def device(self) -> Any:
        from .cuda import Device

        return Device(0)

    @property
    def data(self) -> Any:
        nbytes = self._memory.nbytes
        return SimpleNamespace(
            ptr=self._host.ctypes.data, device_id=0, device=self.device, mem=SimpleNamespace(size=nbytes)
        )

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return len(self._host)

    # Ways to the host: all of them synchronise.
    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(
            f"numpy.{function.__name__} on a device array: CuPy may do it, the emulation wants cupy.* asked"
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(IMPLICIT)

    def __reduce__(self) -> Any:
        from .functions import array

        return array, (self.get(),)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        if blocking:
            state.refuse_in_capture("get")
        state.refuse_in_capture("copy to the host")
        state.counters.downloads += 1
        state.counters.downloaded += self.nbytes
        if out is None:
            return self._host.copy(order=order)
        if not isinstance(out, np.ndarray):
            raise TypeError(f"Only numpy.ndarray can be obtained fromcupy.ndarray, not {type(out)}")
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        out[...] = self._host
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        state.refuse_in_capture("copy from the host")
        state.counters.uploads += 1
        state.counters.uploaded += self.nbytes
        self._host[...] = arr

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __index__(self) -> int:
        return operator.index(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec) if self.ndim else format(self.item(), spec)

    def __iter__(self) -> Any:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # Indexing.
    def __getitem__(self, index: Any) -> ndarray:
        parts = index if isinstance(index, tuple) else (index,)
        for part in parts:
            if isinstance(part, np.ndarray) and part.ndim:
                raise IndexError(f"Unsupported type {type(part)}")
        if any(isinstance(p, ndarray | list) for p in parts):
            if any(isinstance(p, ndarray) and p.dtype == bool for p in parts):
                state.refuse_in_capture("the length of a masked result is needed on the host")
            return compute(operator.getitem, self, index)
        host = self._host[index]
        if not isinstance(host, np.ndarray):
            host = self._host[(*parts, Ellipsis)]
        return self._view(host)

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(p, np.ndarray) and p.ndim for p in parts):
            raise IndexError("only device arrays index a device array")
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError(
                f"Unsupported type {type(value)}: NumPy arrays are not assigned to device arrays, use set()"
            )
        if isinstance(value, np.ndarray):
            value = value[()]
        if not _operand(value):
            raise TypeError(f"Unsupported type {type(value)}")
        change(lambda a, i, v: a.__setitem__(i, v), self, index, value)

    # New arrays and views.
    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return compute(lambda a: a.astype(dtype), self)

    def copy(self, order: str = "C") -> ndarray:
        return compute(lambda a: a.copy(order="C"), self)

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        return self._view(self._host.view() if dtype is None else self._host.view(dtype))

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        if len(shape) == 1 and isinstance(shape[0], tuple | list):
            shape = tuple(shape[0])
        host = self._host.reshape(shape, order=order)
        if np.shares_memory(host, self._host) or self.size == 0:
            return self._view(host)
        return compute(lambda a: a.reshape(shape, order=order), self)

    def ravel(self, order: str = "C") -> ndarray:
        return self.reshape(-1) if order == "C" else compute(lambda a: a.ravel(order=order), self)

    def flatten(self, order: str = "C") -> ndarray:
        return compute(lambda a: a.flatten(order=order), self)

    def transpose(self, *axes: Any) -> ndarray:
        return self._view(self._host.transpose(*axes))

    @property
    def T(self) -> ndarray:
        return self._view(self._host.T)

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return self._view(self._host.swapaxes(axis1, axis2))

    def squeeze(self, axis: Any = None) -> ndarray:
        return self._view(self._host.squeeze(axis))

    def fill(self, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        change(lambda a, v: a.fill(v), self, value[()] if isinstance(value, np.ndarray) else value)

    def take(self, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
        result = compute(lambda a, i: np.take(a, i, axis=axis), self, indices)
        return result if out is None else _into(out, result)

    def put(self, indices: Any, values: Any, mode: str = "wrap") -> None:
        change(lambda a, i, v: np.put(a, i, v, mode=mode), self, indices, values)

    def repeat(self, repeats: Any, axis: Any = None) -> ndarray:
        return compute(lambda a, r: np.repeat(a, r, axis=axis), self, repeats)

    def sort(self, axis: int = -1) -> None:
        change(lambda a: a.sort(axis=axis, kind="stable"), self)

    def argsort(self, axis: int = -1) -> ndarray:
        return compute(lambda a: np.argsort(a, axis=axis, kind="stable"), self)

    def nonzero(self) -> tuple[ndarray, ...]:
        state.refuse_in_capture("nonzero")
        return compute(np.nonzero, self)

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> ndarray:
        result = compute(lambda a, low, high: np.clip(a, low, high), self, min, max)
        return result if out is None else _into(out, result)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> ndarray:
        result = compute(lambda a: np.cumsum(a, axis=axis, dtype=dtype), self)
        return result if out is None else _into(out, result)

    def dot(self, b: Any, out: Any = None) -> ndarray:
        result = compute(np.dot, self, b)
        return result if out is None else _into(out, result)

    sum, mean, prod = (_reduction(name) for name in ("sum", "mean", "prod"))
    max, min, all, any = (_plain_reduction(name) for name in ("max", "min", "all", "any"))
    argmax, argmin = (_index_reduction(name) for name in ("argmax", "argmin"))

    def __neg__(self) -> ndarray:
        return compute(operator.neg, self)

    def __abs__(self) -> ndarray:
        return compute(operator.abs, self)

    def __invert__(self) -> ndarray:
        return compute(operator.invert, self)

    __add__, __radd__ = _binary("add")
    __sub__, __rsub__ = _binary("sub")
    __mul__, __rmul__ = _binary("mul")
    __truediv__, __rtruediv__ = _binary("truediv")
    __floordiv__, __rfloordiv__ = _binary("floordiv")
    __mod__, __rmod__ = _binary("mod")
    __pow__, __rpow__ = _binary("pow")
    __matmul__, __rmatmul__ = _binary("matmul")
    __and__, __rand__ = _binary("and_")
    __or__, __ror__ = _binary("or_")
    __xor__, __rxor__ = _binary("xor")
    __lshift__, __rlshift__ = _binary("lshift")
    __rshift__, __rrshift__ = _binary("rshift")
    __eq__, __ne__ = _binary("eq")[0], _binary("ne")[0]
    __lt__, __le__, __gt__, __ge__ = (_binary(name)[0] for name in ("lt", "le", "gt", "ge"))
    __iadd__, __isub__, __imul__ = _in_place("iadd"), _in_place("isub"), _in_place("imul")
    __itruediv__, __ifloordiv__ = _in_place("itruediv"), _in_place("ifloordiv")
    __iand__, __ior__, __ixor__ = _in_place("iand"), _in_place("ior"), _in_place("ixor")
    __ilshift__, __irshift__ = _in_place("ilshift"), _in_place("irshift")
    __imod__, __ipow__ = _in_place("imod"), _in_place("ipow")


class _Flags:
    def __init__(self, flags: Any, owndata: bool):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, owndata

    def __getitem__(self, name: str) -> bool:
        names = {"C_CONTIGUOUS": self.c_contiguous, "F_CONTIGUOUS": self.f_contiguous, "OWNDATA": self.owndata}
        return names[name]
