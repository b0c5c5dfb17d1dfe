"""Published methods, a short function each.

Where a paper gives no rule for a hyper-parameter that depends on the length of the training, a share of the budget
takes its place. Nothing here was chosen by the accuracy of a single method: the point is a common footing, no record.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import sparsity
from ..distillation import Distillation
from ..functions.schedules import Cosine
from ..network import Network
from ..optim import SGD
from .methods import method
from .task import Task

__all__: list[str] = []

EDITS = 20  # how often a method that edits again and again does so
ROUNDS = 5  # of lottery tickets: the papers remove 20% a round, which takes 18 trainings to 2%
BATCH = 128  # samples by which connections are scored
BLOCK = 4  # side of a block


def every(steps: int, times: int = EDITS) -> int:
    """Steps between two edits, when there are to be so many of them.

    Examples
    --------
    >>> every(1380), every(5)
    (69, 1)
    """
    return max(1, steps // times)


def shrink(task: Task, net: Network, score: object = "magnitude") -> None:
    """Remove what is more than the task wants; where that cuts outputs off, the accuracy says so."""
    excess = max(0, net.n_connections - task.n_connections)
    sparsity.prune_lowest(net, score, count=excess, allow_disconnected=True)


# -- what others are measured by ---------------------------------------------------------------------------------------


@method("dense", "every connection, none pruned", any_density=False)
def dense(task: Task) -> Network:
    """All connections from the first step to the last."""
    net = task.network()
    task.train(net)
    return net


@method("static", "a random mask that stays as it is")
def static(task: Task) -> Network:
    """Connections drawn once."""
    net = task.network(task.density)
    task.train(net)
    return net


@method("distilled", "static, taught by a dense network, whose own training is as long again")
def distilled(task: Task) -> Network:
    """Hinton, Vinyals & Dean (2015), with a random mask as the student."""
    teacher, net = task.network(), task.network(task.density)
    task.train(teacher)
    task.train(net, loss=Distillation(teacher, temperature=4.0, alpha=0.5))
    return net


# -- pruned before training --------------------------------------------------------------------------------------------


def before_training(task: Task, score: str, **options: Any) -> Network:
    """Score an untrained dense network, prune it, train the rest."""
    net = task.network()
    some = np.random.default_rng(task.seed).permutation(len(task.data.x_train))[:BATCH]
    X, y = task.data.x_train[some], task.data.y_train[some]
    sparsity.prune_before_training(
        net, score, 1 - task.n_connections / task.dense_connections, X, y, allow_disconnected=True, **options
    )
    task.train(net)
    return net


method("snip", "SNIP: pruned before training, by |w g|")(partial(before_training, score="snip"))
method("grasp", "GraSP: pruned before training, by w (H g)")(
    partial(before_training, score="grasp", temperature=200)  # as in the authors' code
)
method("synflow", "SynFlow: pruned before training, by paths, in 100 rounds")(partial(before_training, score="synflow"))


# -- dense first, then pruned ------------------------------------------------------------------------------------------


def in_halves(task: Task, recipe: sparsity.Recipe | None = None, score: object = "magnitude") -> Network:
    """Train the dense network for half of the steps, with a recipe maybe; prune, and train on."""
    net, first = task.network(), task.epochs // 2
    task.train(net, recipe, epochs=first)
    shrink(task, net, score)
    task.train(net, epochs=task.epochs - first)
    return net


@method("one-shot", "dense for half of the steps, smallest weights removed at once, trained on for the other half")
def one_shot(task: Task) -> Network:
    """`prune_lowest` and the rest of the training."""
    return in_halves(task)


@method("blocks", f"one-shot, of whole {BLOCK} x {BLOCK} blocks: the density is near what was asked for")
def blocks(task: Task) -> Network:
    """A block counts by the mean of its weights: blocks at the edge of a layer are smaller."""
    net, first = task.network(), task.epochs // 2
    task.train(net, epochs=first)
    sparsity.prune_lowest(net, block_share(net), 1 - task.density, "block", block=BLOCK, allow_disconnected=True)
    task.train(net, epochs=task.epochs - first)
    return net


def block_share(net: Network) -> np.ndarray:
    """Absolute weight of each connection over the mean of its pair of layers and over the size of its block."""
    connections, places = net.connections, np.zeros(int(net.neurons.ids.max()) + 1, np.int64)
    for home in net.homes:
        places[home.ids] = np.arange(len(home)) // BLOCK
    _, pair = connections.regions()
    rows = int(places.max()) + 1
    _, block = np.unique(
        (pair * rows + places[connections.source]) * rows + places[connections.target], return_inverse=True
    )
    weight = np.abs(connections.weight)
    return weight / (np.bincount(pair, weight) / np.bincount(pair))[pair] / np.bincount(block)[block]


@method("WeightElimination", "one-shot, with a penalty before that counts large weights")
def weight_elimination(task: Task) -> Network:
    """Weigend, Rumelhart & Huberman (1991)."""
    return in_halves(task, sparsity.WeightElimination(lambda_=1e-5, w0=0.1))


@method("GradualMagnitude", "smallest weights removed little by little, over the middle half of the steps")
def gradual_magnitude(task: Task) -> Network:
    """Zhu & Gupta (2017)."""
    net, begin, end = task.network(), task.steps // 4, max(3 * task.steps // 4, task.steps // 4 + 1)
    gone = 1 - task.n_connections / task.dense_connections
    task.train(net, sparsity.GradualMagnitude(gone, begin, end, every(end - begin), allow_disconnected=True))
    return net


@method(
    "LotteryTickets",
    f"pruned and rewound to the first weights {ROUNDS} times: each of the {ROUNDS + 1} trainings is as long",
)
def lottery_tickets(task: Task) -> Network:
    """Frankle & Carbin (2019)."""
    net = task.network()
    tickets = sparsity.LotteryTickets(
        fraction=1 - task.density ** (1 / ROUNDS), rounds=ROUNDS, length=task.epochs, allow_disconnected=True
    )
    for _ in tickets.run(net, lambda net, epochs: task.train(net, epochs=epochs)):
        pass
    return net


@method("ADMM", "pulled towards a sparse network in the first half, pruned, retrained in the second")
def admm(task: Task) -> Network:
    """Zhang et al. (2018)."""
    net, iterations = task.network(), min(10, max(1, task.steps // 2))
    share = task.n_connections / task.dense_connections
    task.train(net, sparsity.ADMM(share, rho=1.5e-3, every=every(task.steps // 2, iterations), iterations=iterations))
    return net


@method("DynamicNetworkSurgery", "pruned and spliced in the middle third; where more is left then, the smallest go")
def surgery(task: Task) -> Network:
    """Guo, Yao & Chen (2016), by SGD with momentum, so that pruned weights learn as the others do."""
    net, part, momentum, lr = task.network(), max(1, task.epochs // 3), 0.9, 0.02
    optimizer = partial(SGD, momentum=momentum)
    task.train(net, epochs=part, optimizer=optimizer, lr=lr)
    rate = Cosine(lr / (1 - momentum), task.steps_of(part))
    task.train(
        net, sparsity.DynamicNetworkSurgery(rate, quantiles(net, task.density)), epochs=part, optimizer=optimizer, lr=lr
    )
    shrink(task, net)
    task.train(net, epochs=max(0, task.epochs - 2 * part), optimizer=optimizer, lr=lr)
    return net


def quantiles(net: Network, density: float) -> dict[tuple[int, int], float]:
    """How far above the mean, in standard deviations, as much as the density lies, for each pair of homes."""
    connections = net.connections
    regions, number = connections.regions()
    rates = {}
    for place, (source, target, _) in enumerate(regions.tolist()):
        weight = np.abs(connections.weight[number == place])
        rates[source, target] = float((np.quantile(weight, 1 - density) - weight.mean()) / max(weight.std(), 1e-9))
    return rates


@method("HardConcrete", "L0 penalty in the first half; where more is left then, the smallest go")
def hard_concrete(task: Task) -> Network:
    """Louizos, Welling & Kingma (2018)."""
    net, first = task.network(), task.epochs // 2
    recipe = sparsity.HardConcrete(lambda_=1 / len(task.data.x_train), lr=task.lr)
    task.train(net, recipe, epochs=first)
    recipe.finish(net)
    shrink(task, net)
    task.train(net, epochs=task.epochs - first)
    return net


@method("Sleep", "ten nights in the first three quarters, which weaken all and prune what is least used")
def sleep(task: Task) -> Network:
    """Tononi & Cirelli (2006)."""
    net, nights = task.network(), 10
    between = every(3 * task.steps // 4, nights)
    share = 1 - task.density ** (1 / nights)
    task.train(
        net,
        sparsity.Sleep(
            between,
            factor=0.95,
            fraction=share,
            watch=min(10, between),
            scope="local",
            allow_disconnected=True,
            stop=nights * between + 1,
        ),
    )
    return net


@method("LearnedPruner", "one-shot, scored by a network that learned to on another one: longer by half")
def learned_pruner(task: Task) -> Network:
    """Scores are learned on a narrower network with other weights, trained for half of the steps."""
    other = Task(
        task.data,
        1.0,
        task.seed + 1000,
        tuple(max(1, n // 2) for n in task.hidden),
        task.epochs,
        task.batch_size,
        task.lr,
    )
    seen, net, first = other.network(), task.network(), task.epochs // 2
    other.train(seen, epochs=first)
    task.train(net, epochs=first)
    X, y = task.data.x_train[:BATCH], task.data.y_train[:BATCH]
    pruner = sparsity.LearnedPruner(groups=100, seed=task.seed).fit(seen, X, y)
    net.backward(X, y, "cross_entropy")
    shrink(task, net, pruner.score)
    task.train(net, epochs=task.epochs - first)
    task.steps_made += other.steps_made
    return net


# -- sparse from the first step ----------------------------------------------------------------------------------------


@method("DropBack", "a budget of weights that may change; the others fade away in the first half")
def drop_back(task: Task) -> Network:
    """Golub, Lemieux & Lis (2018), by plain SGD."""
    net = task.network()
    # The first values are rounded away, and their connections removed, after half of the steps at the latest.
    decay = min(0.9, float(np.finfo(net.dtype).eps / 4) ** (1 / max(1, task.steps // 2)))
    task.train(net, sparsity.DropBack(task.n_connections, decay, biases=False), optimizer=SGD, lr=0.2)
    return net


@method("SET", "smallest weights replaced by random new ones, as many, in the first three quarters")
def set_(task: Task) -> Network:
    """Mocanu et al. (2018)."""
    net, last = task.network(task.density), max(1, 3 * task.steps // 4)
    task.train(net, sparsity.SET(Cosine(0.3, last), every(last), stop=last))
    return net


@method("RigL", "smallest weights replaced where absent ones have the largest gradient, in the first three quarters")
def rigl(task: Task) -> Network:
    """Evci et al. (2020)."""
    net, last = task.network(task.density), max(1, 3 * task.steps // 4)
    task.train(net, sparsity.RigL(last, every(last), alpha=0.3))
    return net


@method("SparseMomentum", "as RigL, by the momentum of gradients, which also says how many each layer gets")
def sparse_momentum(task: Task) -> Network:
    """Dettmers & Zettlemoyer (2019)."""
    net, last = task.network(task.density), max(1, 3 * task.steps // 4)
    task.train(net, sparsity.SparseMomentum(every(last), Cosine(0.3, last), stop=last))
    return net


@method("DeepR", "weights that would change their sign replaced by random new ones, in the first three quarters")
def deep_r(task: Task) -> Network:
    """Bellec et al. (2018)."""
    net, last = task.network(task.density), max(1, 3 * task.steps // 4)
    task.train(net, sparsity.DeepR(Cosine(task.lr, max(1, task.steps)), alpha=1e-4, T=1e-5, stop=last))
    return net
