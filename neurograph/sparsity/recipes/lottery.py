"""Lottery tickets: iterative magnitude pruning with rewinding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import checks
from ...errors import InvalidValueError, UnknownNameError
from ..checkpoint import Checkpoint
from ..prune import prune_lowest
from ..scores import resolve

if TYPE_CHECKING:
    from ...network import Network

__all__ = ["LotteryTickets", "Round"]

REWINDS = ("weights", "learning_rate", None)


class Round(NamedTuple):
    """One round of `LotteryTickets`: pruned, rewound, trained.

    Attributes
    ----------
    round : int
        0 for the network that has not been pruned yet.
    n_connections : int
    density : float
        Share of the connections of round 0.
    accuracy : float
        What `train` returned, or the last ``val_accuracy`` (or ``accuracy``) of the `History` that it returned; NaN
        for anything else.
    seconds : float
        Time of this round's training.
    result : object
        What `train` returned.
    checkpoint : Checkpoint
        To which the round went back; its `Checkpoint.redraw` makes the randomly reinitialised control of a ticket.
    """

    round: int
    n_connections: int
    density: float
    accuracy: float
    seconds: float
    result: Any
    checkpoint: Checkpoint


@dataclass(frozen=True)
class LotteryTickets:
    """Iterative magnitude pruning: train, prune, go back, and train again, round after round.

    Frankle & Carbin (2019), "The lottery ticket hypothesis", arXiv 1803.03635, strategy 1 of section 2; with
    ``rewind_to`` above 0 Frankle, Dziugaite, Roy & Carbin (2019), "Stabilizing the lottery ticket hypothesis", arXiv
    1903.01611, algorithm 1. What is done after pruning is one argument, as Renda, Frankle & Carbin (2020), "Comparing
    rewinding and fine-tuning in neural network pruning", arXiv 2003.02389, compare it.

    Where learning-rate schedules stand is a counter of the network, so going back takes the schedule along, whatever
    the optimizer. Adam's moments go back with its counter, whose bias correction they need.

    Parameters
    ----------
    rewind : {"weights", "learning_rate", None}
        "weights": survivors, biases, optimizer state and counters become what they were at `rewind_to`.
        "learning_rate": optimizer state and counters alone, so the trained weights go through the schedule again.
        None: nothing, which is fine-tuning: training goes on at the learning rate with which it ended.
    fraction : float
        Share of the connections of each pair of homes, or of all, that goes in each round: 20% in the papers.
    output_fraction : float, optional
        Share where outputs are the targets, with scope "local"; the first paper prunes the output layer "at half of the
        rate of the rest of the network". `fraction` unless given.
    fractions : dict of (int, int) to float, optional
        Shares for single pairs of homes, with scope "local", instead of the two above.
    rounds : int
        How many prunings.
    length : int
        How long to train in all, in whatever `train` counts: epochs or updates.
    rewind_to : int
        k: where "weights" and "learning_rate" go back to, in the same unit, 0 to `length`.
    scope : {"local", "global"}
        As in `prune_lowest`; the papers prune fully connected nets locally and deep convolutional ones globally.
    score : str or function
        Score whose lowest connections go.
    reinitialize : bool
        True draws the survivors anew in every round instead of going back (`Checkpoint.redraw`), from step 0.
    weight : str, number or function
        Initializer for that: the one that made the network.
    allow_disconnected : bool
        As in `prune_lowest`.

    Raises
    ------
    UnknownNameError
        `rewind`, score or scope is not known.
    InvalidValueError
        A number is out of range, or arguments do not go together.

    Examples
    --------
    >>> import neurograph as ng
    >>> X, y, *_ = ng.datasets.load_digits()
    >>> net = ng.topologies.layered([64, 20, 10], seed=0)
    >>> def train(net, epochs):
    ...     return ng.Trainer(net, optimizer=ng.optim.Adam(lr=0.01)).fit(X, y, epochs=epochs, progress=False)
    >>> tickets = LotteryTickets(rewind="weights", fraction=0.5, rounds=2, length=2)
    >>> [(r.round, r.n_connections, r.accuracy > 0.8) for r in tickets.run(net, train)]
    [(0, 1480, True), (1, 740, True), (2, 370, True)]
    """

    rewind: str | None = "weights"
    fraction: float = 0.2
    output_fraction: float | None = None
    fractions: Mapping[tuple[int, int], float] | None = None
    rounds: int = 10
    length: int = 10
    rewind_to: int = 0
    scope: str = "local"
    score: str | Callable = "magnitude"
    reinitialize: bool = False
    weight: Any = "he"
    allow_disconnected: bool = False

    def __post_init__(self) -> None:
        if self.rewind not in REWINDS:
            raise UnknownNameError(
                f'There is no way to rewind {self.rewind!r}. Known: "weights", "learning_rate", None.'
            )
        if self.scope not in ("local", "global"):
            raise UnknownNameError(f"LotteryTickets has no scope {self.scope!r}. Known scopes: local, global.")
        resolve(self.score)
        checks.fraction("fraction", self.fraction)
        if self.output_fraction is not None:
            checks.fraction("output_fraction", self.output_fraction)
        for pair, share in (self.fractions or {}).items():
            checks.fraction(f"fractions[{pair!r}]", share)
        if self.scope == "global" and (self.fractions or self.output_fraction is not None):
            raise InvalidValueError('fractions of single pairs of homes need scope="local"; scope is "global".')
        checks.whole("rounds", self.rounds, 0)
        checks.whole("length", self.length, 0)
        checks.whole("rewind_to", self.rewind_to, 0)
        if self.rewind_to > self.length:
            raise InvalidValueError(f"rewind_to is {self.rewind_to}, after the end at {self.length}; lower it.")
        if self.reinitialize and (self.rewind != "weights" or self.rewind_to):
            raise InvalidValueError('reinitialize starts from new weights; it needs rewind="weights" and rewind_to=0.')

    def run(self, net: Network, train: Callable[[Network, int], Any]) -> Iterator[Round]:
        """Train and prune the network round by round.

        Parameters
        ----------
        net : Network
            Untrained. In the end it is the last, smallest ticket, trained.
        train : function
            ``train(net, length)`` trains for a length of time. It goes on from what it finds in the network: an
            optimizer made anew for each call does so.

        Yields
        ------
        Round
            After the training of each round. What is done to the network before asking for the next one counts, so
            leave it as it is, or at most prune more.

        Raises
        ------
        InvalidValueError
            Connections have grown since the checkpoint, or an output would be cut off from all inputs; the network is
            then as it was after the last round.
        """
        if not callable(train):
            raise InvalidValueError(f"train is {train!r}; give a function train(net, length).")
        return self._rounds(net, train)

    def _rounds(self, net: Network, train: Callable[[Network, int], Any]) -> Iterator[Round]:
        start, dense = time.perf_counter(), net.n_connections
        if self.rewind_to:
            train(net, self.rewind_to)
        checkpoint = Checkpoint(net)
        length = self.length - self.rewind_to
        for number in range(self.rounds + 1):
            if number:
                checkpoint.check(net)
                prune_lowest(net, self.score, self._shares(net), self.scope, allow_disconnected=self.allow_disconnected)
                start = time.perf_counter()
                self._go_back(net, checkpoint)
            result = train(net, length)
            seconds = time.perf_counter() - start
            density = net.n_connections / dense if dense else 1.0
            yield Round(number, net.n_connections, density, _accuracy(result), seconds, result, checkpoint)

    def _go_back(self, net: Network, checkpoint: Checkpoint) -> None:
        if self.reinitialize:
            checkpoint.redraw(net, self.weight)
        elif self.rewind is not None:
            checkpoint.restore(net, weights=self.rewind == "weights")

    def _shares(self, net: Network) -> float | dict[tuple[int, int], float]:
        """What `prune_lowest` takes as its fraction."""
        if self.fractions is None and self.output_fraction is None:
            return self.fraction
        outputs = net.outputs
        ends = {i for i, home in enumerate(net.homes) if len(home & outputs)}
        at_end = self.fraction if self.output_fraction is None else self.output_fraction
        shares = {}
        for source, target, _ in net.connections_as_stored.regions()[0].tolist():
            shares[source, target] = at_end if target in ends else self.fraction
        return shares | dict(self.fractions or {})


def _accuracy(result: Any) -> float:
    if isinstance(result, Real):
        return float(result)
    if isinstance(result, Mapping):
        for name in ("val_accuracy", "accuracy"):
            if result.get(name):
                return float(result[name][-1])
    return float("nan")
