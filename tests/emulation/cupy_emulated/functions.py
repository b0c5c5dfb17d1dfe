"""The functions of the fake `cupy`, with CuPy's signatures."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from .. import state
from .array import SCALARS, _into, allocate, change, compute, ndarray, store

__all__ = [
    *("abs", "absolute", "add", "all", "amax", "amin", "any", "arange", "argmax", "argmin", "argpartition", "argsort"),
    *("argwhere", "array", "array_equal", "asarray", "ascontiguousarray", "asnumpy", "bincount", "broadcast_to"),
    *(
        "clip",
        "concatenate",
        "copyto",
        "count_nonzero",
        "cumsum",
        "diff",
        "divide",
        "dot",
        "empty",
        "empty_like",
        "exp",
    ),
    *("expand_dims", "flatnonzero", "full", "full_like", "get_array_module", "get_default_memory_pool"),
    *("get_default_pinned_memory_pool", "hstack", "isfinite", "isin", "isnan", "lexsort", "log", "log1p"),
    *("logical_and", "logical_not", "logical_or", "matmul", "max", "maximum", "mean", "min", "minimum", "multiply"),
    *("nonzero", "ones", "ones_like", "partition", "prod", "put", "ravel", "repeat", "reshape", "result_type"),
    *("searchsorted", "sign", "sort", "split", "sqrt", "square", "stack", "subtract", "sum", "take", "tanh"),
    *("transpose", "unique", "vstack", "where", "zeros", "zeros_like"),
]


def _upload(host: np.ndarray, order: str = "C") -> ndarray:
    state.refuse_in_capture("copy from the host")
    made = store(np.ascontiguousarray(host).reshape(host.shape))
    state.counters.uploads += 1
    state.counters.uploaded += made.nbytes
    return made


def array(
    object: Any, dtype: Any = None, copy: bool = True, order: str = "K", subok: bool = False, ndmin: int = 0
) -> Any:
    if isinstance(object, ndarray):
        made = object.astype(object.dtype if dtype is None else dtype, copy=copy)
    elif isinstance(object, list | tuple) and object and builtins.any(isinstance(o, ndarray) for o in object):
        made = stack([asarray(o) for o in object])
        made = made if dtype is None else made.astype(dtype)
    else:
        host = np.asarray(object, dtype=dtype)
        if host.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {host.dtype}")
        made = _upload(host)
    return made.reshape((1,) * (ndmin - made.ndim) + made.shape) if made.ndim < ndmin else made


def asarray(
    a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    return array(a, dtype=dtype, copy=bool(copy))


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    a = asarray(a, dtype)
    return (a if a.flags.c_contiguous else a.copy()).reshape(a.shape or (1,))


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    if isinstance(a, ndarray):
        return a.get(stream=stream, order=order, out=out, blocking=blocking)
    host = np.asarray(a)
    if out is None:
        return host
    out[...] = host
    return out


def get_array_module(*args: Any) -> Any:
    import sys

    return sys.modules["cupy"] if builtins.any(isinstance(a, ndarray) for a in args) else np


def get_default_memory_pool() -> Any:
    from .cuda import memory

    return memory.default_pool


def get_default_pinned_memory_pool() -> Any:
    from .cuda import memory

    return memory.default_pinned_pool


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return allocate(shape, dtype, order)


def empty_like(prototype: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return allocate(prototype.shape if shape is None else shape, prototype.dtype if dtype is None else dtype)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype)


def zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return full_like(a, 0, dtype, shape=shape)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype)


def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return full_like(a, 1, dtype, shape=shape)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        dtype = fill_value.dtype if isinstance(fill_value, ndarray | np.generic) else np.array(fill_value).dtype
    made = allocate(shape, dtype, order)
    change(lambda a, v: np.copyto(a, v, casting="unsafe"), made, fill_value)
    return made


def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return full(a.shape if shape is None else shape, fill_value, a.dtype if dtype is None else dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    return compute(lambda: np.arange(0, start, step, dtype) if stop is None else np.arange(start, stop, step, dtype))


def concatenate(tup: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> ndarray:
    result = compute(lambda *a: np.concatenate(a, axis=axis, dtype=dtype, casting=casting), *_arrays_only(tup))
    return result if out is None else _into(out, result)


def stack(tup: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> ndarray:
    result = compute(lambda *a: np.stack(a, axis=axis, dtype=dtype, casting=casting), *_arrays_only(tup))
    return result if out is None else _into(out, result)


def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> ndarray:
    return compute(lambda *a: np.vstack(a, dtype=dtype, casting=casting), *_arrays_only(tup))


def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> ndarray:
    return compute(lambda *a: np.hstack(a, dtype=dtype, casting=casting), *_arrays_only(tup))


def _arrays_only(values: Any) -> list[ndarray]:
    values = list(values)
    for value in values:
        if not isinstance(value, ndarray):
            raise TypeError(f"Only cupy arrays can be concatenated, not {type(value)}")
    return values


def _array_only(a: Any) -> ndarray:
    if not isinstance(a, ndarray):
        raise TypeError(f"Unsupported type {type(a)}: a cupy array is needed")
    return a


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    return [ary._view(part) for part in np.split(ary._host, indices_or_sections, axis)]


def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> ndarray:
    return _array_only(a).cumsum(axis, dtype, out)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return nonzero(condition)
    return compute(np.where, condition, x, y)


def nonzero(a: Any) -> tuple[ndarray, ...]:
    return _array_only(a).nonzero()


def flatnonzero(a: Any) -> ndarray:
    return nonzero(_array_only(a).ravel())[0]


def argwhere(a: Any) -> ndarray:
    state.refuse_in_capture("argwhere")
    return compute(np.argwhere, _array_only(a))


def take(a: Any, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
    return _array_only(a).take(indices, axis, out)


def put(a: Any, ind: Any, v: Any, mode: str = "wrap") -> None:
    _array_only(a).put(ind, v, mode)


def bincount(x: Any, weights: Any = None, minlength: Any = None) -> ndarray:
    state.refuse_in_capture("bincount")
    return compute(lambda a, w: np.bincount(a, w, minlength or 0), _array_only(x), weights)


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    return compute(lambda b, w, s: np.searchsorted(b, w, side, s), _array_only(a), v, sorter)


def sort(a: Any, axis: Any = -1, kind: Any = None) -> ndarray:
    return compute(lambda b: np.sort(b, axis, kind="stable"), _array_only(a))


def argsort(a: Any, axis: Any = -1, kind: Any = None) -> ndarray:
    return compute(lambda b: np.argsort(b, axis, kind="stable"), _array_only(a))


def lexsort(keys: Any) -> ndarray:
    return compute(np.lexsort, _array_only(keys))


def partition(a: Any, kth: Any, axis: Any = -1) -> ndarray:
    return compute(lambda b: np.partition(b, kth, axis), _array_only(a))


def argpartition(a: Any, kth: Any, axis: Any = -1) -> ndarray:
    return compute(lambda b: np.argpartition(b, kth, axis), _array_only(a))


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
) -> Any:
    state.refuse_in_capture("unique")
    return compute(
        lambda a: np.unique(a, return_index, return_inverse, return_counts, axis, equal_nan=equal_nan), _array_only(ar)
    )


def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False) -> ndarray:
    return compute(lambda a, b: np.isin(a, b, assume_unique, invert), _array_only(element), _array_only(test_elements))


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> ndarray:
    if prepend is not None or append is not None:
        raise NotImplementedError("diff with prepend or append is not emulated")
    return compute(lambda b: np.diff(b, n, axis), _array_only(a))


def repeat(a: Any, repeats: Any, axis: Any = None) -> ndarray:
    if isinstance(repeats, ndarray):
        raise ValueError("cupy.repeat takes the numbers of repeats from the host only")
    return compute(lambda b: np.repeat(b, repeats, axis), _array_only(a))


def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    _array_only(dst)
    if isinstance(src, np.ndarray) and src.ndim:
        raise TypeError(f"Unsupported type {type(src)}")
    if where is None:
        change(lambda a, b: np.copyto(a, b, casting=casting), dst, src)
    else:
        change(lambda a, b, w: np.copyto(a, b, casting=casting, where=w), dst, src, where)


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return np.result_type(*(a.dtype if isinstance(a, ndarray) else a for a in arrays_and_dtypes))


def reshape(a: Any, newshape: Any, order: str = "C") -> ndarray:
    return _array_only(a).reshape(newshape, order=order)


def ravel(a: Any, order: str = "C") -> ndarray:
    return _array_only(a).ravel(order)


def transpose(a: Any, axes: Any = None) -> ndarray:
    return _array_only(a).transpose(*(() if axes is None else (axes,)))


def expand_dims(a: Any, axis: Any) -> ndarray:
    return _array_only(a)._view(np.expand_dims(a._host, axis))


def broadcast_to(array: Any, shape: Any) -> ndarray:
    return _array_only(array)._view(np.broadcast_to(array._host, shape))


def clip(a: Any, a_min: Any, a_max: Any, out: Any = None) -> ndarray:
    return _array_only(a).clip(a_min, a_max, out)


def dot(a: Any, b: Any, out: Any = None) -> ndarray:
    return _array_only(a).dot(b, out)


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> ndarray:
    return compute(lambda a, b: np.asarray(np.array_equal(a, b, equal_nan)), _array_only(a1), _array_only(a2))


def count_nonzero(a: Any, axis: Any = None) -> ndarray:
    return compute(lambda b: np.asarray(np.count_nonzero(b, axis), dtype=np.int64), _array_only(a))


def _reduction(name: str, typed: bool) -> Any:
    if typed:

        def function(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
            return getattr(_array_only(a), name)(axis, dtype, out, keepdims)

    else:

        def function(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
            return getattr(_array_only(a), name)(axis=axis, out=out, keepdims=keepdims)

    function.__name__ = name
    return function


def _elementwise(name: str) -> Any:
    numpy_function = getattr(np, name)

    def function(*args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> ndarray:
        if builtins.len(args) == numpy_function.nin + 1 and out is None:
            *args, out = args
        if builtins.len(args) != numpy_function.nin:
            raise TypeError(f"{name}() takes {numpy_function.nin} arrays, not {builtins.len(args)}")
        if not builtins.all(isinstance(a, ndarray | SCALARS) for a in args):
            raise TypeError(f"Unsupported types {[type(a) for a in args]}")
        options = {} if dtype is None else {"dtype": dtype}
        if out is None:
            return compute(lambda *a: numpy_function(*a, **options), *args)
        change(lambda o, *a: numpy_function(*a, out=o, casting=casting, **options), out, *args)
        return out

    function.__name__ = name
    return function


sum, mean, prod = _reduction("sum", True), _reduction("mean", True), _reduction("prod", True)
max, min, all, any = (_reduction(name, False) for name in ("max", "min", "all", "any"))
amax, amin = max, min


def argmax(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
    return _array_only(a).argmax(axis, dtype, out, keepdims)


def argmin(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> ndarray:
    return _array_only(a).argmin(axis, dtype, out, keepdims)


abs = absolute = _elementwise("absolute")
exp, log, log1p, sqrt, square, tanh, sign = (
    _elementwise(name) for name in ("exp", "log", "log1p", "sqrt", "square", "tanh", "sign")
)
isfinite, isnan, logical_not = (_elementwise(name) for name in ("isfinite", "isnan", "logical_not"))
maximum, minimum, add, subtract, multiply, divide, matmul = (
    _elementwise(name) for name in ("maximum", "minimum", "add", "subtract", "multiply", "divide", "matmul")
)
logical_and, logical_or = _elementwise("logical_and"), _elementwise("logical_or")
