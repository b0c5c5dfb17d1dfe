"""Lottery tickets on LeNet-300-100: Frankle & Carbin, arXiv 1803.03635; Renda, Frankle & Carbin, arXiv 2003.02389.

Settings of the first paper: Adam at 1.2e-3, batches of 60, Glorot initialisation, 5,000 of the training images for
validation, each round prunes 20% of the two hidden layers' weights and 10% of the output layer's, and an accuracy is
that on the test set when the validation loss was lowest. What differs: 8 epochs (7,336 updates) a round instead of
50,000 updates, in all arms alike, and the validation loss is looked at after every epoch.

The second paper is about schedules, so its two arms divide the learning rate by 10 after half and after three quarters
of the training, and fine-tuning goes on at a hundredth. To save time a round there prunes as much as two of the others.

The lead of rewinding comes from that hundredth: Adam at 1.2e-5 cannot repair so much pruning in 8 epochs. Where the
rate falls once only, to a tenth at three quarters, fine-tuning got 96.7% and rewinding 96.4% of the test images right
with one seed, so there the paper's claim did not hold.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...network import Network
from ...optim import Adam
from ...sparsity import LotteryTickets
from ...topologies import layered
from ...train import Trainer
from ..rows import Row, Settings

__all__ = ["ABOUT", "run"]

ABOUT = "lottery tickets against dense and reinitialised networks, learning-rate rewinding against fine-tuning"
LR, BATCH, EPOCHS, VALIDATION = 1.2e-3, 60, 8, 5000
# What a round prunes, in the output layer too, and how many rounds there are: 0.8 ** 15 and 0.64 ** 9 are left, and
# somewhat more because of the output layer.
AT_3_6_PERCENT, AT_2_PERCENT = (0.2, 0.1, 15), (0.36, 0.19, 9)


def run(settings: Settings) -> Iterator[Row]:
    """Three figures: the ticket's gap to dense, its lead on the control, and that of learning-rate rewinding."""
    data = _Mnist(settings)
    tickets = [data.winning_ticket(seed) for seed in settings.seeds]
    dense, ticket, control = (statistics.fmean(column) for column in list(zip(*tickets, strict=True))[:3])
    note = f"{data.epochs} epochs a round, {tickets[0][3]:.2%} of the weights; dense {dense:.2f}%, ticket {ticket:.2f}%"
    gaps = tuple(dense - ticket for dense, ticket, *_ in tickets)
    yield Row("dense minus ticket at 3.6%", statistics.fmean(gaps), 0.2, False, "points", gaps, note)
    leads = tuple(ticket - control for _, ticket, control, _ in tickets)
    note = f"ticket {ticket:.2f}%, reinitialised {control:.2f}%"
    yield Row("ticket minus reinitialised at 3.6%", statistics.fmean(leads), 0.3, True, "points", leads, note)

    arms = [[data.scheduled(seed, rewind) for rewind in ("learning_rate", None)] for seed in settings.seeds]
    leads = tuple(rewound[1] - tuned[1] for rewound, tuned in arms)
    rewound, tuned = (statistics.fmean(pair[arm][1] for pair in arms) for arm in (0, 1))
    dense = statistics.fmean(pair[0][0] for pair in arms)
    note = f"{arms[0][0][2]:.2%} of the weights; dense {dense:.2f}%, rewound {rewound:.2f}%, fine-tuned {tuned:.2f}%"
    name = "learning-rate rewinding minus fine-tuning at 2%"
    yield Row(name, statistics.fmean(leads), 0.0, True, "points", leads, note)


class _Mnist:
    """The data, and the ways to train on them."""

    def __init__(self, settings: Settings):
        X, y, self.X_test, self.y_test = settings.mnist()
        order = np.random.default_rng(0).permutation(len(X))
        held = order[: VALIDATION if not settings.quick else len(X) // 12]
        rest = order[len(held) :]
        self.X, self.y, self.X_validation, self.y_validation = X[rest], y[rest], X[held], y[held]
        self.quick, self.epochs = settings.quick, 1 if settings.quick else EPOCHS
        self.steps = self.epochs * -(-len(self.X) // BATCH)

    def winning_ticket(self, seed: int) -> tuple[float, float, float, float]:
        """Test accuracies, in percent, of the dense network, the ticket and its control; density of the ticket."""
        net, train = self.net(seed), self.trained_by(LR)
        records = list(self.tickets("weights", AT_3_6_PERCENT).run(net, train))
        records[-1].checkpoint.redraw(net, "xavier")
        return records[0].accuracy, records[-1].accuracy, train(net, self.epochs), records[-1].density

    def scheduled(self, seed: int, rewind: str | None) -> tuple[float, float, float]:
        """Test accuracies of the dense network and of the one that is left at 2%, and its density."""
        records = list(self.tickets(rewind, AT_2_PERCENT).run(self.net(seed), self.trained_by(self.falling)))
        return records[0].accuracy, records[-1].accuracy, records[-1].density

    def net(self, seed: int) -> Network:
        """LeNet-300-100."""
        return layered([784, 300, 100, 10], weight="xavier", seed=seed)

    def tickets(self, rewind: str | None, rounds: tuple[float, float, int]) -> LotteryTickets:
        """The recipe, with as few rounds as show whether it runs if it is to be quick."""
        fraction, at_output, count = rounds
        return LotteryTickets(rewind, fraction, at_output, rounds=2 if self.quick else count, length=self.epochs)

    def falling(self, step: int) -> float:
        """A tenth of the learning rate from half of the training on, a hundredth from three quarters on."""
        return LR * (1 if step < self.steps // 2 else 0.1 if step < self.steps * 3 // 4 else 0.01)

    def trained_by(self, lr: Any) -> Callable[[Network, int], float]:
        """A function that trains and returns the test accuracy, in percent, when the validation loss was lowest."""

        def train(net: Network, epochs: int) -> float:
            trainer, best, accuracy = Trainer(net, optimizer=Adam(lr=lr)), np.inf, np.nan
            for _ in range(epochs):
                trainer.fit(self.X, self.y, batch_size=BATCH, progress=False)
                loss = trainer.evaluate(self.X_validation, self.y_validation)["loss"]
                if loss < best:
                    best, accuracy = loss, 100 * trainer.evaluate(self.X_test, self.y_test)["accuracy"]
            return accuracy

        return train
