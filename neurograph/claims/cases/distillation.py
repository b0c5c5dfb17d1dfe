"""Distillation (Hinton, Vinyals & Dean 2015, arXiv 1503.02531): what a dense teacher adds to a student's labels."""

from collections.abc import Callable, Iterator

import numpy as np

from ... import datasets, optim, topologies
from ...distillation import Distillation
from ...functions import schedules
from ...network import Network
from ...train import Trainer
from ..rows import Row, Settings

ABOUT = "distillation: on the digits, a student with 5% of the connections gains 0.3 points by a dense teacher"

SIZES = [64, 300, 100, 10]
DENSITY = 0.05
# Chosen on a fifth of the training images, with other seeds and teachers that had not seen that fifth.
TEMPERATURE, ALPHA = 4.0, 0.5
TEACHER_EPOCHS, TEACHER_RATE = 40, 3e-3
EPOCHS, RATE, BATCH = 200, 1e-2, 32
STUDENTS = 3  # of each seed, wired differently: one image of the test set is 0.28 points


def run(settings: Settings) -> Iterator[Row]:
    """The gain in points of test accuracy; both students have the same wiring, weights, order of samples and steps."""
    data = datasets.load_digits()
    teacher_epochs, epochs, students = (2, 2, 1) if settings.quick else (TEACHER_EPOCHS, EPOCHS, STUDENTS)
    gains, alone, taught, teachers = [], [], [], []
    for seed in settings.seeds:
        teacher = topologies.layered(SIZES, seed=1000 + seed)
        teachers.append(trained(teacher, "cross_entropy", data, teacher_epochs, TEACHER_RATE, seed))
        distill = Distillation(teacher, TEMPERATURE, ALPHA)
        both: list[tuple[float, float]] = []
        for number in range(students):
            each = 100 * seed + number
            nets = [topologies.layered(SIZES, density=DENSITY, seed=each) for _ in range(2)]
            without = trained(nets[0], "cross_entropy", data, epochs, RATE, each)
            both.append((without, trained(nets[1], distill, data, epochs, RATE, each)))
        without, with_teacher = np.mean(both, axis=0).tolist()
        alone.append(without)
        taught.append(with_teacher)
        gains.append(with_teacher - without)
    note = (
        f"{np.mean(alone):.2f}% alone, {np.mean(taught):.2f}% taught, teachers {np.mean(teachers):.2f}%; "
        f"T {TEMPERATURE:g}, alpha {ALPHA:g}, {epochs} epochs, {students} students a seed"
    )
    yield Row("gain by the teacher", float(np.mean(gains)), 0.3, True, "points", tuple(gains), note)


def trained(net: Network, loss: str | Callable, data: datasets.Split, epochs: int, rate: float, seed: int) -> float:
    """Train for so many epochs, and return the test accuracy after the last, in percent."""
    steps = epochs * -(-len(data.x_train) // BATCH)
    trainer = Trainer(net, loss, optim.Adam(lr=schedules.Cosine(rate, steps)), seed=seed)
    trainer.fit(data.x_train, data.y_train, epochs, BATCH, progress=False)
    return 100 * float(np.mean(net.predict(data.x_test).argmax(axis=1) == data.y_test))
