"""Frozen networks in few bytes: what `Network.quantize` returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends, checks
from .checks import require
from .errors import FileFormatError
from .functions import activations, aggregations, arrays
from .locks import ALONE
from .packed import FORMATS, Packed, pack
from .packed.formats import parse
from .samples import SparseSamples, inputs

if TYPE_CHECKING:
    from .graph.graph import Graph
    from .plan import Plan

KIND = "quantized"  # of file
FLOAT = np.dtype(np.float32)


class QuantizedNetwork:
    """A network for predictions alone, with narrow weights and gaps of a byte instead of indices.

    `Network.quantize` makes one. It shares nothing with the network that it came from: editing or training that one
    changes nothing here. Arithmetic is in float32 over the rounded weights, so a prediction is that of `dequantize` to
    rounding. Shared parameters are stored for each connection.

    Attributes
    ----------
    format : str
        "int8", "bf16" or "fp16".
    backend_name : str

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([64, 100, 10], density=0.2, seed=0)
    >>> small = net.quantize("int8")
    >>> small
    <QuantizedNetwork: 174 neurons, 1480 connections, 64 inputs, 10 outputs, int8, 4.8 KiB>
    >>> X = np.ones((5, 64), "float32")
    >>> bool(abs(small.predict(X) - net.predict(X)).max() < 0.1)
    True
    """

    def __init__(self, packed: Packed, backend: str, rebuild: Callable[..., Any]):
        self._packed, self._rebuild = packed, rebuild
        backends.resolve(backend)
        self.backend_name = backend

    @classmethod
    def of(
        cls, graph: Graph, plan: Plan, format: str, per: str, backend: str, rebuild: Callable[..., Any]
    ) -> QuantizedNetwork:
        """Freeze a graph as its plan has it; ``rebuild(dtype=..., backend=...)`` makes an empty network."""
        return cls(pack(graph, plan, parse(format, per), per), backend, rebuild)

    @property
    def format(self) -> str:
        """How weights are stored."""
        return self._packed.format.name

    @property
    def n_neurons(self) -> int:
        """Number of neurons, inputs included."""
        return self._packed.n

    @property
    def n_inputs(self) -> int:
        """Columns of X."""
        return self._packed.n_inputs

    @property
    def n_outputs(self) -> int:
        """Columns of the prediction."""
        return len(self._packed.outputs)

    @property
    def n_connections(self) -> int:
        """Number of connections."""
        return self._packed.n_connections

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays: everything that is held between two predictions but for a few Python objects."""
        return self._packed.nbytes

    @property
    def remembers(self) -> bool:
        """Whether a step depends on earlier ones, through delays or time constants: X then needs a time axis."""
        return self._packed.history > 0

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Views of the arrays that `nbytes` counts, by name; read-only."""
        views = {name: array.view() for name, array in self._packed.arrays.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    @property
    def backend(self) -> ModuleType:
        """The backend's module."""
        return backends.get_backend(self.backend_name)

    def predict(self, X: Any, batch_size: int | None = None) -> np.ndarray:
        """Outputs for X.

        Parameters
        ----------
        X : array, shape (batch, n_inputs) or (batch, time, n_inputs), or SciPy sparse matrix (batch, n_inputs)
            With a time axis if the network `remembers`; everything before the first step is zero.
        batch_size : int, optional
            Samples that run together at most; by default as many as keep the activations small.

        Returns
        -------
        ndarray of float32, shape (batch, n_outputs) or (batch, time, n_outputs)

        Raises
        ------
        InvalidValueError
            If X has the wrong shape, no samples, or entries that are not finite; or if there are no outputs.
        """
        require(self.n_outputs > 0, "the network had no outputs when it was quantized; mark_outputs, and quantize it")
        if batch_size is not None:
            checks.whole("batch_size", batch_size, 1)
        remembers = self.remembers
        backend = self.backend
        if not self._is_ready(X, backend):
            if arrays.on_device(X):
                return arrays.to_device(self.predict(X.get(), batch_size))
            X = inputs(X, self.n_inputs, FLOAT, remembers)
            X = X.dense() if isinstance(X, SparseSamples) else X
        with ALONE:
            Y = backend.predict_packed(self._packed, X if remembers else X[:, None], batch_size)
        return Y if remembers else Y[:, 0]

    __call__ = predict

    def _is_ready(self, X: Any, backend: ModuleType) -> bool:
        """Whether X is just what a backend takes, so that nothing needs to be converted or refused."""
        return (
            type(X) is np.ndarray
            and X.dtype == FLOAT
            and X.ndim == (3 if self.remembers else 2)
            and X.shape[-1] == self._packed.n_inputs
            and X.size > 0
            and X.flags.carray
            and backend.all_finite(X)
        )

    def dequantize(self, backend: str | None = None) -> Any:
        """A `Network` of the same topology with the rounded weights, in float32.

        Neurons are numbered anew, inputs first and then in the order of the schedule; names, groups and sharing are not
        kept.

        Parameters
        ----------
        backend : str, optional
            The quantized network's by default.

        Returns
        -------
        Network

        Examples
        --------
        >>> import neurograph as ng
        >>> net = ng.topologies.layered([2, 3, 1], seed=0)
        >>> again = net.quantize("int8").dequantize()
        >>> again.n_connections, bool(abs(again.connections.weight - net.connections.weight).max() < 0.02)
        (9, True)
        """
        packed = self._packed
        net = self._rebuild(dtype="float32", backend=backend or self.backend_name)
        net.add_inputs(packed.n_inputs)
        kinds = [activations.by_code(int(code)) for code in packed.column("activation")]
        specs = [
            kind.name if kind.default is None else (kind.name, float(parameter))
            for kind, parameter in zip(kinds, packed.column("parameter"), strict=True)
        ]
        if packed.n_rows:
            net.add_neurons(
                packed.n_rows, activation=specs,
                aggregation=[aggregations.name(int(code)) for code in packed.column("aggregation")],
                bias=packed.bias, time_constant=packed.column("time_constant"),
            )  # fmt: skip
        row, source, delay, weight = packed.unpack()
        net.add_connections(source, packed.n_inputs + row, weight=weight, delay=delay)
        if self.n_outputs:
            net.mark_outputs(packed.outputs.astype(np.int64))
        return net

    def save(self, path: str | os.PathLike) -> None:
        """Write everything to one file, which `load` reads; the file is replaced atomically."""
        from . import io

        packed = self._packed
        meta = {
            "kind": KIND,
            "format": self.format,
            "backend": self.backend_name,
            "by_source": packed.by_source,
            "n_inputs": packed.n_inputs,
            "n_connections": packed.n_connections,
            "history": packed.history,
            # Codes are stored by name, so that a later version may number them as it likes.
            "activations": {str(a.code): a.name for a in activations.ACTIVATIONS.values()},
            "aggregations": {str(code): name for name, code in aggregations.AGGREGATIONS.items()},
        }
        io.save(path, packed.arrays, meta)

    @classmethod
    def restore(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], rebuild: Callable[..., Any]
    ) -> QuantizedNetwork:
        """The network that `save` wrote.

        Raises
        ------
        FileFormatError, KeyError, IndexError, TypeError
            If something is missing, or contradicts something else.
        """
        codes = {int(code): activations.ACTIVATIONS[name].code for code, name in meta["activations"].items()}
        kinds = {int(code): aggregations.AGGREGATIONS[name] for code, name in meta["aggregations"].items()}
        for name, renamed in (("activation", codes), ("aggregation", kinds)):
            values, inverse = np.unique(arrays[name], return_inverse=True)
            arrays[name] = np.array([renamed[int(value)] for value in values], np.int8)[inverse]
        n_inputs, n_connections, history = (int(meta[name]) for name in ("n_inputs", "n_connections", "history"))
        packed = Packed(FORMATS[meta["format"]], bool(meta["by_source"]), n_inputs, n_connections, history, **arrays)
        try:
            packed.check()
        except (ValueError, AttributeError) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(f"its arrays do not fit together ({error})") from error
        return cls(packed, backends.elsewhere(meta["backend"]), rebuild)

    def __repr__(self) -> str:
        size = f"{self.nbytes / 1024:.1f} KiB" if self.nbytes < 2**20 else f"{self.nbytes / 2**20:.1f} MiB"
        return (
            f"<QuantizedNetwork: {self.n_neurons} neurons, {self.n_connections} connections, {self.n_inputs} inputs, "
            f"{self.n_outputs} outputs, {self.format}, {size}>"
        )
