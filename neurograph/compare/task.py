"""What a method is asked to do: a network of this density, trained on these data in so many steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..datasets import Split
from ..functions.schedules import Cosine
from ..network import Network
from ..optim import Adam, Optimizer
from ..sparsity import erdos_renyi
from ..topologies import layered
from ..train import History, Trainer

__all__ = ["Task"]


@dataclass
class Task:
    """One run of one method.

    Parameters
    ----------
    data : Split
        Only the training part is for training; nothing is chosen by the test part.
    density : float
        Share of the dense network's connections that the result should have.
    seed : int
        Of the network and of the order of the samples.
    hidden : tuple of int
        Sizes of the hidden layers.
    epochs, batch_size : int
        The budget: passes over the training data, all phases together, and samples of a step.
    lr : float
        Adam's learning rate at the start of each training; it falls to 0 along half a cosine.

    Attributes
    ----------
    steps_made : int
        Training steps made so far, by `train`.

    Examples
    --------
    >>> from neurograph.datasets import load_digits
    >>> task = Task(load_digits(), density=0.1, seed=0, hidden=(20,), epochs=2)
    >>> net = task.network(task.density)
    >>> history = task.train(net)
    >>> net.n_connections, task.dense_connections, task.steps_made, task.steps
    (148, 1480, 92, 92)
    """

    data: Split
    density: float
    seed: int
    hidden: tuple[int, ...] = (300, 100)
    epochs: int = 40
    batch_size: int = 32
    lr: float = 5e-3
    steps_made: int = field(default=0, init=False)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each layer."""
        return (self.data.x_train.shape[1], *self.hidden, int(self.data.y_train.max()) + 1)

    @property
    def dense_connections(self) -> int:
        """Connections of the dense network."""
        return sum(a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def n_connections(self) -> int:
        """Connections that the result should have."""
        return round(self.density * self.dense_connections)

    @property
    def steps(self) -> int:
        """Training steps of the whole budget."""
        return self.steps_of(self.epochs)

    def steps_of(self, epochs: int) -> int:
        """Training steps of so many epochs."""
        return epochs * -(-len(self.data.x_train) // self.batch_size)

    def network(self, density: float = 1.0) -> Network:
        """A fresh layered network; a sparse one has Erdos-Renyi densities (as SET has them)."""
        return layered(self.sizes, density=erdos_renyi(self.sizes, density).tolist(), seed=self.seed)

    def train(
        self,
        net: Network,
        rewire: Any = None,
        *,
        epochs: int | None = None,
        loss: str | Callable = "cross_entropy",
        optimizer: Callable[..., Optimizer] = Adam,
        lr: float | None = None,
    ) -> History:
        """Train a network, by default for the whole budget.

        Parameters
        ----------
        net : Network
            New, or trained before: the learning rate starts anew.
        rewire, loss
            As in `Trainer`.
        epochs : int, optional
        optimizer : function
            Is called with ``lr=``, a schedule.
        lr : float, optional
            Where that schedule starts, if not at the task's `lr`.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C ended the training, so that no half-trained network is measured.
        """
        epochs = self.epochs if epochs is None else epochs
        schedule = _FromHere(Cosine(self.lr if lr is None else lr, self.steps_of(max(epochs, 1))))
        trainer = Trainer(net, loss=loss, optimizer=optimizer(lr=schedule), rewire=rewire, seed=self.seed)
        history = trainer.fit(
            self.data.x_train, self.data.y_train, epochs=epochs, batch_size=self.batch_size, progress=False
        )
        self.steps_made += trainer.steps
        if history.interrupted:
            raise KeyboardInterrupt
        return history


class _FromHere:
    """A schedule that begins where it is first asked, not at the network's step 0."""

    def __init__(self, schedule: Callable[[int], float]):
        self._schedule = schedule
        self._begin: int | None = None

    def __call__(self, step: int) -> float:
        if self._begin is None:
            self._begin = step
        return self._schedule(step - self._begin)
