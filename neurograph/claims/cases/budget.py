"""DropBack (arXiv 1806.06949, table 1 and figure 2): 784-100-100-10 with 20,000 weights that may change."""

from collections.abc import Iterator

import numpy as np

from ... import optim, sparsity, topologies
from ...functions import schedules
from ...train import Trainer
from ..rows import Row, Settings

ABOUT = "DropBack: 20,000 of the 89,610 weights of 784-100-100-10 may change, within 0.5 points of dense"

SIZES = [784, 100, 100, 10]
BUDGET, EPOCHS, BATCH, RATE = 20_000, 15, 100, 0.4
PARTS = 5


def run(settings: Settings) -> Iterator[Row]:
    """Accuracy lost, and how many weights enter the tracked set as training goes on."""
    X, y, X_test, y_test = settings.mnist()
    epochs = 2 if settings.quick else EPOCHS
    steps = epochs * -(-len(X) // BATCH)
    lost, dense, ratios, churns = [], [], [], []
    for seed in settings.seeds:
        accuracy = []
        for recipe in (None, sparsity.DropBack(BUDGET)):
            net = topologies.layered(SIZES, seed=seed)
            trainer = Trainer(
                net, optimizer=optim.SGD(schedules.Step(RATE, every=max(1, steps // PARTS), factor=0.5)),
                rewire=recipe, seed=seed,
            )  # fmt: skip
            trainer.fit(X, y, epochs, BATCH, progress=False)
            accuracy.append(100 * trainer.evaluate(X_test, y_test)["accuracy"])
        dense.append(accuracy[0])
        lost.append(accuracy[0] - accuracy[1])
        assert recipe is not None and recipe.n_tracked == BUDGET
        # The first step fills the set.
        churn = [part.mean() for part in np.array_split(np.array(recipe.churn[1:], float), PARTS)]
        churns.append(churn)
        ratios.append(max(after / before for before, after in zip(churn, churn[1:], strict=False)))
    note = f"{epochs} epochs, SGD, dense {np.mean(dense):.2f}%"
    yield Row("accuracy below dense", float(np.mean(lost)), 0.5, False, "points", tuple(lost), note)
    shown = ", ".join(f"{value:.1f}" for value in np.mean(churns, axis=0))
    note = f"weights that enter at a step, mean of each fifth, with half the learning rate of the one before: {shown}"
    yield Row("largest ratio of successive fifths", float(np.mean(ratios)), 1.0, False, "", tuple(ratios), note)
