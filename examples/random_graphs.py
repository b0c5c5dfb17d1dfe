"""Fifteen families of graphs, most of them random, learn the same digits with the same number of connections.

"It would be interesting to just try training a few randomly generated networks." Each has exactly 2,640 connections,
from 64 inputs through 320 hidden neurons (48 in the dense layers) to 10 outputs, and gets the same training. Most
generators join hidden neurons only, to about 8 others; the connections at both ends are drawn at random.
"""

import time

import networkx as nx
import numpy as np
from matplotlib.figure import Figure

import neurograph as ng
from neurograph import topologies as graphs

BUDGET, SIZES = 2640, (64, 320, 10)
FEW = {"input_density": 0.0, "output_density": 0.0}  # no more than leave nobody out; `build` draws the others
FAMILIES = {
    "layers, dense": lambda seed: graphs.layered([64, 30, 18, 10], seed=seed),
    "layers, sparse": lambda seed: graphs.layered([64, 160, 160, 10], density=BUDGET / 37_440, seed=seed),
    "RadiX-Net": lambda seed: graphs.radix_net([[8, 8]] * 3, shuffle=True, seed=seed),
    "random DAG": lambda seed: graphs.random_dag(*SIZES, density=BUDGET / 75_360, seed=seed),
    "random DAG, shallow": lambda seed: graphs.random_dag(*SIZES, density=BUDGET / 62_720, depth=4, seed=seed),
    "small world": lambda seed: graphs.small_world(*SIZES, k=8, p=0.1, seed=seed, **FEW),
    "scale-free": lambda seed: graphs.scale_free(*SIZES, m=4, seed=seed, **FEW),
    "ring": lambda seed: graphs.ring_lattice(*SIZES, k=8, seed=seed, **FEW),
    "ring, random order": lambda seed: graphs.ring_lattice(*SIZES, k=8, ordering="random", seed=seed, **FEW),
    "torus": lambda seed: graphs.torus_lattice(64, (16, 20), 10, radius=1.5, seed=seed, **FEW),
    "near in space": lambda seed: graphs.random_geometric(*SIZES, radius=0.095, seed=seed, **FEW),
    "four blocks": lambda seed: graphs.stochastic_block(64, [80] * 4, 10, 0.01 + 0.07 * np.eye(4), seed=seed, **FEW),
    "random regular": lambda seed: graphs.from_graph(nx.random_regular_graph(8, 320, seed), 64, 10, seed=seed, **FEW),
    "caves": lambda seed: graphs.from_graph(nx.connected_caveman_graph(40, 8), 64, 10, seed=seed, **FEW),
    "tree": lambda seed: graphs.from_graph(nx.random_labeled_tree(320, seed=seed), 64, 10, seed=seed, **FEW),
}


def build(family, seed):
    """Make a network of a family, and complete its budget."""
    net = FAMILIES[family](seed)
    net.remove_neurons(net.outputs[10:])  # a RadiX-Net has 64
    if net.n_connections < BUDGET and "hidden" in net.groups:
        net.grow(net.groups["hidden"], net.outputs, 320 - net.outputs.fan_in.sum())
        net.grow(net.inputs, net.groups["hidden"], BUDGET - net.n_connections)
        net.initialize()  # now that the fan-in of every neuron is complete
    return net


def main(seeds=10, epochs=20, picture="random_graphs.png"):
    """Train, print a table, draw a picture; return the mean test accuracy of the worst family."""
    X, y, *test = ng.datasets.load_digits()
    print(f"{'':21}neurons  connections  depth  test accuracy of {seeds} seeds")
    start, nets, results = time.perf_counter(), {}, {family: [] for family in FAMILIES}
    for family, accuracies in results.items():
        for seed in range(seeds):
            net = nets[family] = build(family, seed)
            assert net.n_connections == BUDGET
            trainer = ng.Trainer(net, optimizer=ng.optim.Adam(lr=3e-3))
            trainer.fit(X, y, epochs, progress=False)
            accuracies.append(trainer.evaluate(*test)["accuracy"])
        row = f"{family:21}{net.n_neurons:7}{net.n_connections:13,}{net.schedule.depth:7}"
        print(f"{row}{np.mean(accuracies):14.1%} +- {np.std(accuracies):.1%}", flush=True)
    order = sorted(FAMILIES, key=lambda family: np.mean(results[family]))
    print(f"best: {order[-1]}; last: {order[0]}; {time.perf_counter() - start:.0f} seconds")
    figure = Figure(figsize=(16, 7.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
    ax, style = left.subplots(), ng.plot.style
    ax.plot([results[family] for family in order], order, "o", color=style.SKY, alpha=0.6)
    ax.plot([np.mean(results[family]) for family in order], order, "D", color=style.INK)
    ax.set_xlabel(f"test accuracy of {seeds} seeds, and their mean")
    style.plain(ax)
    for ax, family in zip(right.subplots(3, 5).flat, reversed(order), strict=True):
        ng.plot.adjacency(nets[family], ax=ax, cells=130).set(title=family, xticks=[], yticks=[], xlabel="", ylabel="")
    figure.savefig(picture, dpi=110)
    return np.mean(results[order[0]])


if __name__ == "__main__":
    assert main() > 0.94
