"""A learned pruner: a small network that scores the connections of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..errors import InvalidValueError
from ..functions import losses
from ..network import Network
from ..optim import Adam

if TYPE_CHECKING:
    from ..graph import Connections

__all__ = ["FEATURES", "LearnedPruner", "features"]

FEATURES = ("weight", "gradient", "saliency", "fan-in", "fan-out", "age", "share at target")


def features(conns: Connections) -> np.ndarray:
    """What a `LearnedPruner` sees of each connection, in units that do not depend on the network.

    Logarithms of the absolute weight, of the absolute gradient of the last backward pass and of their product, each
    divided by its root mean square over the same pair of homes; logarithms of the target's fan-in and of the source's
    fan-out; the rank by age, 0 for the oldest to 1; and the weight's share of the sum of the absolute weights at its
    target, times the fan-in, as a logarithm.

    Parameters
    ----------
    conns : Connections
        All connections of a network, so that fans can be counted.

    Returns
    -------
    ndarray of float64, shape (n, 7)
        Columns are `FEATURES`.

    Examples
    --------
    >>> import neurograph as ng
    >>> features(ng.topologies.layered([2, 3, 1], seed=0).connections).shape
    (9, 7)
    """
    weight = np.abs(conns.weight).astype(np.float64)
    gradient = np.abs(conns.own_grad).astype(np.float64)
    _, source = np.unique(conns.source, return_inverse=True)
    _, target = np.unique(conns.target, return_inverse=True)
    _, region = conns.regions()
    fan_in, fan_out = np.bincount(target), np.bincount(source)
    at_target = np.bincount(target, weights=weight)[target]
    share = np.divide(weight * fan_in[target], at_target, out=np.zeros(len(weight)), where=at_target > 0)
    rank = np.empty(len(weight))
    rank[np.argsort(conns.id)] = np.linspace(0, 1, len(weight)) if len(weight) else 0
    return np.column_stack(
        [
            *(_log_of_share(values, region) for values in (weight, gradient, weight * gradient)),
            np.log(fan_in[target]) / 5,
            np.log(fan_out[source]) / 5,
            rank,
            np.log(share + FLOOR) / 3,
        ]
    )


FEWEST = 20  # connections of a network to learn on
AT_ONCE, ROWS = 10, 256  # groups of a mini-batch, and connections that stand for a group there
FLOOR = 1e-3  # of what is taken the logarithm of, in units of its root mean square


def _log_of_share(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Logarithm of each value over the root mean square of its region."""
    counts = np.bincount(region)
    mean = np.sqrt(np.bincount(region, weights=values**2) / np.maximum(counts, 1))[region]
    return np.log(np.divide(values, mean, out=np.zeros(len(values)), where=mean > 0) + FLOOR) / 3


class LearnedPruner:
    """A small network, trained on what the loss of one network rises by when connections go, that scores any other's.

    On a training network random groups of connections, alike in size of weight, gradient or their product, are
    switched off, and the rise of the loss is measured. The scorer, a neurograph network from the `features` of a
    connection to one number, learns scores whose exponentials add up over a group to that rise. Since features are
    relative to the network they come from, the scorer can be applied to networks that it has never seen, whose
    gradients were filled by `Network.backward`. A network that learns what to prune is the idea of Huang, Zhou, You &
    Neumann (2018), "Learning to prune filters in convolutional neural networks", arXiv 1801.07365, where it is rewarded
    for it; measuring what removal does is that of Mozer & Smolensky (1988), "Skeletonization".

    Parameters
    ----------
    hidden : int
        Hidden neurons of the scorer.
    groups : int
        How many groups are switched off on a training network, one pass over the data each.
    epochs : int
        Passes over the groups in training.
    lr : float
        Learning rate of Adam.
    seed : int
        Of the scorer and of the groups.

    Attributes
    ----------
    net : Network
        The scorer, once it is trained.
    losses : list of float
        Mean squared error of the logarithms of the groups' rises, in each epoch of the last `fit`.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> teacher, other = (ng.topologies.layered([64, n, 10], seed=n) for n in (20, 30))
    >>> for net in (teacher, other):
    ...     _ = ng.Trainer(net).fit(X, y, epochs=2, progress=False)
    >>> pruner = ng.sparsity.LearnedPruner(groups=20, epochs=5).fit(teacher, X, y)
    >>> _ = other.backward(X, y, "cross_entropy")
    >>> ng.sparsity.prune_lowest(other, score=pruner.score, fraction=0.5)
    1110
    """

    def __init__(self, hidden: int = 16, groups: int = 300, epochs: int = 60, lr: float = 0.01, seed: int = 0):
        for name, value in (("hidden", hidden), ("groups", groups), ("epochs", epochs)):
            checks.whole(name, value, 1)
        checks.whole("seed", seed, 0)
        self.hidden, self.groups, self.epochs, self.seed = hidden, groups, epochs, seed
        self._optimizer = Adam(lr=lr)
        self.net: Network | None = None
        self.losses: list[float] = []

    def fit(self, net: Network, X: Any, Y: Any, loss: Any = "cross_entropy") -> LearnedPruner:
        """Measure groups of a trained network, and train the scorer on them; again on other networks to go on.

        Parameters
        ----------
        net : Network
            A trained network. Its weights stay, bit by bit; the gradients are those of X and Y then.
        X, Y, loss
            As in `Network.backward`.

        Returns
        -------
        LearnedPruner
            Itself.

        Raises
        ------
        InvalidValueError
            X, Y or loss do not fit, the network has too few connections or shares parameters, or no group raises the
            loss.
        """
        rng = np.random.default_rng(self.seed)
        self._train(*self._measured(net, X, Y, loss, rng), rng)
        return self

    def score(self, conns: Connections, rng: np.random.Generator) -> np.ndarray:
        """Score of each connection: logarithm of the rise of the loss that its removal brings, up to a constant.

        Parameters
        ----------
        conns : Connections
            All connections of a network, after `Network.backward` on data like those that it is to keep.
        rng : numpy.random.Generator
            Not used; every score has this signature.

        Raises
        ------
        InvalidValueError
            The pruner has not been trained.
        """
        if self.net is None:
            raise InvalidValueError("the pruner has not been trained; call fit(net, X, Y) with a trained network first")
        if not len(conns):
            return np.zeros(0)
        return self.net.predict(features(conns))[:, 0].astype(np.float64)

    def _measured(
        self, net: Network, X: Any, Y: Any, loss: Any, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Features of all connections, groups of them, and the rise of the loss when each group is switched off."""
        if net.n_connections < FEWEST:
            raise InvalidValueError(
                f"the network has {net.n_connections} connections; learn on one of {FEWEST} or more"
            )
        if len(np.unique(net.connections.parameter)) < net.n_connections:
            raise InvalidValueError(
                "connections share parameters, so none goes alone; `untie` them, or learn elsewhere"
            )
        measure = losses.get(loss)
        base = net.backward(X, Y, loss)
        conns = net.connections
        seen, before = features(conns), conns.weight
        groups, rises = [], []
        try:
            for number in range(self.groups):
                group = _group(seen[:, number % 3], rng)  # alike in weight, gradient, or their product
                weight = before.copy()
                weight[group] = 0
                conns.weight = weight
                groups.append(group)
                rises.append(float(measure(net.predict(X), Y)[0]) - base)
        finally:
            conns.weight = before
        rise = np.array(rises)
        known = np.isfinite(rise)
        if not (rise[known] > 0).any():
            raise InvalidValueError("no group of connections raises the loss when it goes; train the network first")
        return seen, [group for group, use in zip(groups, known, strict=True) if use], rise[known]

    def _train(self, seen: np.ndarray, groups: list[np.ndarray], rises: np.ndarray, rng: np.random.Generator) -> None:
        """Let the log of the sum of exp(output) over a group be the log of the group's rise."""
        if self.net is None:
            self.net = _scorer(self.hidden, self.seed)
        wanted = np.log(np.maximum(rises, 0.01 * np.median(rises[rises > 0])))  # some removals lower the loss
        self.losses = []
        for _ in range(self.epochs):
            order, total = rng.permutation(len(groups)), 0.0
            for start in range(0, len(order), AT_ONCE):
                batch = order[start : start + AT_ONCE]
                members = [rng.choice(groups[i], min(len(groups[i]), ROWS), replace=False) for i in batch]
                # A sample stands for its whole group, in which every score counts as often.
                targets = wanted[batch] - np.log([len(groups[i]) / len(m) for i, m in zip(batch, members, strict=True)])
                sizes = np.array([len(m) for m in members])
                total += len(batch) * self.net.backward(
                    seen[np.concatenate(members)], np.zeros(int(sizes.sum())), _SquaredLog(sizes, targets)
                )
                self._optimizer.step(self.net)
            self.losses.append(total / len(order))


class _SquaredLog:
    """Mean over groups of (log of the sum of exp(output) - target) ** 2, and its gradient."""

    def __init__(self, sizes: np.ndarray, targets: np.ndarray):
        self.first = np.cumsum(sizes) - sizes
        self.group = np.repeat(np.arange(len(sizes)), sizes)
        self.targets = targets

    def __call__(self, outputs: np.ndarray, Y: Any) -> tuple[float, np.ndarray]:
        values = outputs[:, 0]
        highest = np.maximum.reduceat(values, self.first)
        share = np.exp(values - highest[self.group])
        sums = np.add.reduceat(share, self.first)
        error = highest + np.log(sums) - self.targets
        gradient = 2 / len(error) * error[self.group] * share / sums[self.group]
        return float((error**2).mean()), gradient[:, None]


def _scorer(hidden: int, seed: int) -> Network:
    net = Network(seed=seed, dtype="float64")
    seen = net.add_inputs(len(FEATURES), name="features")
    inside = net.add_neurons(hidden, activation="tanh", name="hidden")
    net.connect(seen, inside, weight="xavier")
    net.connect(seen | inside, net.add_outputs(1, name="score"), weight="xavier")
    return net


def _group(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of a random share of the connections whose value lies in a random window of ranks."""
    n = len(values)
    width = int(n * rng.uniform(0.05, 0.5)) + 1
    first = int(rng.integers(0, n - width + 1))
    window = np.argpartition(values, (first, first + width - 1))[first : first + width]
    size = max(1, int(width * rng.uniform(0.1, 0.6)))
    return np.sort(rng.choice(window, size, replace=False))
