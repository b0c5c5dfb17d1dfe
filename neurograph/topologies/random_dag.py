"""Random directed acyclic graphs: no layers at all."""

from typing import Any

import numpy as np

from .. import checks
from ..checks import require
from ..network import Network
from ..sampling import absent_pairs

__all__ = ["random_dag"]


def random_dag(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    density: float,
    activation: Any = "relu",
    output_activation: Any = "identity",
    weight: Any = "he",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
    depth: int | None = None,
) -> Network:
    """Make a network whose hidden neurons are wired at random, each to neurons that come after it.

    The candidates are all pairs input -> hidden, hidden -> later hidden, hidden -> output and input -> output;
    exactly `round(density * candidates)` of them, drawn uniformly, are connected. The longest path grows with
    `n_hidden * density`, so many hidden neurons make a deep network; give ``depth`` where it should be shallow.

    With ``depth`` the hidden neurons are dealt evenly to that many generations, and pairs inside a generation are no
    candidates. Every hidden neuron gets a source in the generation before its own (an input for the first), every
    output one in the last, and the other connections are drawn uniformly from the remaining candidates. So the longest
    path passes exactly ``depth`` hidden neurons, and the count is as exact as without.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : int
        Number of neurons; the groups are named "inputs", "hidden" and "outputs".
    density : float
        Share of the candidates that is connected, 0 to 1.
    activation, output_activation : str or pair
        Activation of the hidden neurons and of the outputs.
    weight : str, number, array or function
        Initializer; "he" uses the fan-in that each neuron really has.
    seed : int
        Seed of the network.
    dtype : {"float32", "float64"}
        Type of all numbers.
    backend : str
        "auto", "cpu", "gpu" or "reference".
    depth : int, optional
        Number of hidden generations.

    Returns
    -------
    Network
        The network, with biases 0.

    Raises
    ------
    InvalidValueError
        A number is out of range, or the density leaves too few connections for the depth.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.random_dag(4, 10, 2, density=0.25, seed=0)
    >>> net.n_connections     # a quarter of 4*10 + 10*9/2 + 10*2 + 4*2 = 113
    28
    >>> ng.topologies.random_dag(4, 10, 2, density=0.25, depth=3).schedule.depth     # inputs, 3 hidden, outputs
    5
    """
    if depth is not None:
        checks.whole("n_inputs", n_inputs, 1)
        checks.whole("n_hidden", n_hidden, 1)
        checks.whole("n_outputs", n_outputs, 0)
        checks.fraction("density", density)
        checks.whole("depth", depth, 1)
        require(depth <= n_hidden, f"depth is {depth} for {n_hidden} hidden neurons; give one neuron or more to each.")
    net = Network(seed=seed, dtype=dtype, backend=backend)
    inputs = net.add_inputs(n_inputs, name="inputs")
    hidden = net.add_neurons(n_hidden, activation=activation, name="hidden")
    outputs = net.add_outputs(n_outputs, activation=output_activation, name="outputs")
    if depth is not None:
        source, target = generation_pairs(n_inputs, n_hidden, n_outputs, density, depth, net.rng)
        net.add_connections(source, target, weight=weight)
        return net
    # Without connections every neuron stands at its id in schedule order, so these pairs are the candidates above.
    net.connect(inputs | hidden, hidden | outputs, density=density, weight=weight)
    return net


def generation_pairs(
    n_inputs: int, n_hidden: int, n_outputs: int, density: float, depth: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the connections of a DAG with ``depth`` hidden generations; neurons are numbered generation by generation.

    The generations of sources are the inputs and the hidden ones; those of targets are the hidden ones and the outputs.
    """
    sizes = np.full(depth, n_hidden // depth) + (np.arange(depth) < n_hidden % depth)
    before = n_inputs + np.cumsum(sizes) - sizes  # neurons in earlier generations
    source_size = np.concatenate([[n_inputs], sizes])
    target_size = np.concatenate([sizes, [n_outputs]])
    allowed = np.repeat(np.concatenate([before, [n_inputs + n_hidden]]), target_size)
    # One source from the generation right before: the last of the earlier neurons.
    backbone = allowed - 1 - rng.integers(np.repeat(source_size, target_size))
    targets, candidates = np.arange(n_hidden + n_outputs), int(allowed.sum())
    count = round(density * candidates)
    require(
        count >= len(targets),
        f"a density of {density} gives {count} connections, and a depth of {depth} takes {len(targets)}, one into each "
        f"hidden neuron and output; give a density of {len(targets) / candidates:.3g} or more.",
    )
    rest = count - len(targets)
    target, source = absent_pairs(n_inputs + n_hidden, allowed, targets, backbone, lambda absent: rest, rng)
    return np.concatenate([backbone, source]), n_inputs + np.concatenate([targets, target])
