"""Sparse matrices to networks and back; a matrix is ``matrix[target, source]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import integers, require
from ..network import Network
from .assemble import assemble

if TYPE_CHECKING:
    import scipy.sparse


def from_scipy(
    matrix: scipy.sparse.sparray | scipy.sparse.spmatrix,
    inputs: Any,
    outputs: Any,
    activation: Any = "relu",
    output_activation: Any = "identity",
    on_cycle: str = "error",
    on_input: str = "error",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network of a square sparse matrix of weights.

    Parameters
    ----------
    matrix : sparse array or matrix, shape (n, n)
        ``matrix[target, source]`` is a weight; every stored entry becomes a connection, stored zeros too.
    inputs, outputs : array of int
        Rows of the neurons that hold the columns of X and of the prediction, in this order.
    activation, output_activation : optional
        One for all neurons that are neither input nor output, or one per row of the matrix; and for outputs.
    on_cycle : {"error", "delay", "all"}
        Weights that close cycles: refuse and name one cycle, give a small set of feedback connections delay 1, or give
        every connection delay 1, as in a brain.
    on_input : {"error", "feed", "drop"}
        Weights in the row of an input, which holds X and takes no connections: refuse; give every input an input
        neuron of its own that feeds it through a frozen connection of weight 1; or leave those weights out.
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network
        The neuron of row i has id i.

    Raises
    ------
    InvalidValueError, CycleError
        If the matrix is not square or indices lie outside it; if an input has incoming weights or there is a cycle,
        unless the arguments say what to do.

    Examples
    --------
    >>> import scipy.sparse
    >>> matrix = scipy.sparse.csr_array([[0, 0, 0], [2, 0, 0], [1, 3, 0]])
    >>> from_scipy(matrix, inputs=[0], outputs=[2]).predict([[1.0]]).tolist()
    [[7.0]]
    """
    n = matrix.shape[0]
    require(matrix.ndim == 2 and matrix.shape == (n, n), f"the matrix must be square, not {matrix.shape}")
    inputs, outputs = integers(inputs, "inputs"), integers(outputs, "outputs")
    for ids, what in ((inputs, "inputs"), (outputs, "outputs")):
        require(bool(((ids >= 0) & (ids < n)).all()), f"{what} must be rows of the matrix, 0 to {n - 1}, not {ids}")
    one = isinstance(activation, str | tuple)
    specs = [activation] * n if one else list(activation)
    require(len(specs) == n, f"activation must be one name or one per row ({n}), not {len(specs)}")
    if one:
        for row in outputs:
            specs[row] = output_activation
    entries = matrix.tocoo()
    return assemble(
        n,
        entries.col.astype(np.int64),
        entries.row.astype(np.int64),
        inputs,
        outputs,
        weight=entries.data,
        columns={"activation": specs},
        on_cycle=on_cycle,
        on_input=on_input,
        seed=seed,
        dtype=dtype,
        backend=backend,
    )


def to_scipy(net: Network) -> scipy.sparse.csr_array:
    """Weights as ``matrix[target, source]``, rows and columns in the order of ``net.neurons.ids``.

    Raises
    ------
    InvalidValueError
        If there are connections with a delay: one matrix cannot hold several time steps.

    Examples
    --------
    >>> import neurograph as ng
    >>> to_scipy(ng.topologies.layered([2, 3, 1], weight=0.5)).toarray()[-1].tolist()
    [0.0, 0.0, 0.5, 0.5, 0.5, 0.0]
    """
    import scipy.sparse

    conns, ids = net.connections, net.neurons.ids
    require(
        not conns.delay.any(), "the network has delayed connections, which one matrix cannot hold; prune them first"
    )
    ends = np.searchsorted(ids, conns.target), np.searchsorted(ids, conns.source)
    return scipy.sparse.csr_array((conns.weight, ends), shape=(len(ids), len(ids)))
