"""X as something else than an array of NumPy: sparse, and made dense a few samples at a time, or on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks
from .checks import require
from .errors import InvalidValueError
from .functions.arrays import on_device, to_device


def is_sparse(X: Any) -> bool:
    """Whether X is a SciPy sparse array or matrix; asks without importing SciPy.

    Examples
    --------
    >>> from scipy import sparse
    >>> is_sparse(sparse.eye_array(3)), is_sparse(np.eye(3))
    (True, False)
    """
    return type(X).__module__.startswith("scipy.sparse")


class SparseSamples:
    """Rows of a SciPy sparse matrix that passed the checks of X.

    Attributes
    ----------
    rows : scipy.sparse.csr_array, shape (samples, n_inputs)
        With duplicates added up.

    Examples
    --------
    >>> from scipy import sparse
    >>> X = SparseSamples.of(sparse.eye_array(3), 3, np.dtype("float32"))
    >>> len(X), X[1:].shape, X[np.array([2])].dense().tolist()
    (3, (2, 3), [[0.0, 0.0, 1.0]])
    """

    ndim = 2

    def __init__(self, rows: Any):
        self.rows = rows
        self.shape: tuple[int, int] = rows.shape

    @classmethod
    def of(cls, X: Any, n_inputs: int, dtype: np.dtype, remembers: bool = False) -> SparseSamples:
        """Check a sparse X as `checks.inputs` checks a dense one; its entries are not changed.

        Raises
        ------
        InvalidValueError
            If X has the wrong shape, no samples, or entries that are not finite real numbers.
        """
        from scipy import sparse

        require(not remembers, "X is sparse, but the network has delays or time constants: give a dense array of steps")
        if X.ndim != 2:
            checks.require_shape(X, n_inputs, remembers)
        rows = sparse.csr_array(X)
        try:
            rows.check_format(full_check=True)
        except ValueError as error:
            raise InvalidValueError(f"X is no valid sparse matrix ({error}); build it anew") from None
        checks.require_shape(rows, n_inputs, remembers)
        data = checks.reals(rows.data, dtype, "X")
        bad = np.flatnonzero(~np.isfinite(data))
        if len(bad):
            row = int(np.searchsorted(rows.indptr, bad[0], side="right")) - 1
            require(
                False,
                f"X is {data[bad[0]]} at row {row}, column {rows.indices[bad[0]]} ({len(bad)} such entries); replace "
                f"or leave out what is not a finite number of {dtype}",
            )
        rows = sparse.csr_array((data, rows.indices, rows.indptr), rows.shape)
        if not rows.has_canonical_format:
            rows = rows.copy()
            rows.sum_duplicates()
            checks.finite(rows.data[None], "X with its duplicates added up")
        return cls(rows)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, samples: Any) -> SparseSamples:
        return SparseSamples(self.rows[samples])

    def dense(self) -> np.ndarray:
        """(samples, n_inputs)."""
        return self.rows.toarray()

    def steps(self) -> SparseSteps:
        """The same with an axis for the single time step."""
        return SparseSteps(self)


class SparseSteps:
    """Sparse samples of one time step each; to numpy a dense array.

    Attributes
    ----------
    rows : scipy.sparse.csr_array, shape (samples, n_inputs)
    shape : tuple
        (samples, 1, n_inputs).
    """

    def __init__(self, samples: SparseSamples):
        self._samples, self.rows = samples, samples.rows
        self.shape = (len(samples), 1, samples.shape[1])

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, key: Any) -> SparseSteps:
        """Some of the samples; a slice of steps after them has nothing to choose from."""
        return SparseSteps(self._samples[key[0] if isinstance(key, tuple) else key])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._samples.dense()[:, None]


class DeviceRows:
    """An array on a GPU whose rows may be chosen by numbers on the host; X passed its checks.

    Attributes
    ----------
    array : cupy.ndarray
    """

    def __init__(self, array: Any):
        self.array = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> DeviceRows:
        """Some rows; their numbers go to the device, the rows stay there."""
        return DeviceRows(self.array[to_device(rows)])

    @staticmethod
    def beside(Y: Any) -> Any:
        """Rows of Y, on the device too if they are numbers."""
        Y = to_device(Y)
        return DeviceRows(Y) if on_device(Y) else Y


def unwrapped(X: Any) -> Any:
    """The array of `DeviceRows`; everything else passes through."""
    return X.array if isinstance(X, DeviceRows) else X


def inputs(X: Any, n_inputs: int, dtype: np.dtype, remembers: bool = False) -> Any:
    """X as `checks.inputs` gives it, as `SparseSamples` where it is sparse, or as `DeviceRows` where it is on a GPU."""
    if type(X) is np.ndarray:
        return checks.inputs(X, n_inputs, dtype, remembers)
    if isinstance(X, DeviceRows) and X.dtype == dtype and X.shape[-1] == n_inputs and X.ndim == 2 + remembers:
        return X
    if isinstance(X, DeviceRows) or on_device(X):
        return DeviceRows(checks.device_inputs(unwrapped(X), n_inputs, dtype, remembers))
    if isinstance(X, SparseSamples) and X.rows.dtype == dtype and X.shape[1] == n_inputs and not remembers:
        return X
    if isinstance(X, SparseSamples):
        X = X.rows
    return (
        SparseSamples.of(X, n_inputs, dtype, remembers)
        if is_sparse(X)
        else checks.inputs(X, n_inputs, dtype, remembers)
    )


def one_step(X: Any) -> Any:
    """X of samples with an axis for their single time step."""
    return X.steps() if isinstance(X, SparseSamples) else X[:, None]
