"""Scores of whole neurons, and their removal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..errors import InvalidValueError, UnknownNameError
from .guard import check_removal
from .scores import evaluate
from .select import lowest, lowest_in_regions

if TYPE_CHECKING:
    from ..graph import Group
    from ..network import Network

__all__ = [
    "NEURON_SCORES",
    "NeuronScore",
    "fan_in_sum",
    "fan_out_sum",
    "mean_activation",
    "prune_neurons",
    "share_active",
]

NeuronScore = Callable[["Group", np.random.Generator], Any]


def fan_in_sum(score: Any = "magnitude") -> NeuronScore:
    """A score for neurons: the sum of a score of connections over those that come in.

    With "magnitude" it is the L1 norm by which Li et al. (2017), "Pruning filters for efficient ConvNets", arXiv
    1608.08710, rank filters; with "saliency" that of Molchanov et al., arXiv 1611.06440.

    Parameters
    ----------
    score : str or function
        Score of connections, as in `prune_lowest`.

    Returns
    -------
    function
        ``(group, rng) -> array``, for `prune_neurons`.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2, 1], weight=0.5)
    >>> fan_in_sum("magnitude")(net.groups["hidden 1"], net.rng)
    array([1., 1.])
    """
    return lambda group, rng: _sum_over(group, group.incoming, "target", score, rng)


def fan_out_sum(score: Any = "magnitude") -> NeuronScore:
    """A score for neurons: the sum of a score of connections over those that go out; as `fan_in_sum`.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([2, 2, 3], weight=0.5)
    >>> fan_out_sum("magnitude")(net.groups["hidden 1"], net.rng)
    array([1.5, 1.5])
    """
    return lambda group, rng: _sum_over(group, group.outgoing, "source", score, rng)


def _sum_over(group: Group, connections: Any, end: str, score: Any, rng: np.random.Generator) -> np.ndarray:
    ids = group.ids
    order = np.argsort(ids)
    at = order[np.searchsorted(ids, getattr(connections, end), sorter=order)]
    return np.bincount(at, weights=evaluate(score, connections, rng), minlength=len(ids))


def mean_activation(group: Group, rng: np.random.Generator) -> np.ndarray:
    """Mean absolute output of each neuron over the samples, and steps, of the last pass.

    Parameters
    ----------
    group : Group
        The neurons to score, n of them.
    rng : numpy.random.Generator
        Not used; every score has this signature.

    Returns
    -------
    ndarray, shape (n,)

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([1, 2, 1], weight=1.0)
    >>> _ = net.predict([[1.0], [-3.0]])
    >>> mean_activation(net.groups["hidden 1"], net.rng)
    array([0.5, 0.5])
    """
    outputs = np.abs(group.output).astype(np.float64)
    return outputs.reshape(-1, outputs.shape[-1]).mean(0)


def share_active(group: Group, rng: np.random.Generator) -> np.ndarray:
    """Share of the samples, and steps, of the last pass in which each neuron's output was not zero: 1 - APoZ.

    Hu, Peng, Tai & Tang (2016), "Network trimming", arXiv 1607.03250, equation 1, remove neurons of the highest average
    percentage of zeros, which score lowest here. Parameters and result are those of `mean_activation`.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([1, 2, 1], weight=1.0)
    >>> _ = net.predict([[1.0], [-3.0], [-1.0], [-2.0]])
    >>> share_active(net.groups["hidden 1"], net.rng)
    array([0.25, 0.25])
    """
    outputs = group.output
    return (outputs != 0).reshape(-1, outputs.shape[-1]).mean(0)


def random_neurons(group: Group, rng: np.random.Generator) -> np.ndarray:
    """A uniform random number for each neuron, the baseline; parameters and result are those of `mean_activation`.

    Examples
    --------
    >>> random_neurons([None, None], np.random.default_rng(0)).shape
    (2,)
    """
    return rng.random(len(group))


NEURON_SCORES: dict[str, NeuronScore] = {
    "fan_in": fan_in_sum("magnitude"),
    "fan_out": fan_out_sum("magnitude"),
    "activation": mean_activation,
    "active": share_active,
    "random": random_neurons,
}


def prune_neurons(
    net: Network,
    score: Any = "fan_in",
    fraction: float = 0.2,
    scope: str = "global",
    *,
    count: int | None = None,
    allow_disconnected: bool = False,
) -> int:
    """Remove the hidden neurons of lowest score with all their connections, exactly as many as asked for.

    Inputs and outputs are never removed, nor counted. Equal scores are decided by the neuron's id, the oldest first.

    Parameters
    ----------
    net : Network
        The network to prune.
    score : str, function or array
        "fan_in" and "fan_out": sums of the absolute weights; "activation" and "active": mean absolute output and share
        of outputs that are not zero in the last pass, so call ``net.predict(X)`` first; "random"; a function
        ``(group, rng) -> array``, such as ``fan_in_sum("saliency")``; or an array with one score for each hidden
        neuron, by ascending ids.
    fraction : float
        Share of every region to remove, 0 to 1.
    scope : {"global", "local"}
        "global": all hidden neurons are one region. "local": those of each home are one.
    count : int, optional
        Remove this many in every region instead of a share, or all where there are fewer.
    allow_disconnected : bool
        As in `prune_lowest`.

    Returns
    -------
    int
        How many neurons were removed.

    Warns
    -----
    EmptyLayerWarning
        Two homes lose the last connection between them.

    Raises
    ------
    UnknownNameError
        The score or the scope is not known.
    InvalidValueError
        Fraction, count or scores are out of range or of the wrong shape, no pass was made yet that a score needs, or an
        output would be cut off from all inputs. Nothing has been removed then.

    Examples
    --------
    >>> import neurograph as ng
    >>> net = ng.topologies.layered([4, 10, 10, 3], seed=0)
    >>> ng.sparsity.prune_neurons(net, "fan_in", fraction=0.3, scope="local")
    6
    >>> [len(home) for home in net.homes]
    [4, 7, 7, 3]
    """
    if scope not in ("global", "local"):
        raise UnknownNameError(f"There is no scope {scope!r} for neurons. Known scopes: global, local.")
    if isinstance(score, str) and score not in NEURON_SCORES:
        raise UnknownNameError(f"There is no score {score!r} for neurons. Known scores: {', '.join(NEURON_SCORES)}.")
    if count is None:
        checks.fraction("fraction", fraction)
    else:
        checks.whole("count", count, 0)
    random = net.rng.bit_generator.state
    try:
        doomed = _choose(net, NEURON_SCORES[score] if isinstance(score, str) else score, fraction, scope, count)
        check_removal(net, doomed.incoming, allow_disconnected, doomed.outgoing)
    except BaseException:
        net.rng.bit_generator.state = random
        raise
    return net.remove_neurons(doomed)


def _choose(net: Network, function: Any, fraction: float, scope: str, count: int | None) -> Group:
    """The hidden neurons of lowest score."""
    hidden = net.neurons - net.inputs - net.outputs
    ids = hidden.ids
    scores = _checked(function(hidden, net.rng) if callable(function) else function, len(ids))
    if scope == "global":
        chosen = lowest(scores, ids, _count(len(ids), fraction, count))
    else:
        home_of = np.zeros(1 + int(ids.max(initial=0)), np.int64)
        for number, home in enumerate(net.homes):
            inside = home.ids[home.ids < len(home_of)]
            home_of[inside] = number
        _, region = np.unique(home_of[ids], return_inverse=True)
        counts = [_count(size, fraction, count) for size in np.bincount(region).tolist()]
        chosen = lowest_in_regions(scores, ids, region, np.array(counts, np.int64))
    return hidden[np.sort(chosen)]


def _count(size: int, fraction: float, count: int | None) -> int:
    return round(float(fraction) * size) if count is None else min(count, size)


def _checked(values: Any, count: int) -> np.ndarray:
    scores = np.asarray(values)
    if scores.shape != (count,):
        raise InvalidValueError(
            f"The scores have shape {scores.shape}; give one for each of the {count} hidden neurons."
        )
    if scores.dtype.kind not in "fiub" or np.isnan(scores).any():
        raise InvalidValueError("The scores of neurons must be real numbers without NaN; replace what is not.")
    return scores.astype(np.result_type(scores, np.float32), copy=False)
