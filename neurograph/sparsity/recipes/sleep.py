"""Sleep: phases that weaken all connections and prune those that are hardly used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ... import checks
from ...checks import require
from ..prune import prune_lowest
from ..recipe import Recipe

if TYPE_CHECKING:
    from ...graph import Connections
    from ...network import Network

__all__ = ["Sleep"]


class Sleep(Recipe):
    """Synaptic homeostasis: after every so many steps awake, scale all weights down and prune the least used.

    Tononi & Cirelli (2006), "Sleep function and synaptic homeostasis", Sleep Medicine Reviews 10, 49-62, and (2014),
    "Sleep and the price of plasticity", Neuron 81, 12-34: learning awake strengthens synapses on balance; sleep
    renormalises all of them in proportion, and those too weak to matter are lost, so that what was used most stands
    out. The papers give no algorithm; here a night multiplies every weight by `factor` and then removes the share
    `fraction` of the connections that were used least. Use is ``|w| * mean |output of the source|``, the strength of
    the signal that a connection carried, over the steps awake that are watched. Biases stay, as thresholds would.

    Scaling layer after layer shrinks the outputs of a ReLU network by ``factor ** depth`` at once; with `factor` near 1
    training recovers that within a few steps.

    Parameters
    ----------
    every : int
        Steps awake before each night.
    factor : float
        What a night multiplies the weights by, above 0 and at most 1.
    fraction : float
        Share of the connections that a night removes, 0 to 1.
    watch : int
        Over how many of the last steps before a night use is measured, at least 1.
    start, stop : int, int or None
        Nights from step `start` on and before `stop`; None never stops.
    scope : {"global", "local", "neuron"}
        Region in which the share is taken, as in `prune_lowest`.
    allow_disconnected : bool
        As in `prune_lowest`.

    Raises
    ------
    InvalidValueError
        A number is out of range.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> net = ng.topologies.layered([64, 50, 10], seed=0)
    >>> sleep = ng.sparsity.Sleep(every=20, factor=0.95, fraction=0.2)
    >>> history = ng.Trainer(net, rewire=sleep).fit(X, y, epochs=2, progress=False)
    >>> net.n_connections < 2000
    True
    """

    def __init__(
        self,
        every: int = 1000,
        factor: float = 0.9,
        fraction: float = 0.05,
        watch: int = 10,
        start: int = 0,
        stop: int | None = None,
        scope: str = "global",
        allow_disconnected: bool = False,
    ):
        checks.whole("every", every, 1)
        checks.whole("watch", watch, 1)
        checks.whole("start", start, 0)
        if stop is not None:
            checks.whole("stop", stop, 0)
        checks.fraction("fraction", fraction)
        require(
            isinstance(factor, int | float | np.number) and 0 < factor <= 1,
            f"factor is {factor!r}; give a number above 0 and at most 1.",
        )
        require(scope in ("global", "local", "neuron"), f"Sleep has no scope {scope!r}. Known: global, local, neuron.")
        self.every, self.factor, self.fraction, self.watch = every, factor, fraction, watch
        self.start, self.stop, self.scope, self.allow_disconnected = start, stop, scope, allow_disconnected
        self._sum, self._steps = np.zeros(0), 0

    def step(self, net: Network, step: int) -> int:
        """Watch the last pass, and sleep if it is night.

        Returns
        -------
        int
            How many connections were removed.

        Raises
        ------
        InvalidValueError
            An output would be cut off from all inputs, or the last pass was too large to keep; the weights are as they
            were.
        """
        if step < self.start or (self.stop is not None and step >= self.stop):
            return 0
        since = step % self.every
        if since == 0 or since > self.every - self.watch:
            self._observe(net)
        if since or not self._steps:
            return 0
        # Scaling all weights alike changes no order, so it may follow, and a refused night leaves them as they are.
        removed = prune_lowest(net, self.use, self.fraction, self.scope, allow_disconnected=self.allow_disconnected)
        conns = net.connections
        free = conns[~conns.frozen]
        free.weight = free.weight * self.factor
        self._sum, self._steps = np.zeros(0), 0
        return removed

    def use(self, conns: Connections, rng: np.random.Generator) -> np.ndarray:
        """Score of each connection: ``|w| * mean |output of the source|`` since the last night."""
        source = conns.source
        mean = np.zeros(max(len(self._sum), 1 + int(source.max(initial=0))))
        mean[: len(self._sum)] = self._sum / max(self._steps, 1)
        return np.abs(conns.weight) * mean[source]

    def _observe(self, net: Network) -> None:
        neurons = net.neurons
        outputs = np.abs(neurons.output)
        ids = neurons.ids
        total = np.zeros(max(len(self._sum), 1 + int(ids.max(initial=0))))
        total[: len(self._sum)] = self._sum
        total[ids] += outputs.reshape(-1, outputs.shape[-1]).mean(0, dtype=np.float64)
        self._sum, self._steps = total, self._steps + 1
