"""Networks wired as a brain is, and null models that tell what of its wiring matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import require, time_constants, whole
from ..convert.assemble import assemble
from ..datasets import Connectome, load_connectome
from ..errors import InvalidValueError
from ..network import Network
from ..wiring import random_pairs, rewire_degrees

__all__ = ["connectome", "null_model"]

KINDS = ("degree_preserving", "random", "layered")


def connectome(
    brain: str | Connectome,
    weight: Any = "counts",
    activation: Any = "tanh",
    output_activation: Any = None,
    time_constant: Any = 1.0,
    on_cycle: str = "all",
    tie_gaps: bool = False,
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network of a brain: one neuron each, and exactly its connections, all of them trainable.

    Every sensory neuron is fed by an input neuron of its own, through a frozen connection of weight 1 without delay, so
    that it keeps its connections in the brain: ``net.connections[~net.connections.frozen]`` are those. The motor or
    descending neurons are the outputs. A chemical connection and a gap junction between the same two neurons are one
    connection, with the sum of their counts. Neurons keep their ids (the order in the connectome) and names.

    Parameters
    ----------
    brain : {"celegans", "larva"} or Connectome
        A name for `load_connectome`, or a connectome such as `null_model` makes.
    weight : "counts", or a str, number, array or function
        "counts": magnitudes proportional to the counts among all connections of a neuron and signs at random (neither
        connectome knows the signs), scaled so that the squares of a neuron's incoming weights sum to 1. Independent
        inputs of variance 1 then give variance 1, as with He's rule for a saturating activation: the spectral radius
        is about 1 (1.0 to 1.5 for the two brains), and activity neither dies out nor explodes over many steps, where
        raw counts have a radius of 764 and 297. Anything else is an initializer as in `Network.connect`.
    activation, output_activation : str or pair
        Of all neurons, and of the outputs if they differ.
    time_constant : number or array of shape (n_neurons,), optional
        Of every neuron, in steps, as in `Network.add_neurons`; 1 keeps nothing of the step before.
    on_cycle : {"all", "delay", "error"}
        "all" gives every connection delay 1, as in a brain, where a signal takes time; "delay" only a small set of
        feedback connections, so that what comes in reaches the outputs in the same step.
    tie_gaps : bool
        The two directions of a gap junction share one parameter, where no chemical connection is part of them.
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network
        Groups "inputs", "sensory" (the fed neurons), "outputs", and one for each group of the connectome.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.connectome("celegans")
    >>> net.n_inputs, net.n_outputs, int((~net.connections.frozen).sum())
    (83, 123, 5146)
    >>> net.neuron("AVAL").fan_in
    90
    """
    brain = brain if isinstance(brain, Connectome) else load_connectome(brain)
    merged = brain.merged()
    source, target = merged.source, merged.target
    inputs, outputs = np.flatnonzero(brain.sensory), np.flatnonzero(brain.output)
    require(len(inputs) and len(outputs), "a connectome needs sensory and output neurons to become a network")
    activations = [activation] * brain.n_neurons
    if output_activation is not None:
        for i in outputs.tolist():
            activations[i] = output_activation
    taus = time_constants(time_constant, brain.n_neurons, np.dtype(np.float64))
    columns = {"activation": activations, "time_constant": np.broadcast_to(taus, brain.n_neurons)}
    by_counts = isinstance(weight, str) and weight == "counts"
    net = assemble(
        brain.n_neurons,
        source,
        target,
        inputs,
        outputs,
        weight=_weights(merged, seed) if by_counts else None,
        delay=0,
        initializer=None if by_counts else weight,
        columns=columns,
        labels=brain.name.tolist(),
        names=brain.name.tolist(),
        on_cycle=on_cycle,
        on_input="feed",
        seed=seed,
        dtype=dtype,
        backend=backend,
    )
    net.group(inputs, name="sensory")
    for name in np.unique(brain.group).tolist():
        if name not in net.groups:
            net.group(np.flatnonzero(brain.group == name), name=name)
    if tie_gaps:
        pair = np.minimum(source, target) * brain.n_neurons + np.maximum(source, target)
        chemical = pair[merged.kind != "gap"]
        alone = np.flatnonzero(~np.isin(pair, chemical))
        net.tie(net.connections[alone], pair[alone], average=True)
    return net


def _weights(merged: Connectome, seed: int) -> np.ndarray:
    """Counts with random signs, each neuron's incoming weights of Euclidean length 1."""
    length = np.sqrt(np.bincount(merged.target, merged.weight.astype(float) ** 2, minlength=merged.n_neurons))
    signs = np.random.default_rng([seed, 1]).choice([-1.0, 1.0], merged.n_connections)
    return signs * merged.weight / length[merged.target]


def null_model(
    brain: str | Connectome,
    kind: str = "degree_preserving",
    seed: int = 0,
    swaps: int = 20,
    n_layers: int = 4,
) -> Connectome:
    """A connectome with as many neurons and connections as a brain, but wired by chance.

    If a network wired as the brain learns better than its null models do, it is because of what they do not keep.
    `topologies.connectome` makes networks of them, with the same inputs, outputs and number of parameters. All of them
    start from the pairs of neurons that are connected (`Connectome.merged`), and have no self loops.

    Parameters
    ----------
    brain : {"celegans", "larva"} or Connectome
    kind : {"degree_preserving", "random", "layered"}
        "degree_preserving": pairs of connections exchange their targets, ``swaps`` attempts per connection, so that
        every neuron keeps its numbers of connections in and out, and the counts of those that leave it (Maslov and
        Sneppen 2002, "Specificity and stability in topology of protein networks", Science 296:910). "random": the same
        number of connections between any two neurons. "layered": sensory neurons, ``n_layers - 2`` layers of the other
        neurons, equal in size, and output neurons; each layer feeds the next, at one density. The counts are dealt out
        at random in the last two.
    seed : int
    swaps : int
        For "degree_preserving".
    n_layers : int
        For "layered", at least 3 where there are neurons that are neither sensory nor output.

    Returns
    -------
    Connectome
        With the same neurons, names and masks; every connection is of kind "null".

    Raises
    ------
    InvalidValueError
        There is no such kind, or the layers have fewer pairs than the brain has connections.

    Examples
    --------
    >>> import neurograph as ng
    >>> worm = ng.datasets.load_connectome("celegans").merged()
    >>> null = ng.topologies.null_model(worm, "degree_preserving", seed=1)
    >>> null.n_connections == worm.n_connections, bool((null.source == worm.source).all())
    (True, True)
    """
    require(kind in KINDS, f"kind is {kind!r}; known are {', '.join(map(repr, KINDS))}")
    whole("seed", seed, 0)
    brain = (brain if isinstance(brain, Connectome) else load_connectome(brain)).merged()
    rng = np.random.default_rng(seed)
    count = brain.n_connections
    weight = brain.weight
    if kind == "degree_preserving":
        source, target = brain.source, rewire_degrees(brain.source, brain.target, brain.n_neurons, rng, swaps)
    else:
        if kind == "random":
            source, target = random_pairs(brain.n_neurons, brain.n_neurons, count, rng, loops=False)
        else:
            source, target = _layers(brain, count, n_layers, rng)
        weight = rng.permutation(weight)
    return replace(
        brain,
        title=f"a {kind.replace('_', '-')} null model of {brain.title}",
        source=source,
        target=target,
        weight=weight,
        kind=np.full(count, "null"),
    )


def _layers(brain: Connectome, count: int, n_layers: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Connections between neighbouring layers, drawn uniformly among all such pairs."""
    whole("n_layers", n_layers, 2)
    first = np.flatnonzero(brain.sensory)
    last = np.flatnonzero(brain.output & ~brain.sensory)
    middle = rng.permutation(np.flatnonzero(~brain.sensory & ~brain.output))
    if n_layers == 2 and len(middle):
        raise InvalidValueError(
            f"n_layers is 2, but {len(middle)} neurons are neither sensory nor output; give 3 or more layers"
        )
    layers = [first, *(np.array_split(middle, n_layers - 2) if n_layers > 2 else []), last]
    sizes = np.array([len(layer) for layer in layers])
    pairs = sizes[:-1] * sizes[1:]
    require(
        count <= pairs.sum(),
        f"layers of {', '.join(map(str, sizes))} neurons have {pairs.sum()} pairs, fewer than the {count} connections; "
        "choose fewer layers",
    )
    starts = np.concatenate([[0], np.cumsum(pairs)])
    places = random_pairs(1, int(starts[-1]), count, rng)[1]
    layer = np.searchsorted(starts, places, side="right") - 1
    row, column = np.divmod(places - starts[layer], sizes[layer + 1])
    neurons = np.concatenate(layers)
    begin = np.concatenate([[0], np.cumsum(sizes)])
    return neurons[begin[layer] + row], neurons[begin[layer + 1] + column]
