"""Random directed acyclic graphs: no layers at all."""

from typing import Any

from ..network import Network

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
) -> Network:
    """Make a network whose hidden neurons are wired at random, each to neurons that come after it.

    The candidates are all pairs input -> hidden, hidden -> later hidden, hidden -> output and input -> output;
    exactly `round(density * candidates)` of them, drawn uniformly, are connected. The longest path grows with
    `n_hidden * density`, so many hidden neurons make a deep network; connect a few groups instead where it should be
    shallow.

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

    Returns
    -------
    Network
        The network, with biases 0.

    Raises
    ------
    InvalidValueError
        A number is out of range.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.random_dag(4, 10, 2, density=0.25, seed=0)
    >>> net.n_connections     # a quarter of 4*10 + 10*9/2 + 10*2 + 4*2 = 113
    28
    """
    net = Network(seed=seed, dtype=dtype, backend=backend)
    inputs = net.add_inputs(n_inputs, name="inputs")
    hidden = net.add_neurons(n_hidden, activation=activation, name="hidden")
    outputs = net.add_outputs(n_outputs, activation=output_activation, name="outputs")
    # Without connections every neuron stands at its id in schedule order, so these pairs are the candidates above.
    net.connect(inputs | hidden, hidden | outputs, density=density, weight=weight)
    return net
