"""Two brains, a worm's (C. elegans) and a fruit-fly larva's, learn to read digits by nothing but their own connections.

Every sensory neuron sees one pixel of an 8 x 8 digit, chosen by lot. The image stands still for some steps, in each of
which activity runs along one connection; then a digit is read as the mean of one tenth of the output neurons, dealt out
by lot. Neither end has a weight to train and biases stay 0: whatever is learned is in the brain's connections. The same
brain whose weakest tenth moves to random places after an epoch, and three null models of it, get the same training.
All end alike, but the brain is the last to get there: the more of its order is given up, the quicker a network learns.
"""

import time

import numpy as np
from matplotlib.figure import Figure

import neurograph as ng

BRAINS = {"celegans": (5, 20, 0.01, 0.96), "larva": (2, 5, 0.003, 0.93)}  # seeds, epochs, learning rate, least accuracy
KINDS = ("the brain", "pruned and grown", "degree-preserving", "random", "layered")


def train(brain, kind, seed, epochs, lr, steps):
    """Return the network's own connections, which of them never moved, and the test accuracy after each epoch."""
    if kind in KINDS[2:]:
        brain = ng.topologies.null_model(brain, kind.replace("-", "_"), seed=seed)
    net = ng.topologies.connectome(brain, seed=seed)
    net.neurons.bias_frozen = True
    rng, digits = np.random.default_rng(seed), ng.datasets.load_digits()
    pixel = rng.permutation(np.arange(net.n_inputs) % 64)
    x_train, x_test = (np.repeat(x[:, None, pixel], steps, axis=1) for x in (digits.x_train, digits.x_test))
    reading = np.eye(10)[rng.permutation(np.arange(net.n_outputs) % 10)]
    reading *= 5 / reading.sum(axis=0)  # means lie between -1 and 1; times 5 there is room for a clear answer

    def loss(outputs, labels):
        value, gradient = ng.functions.losses.cross_entropy(outputs @ reading, labels)
        return value, gradient @ reading.T

    trainer, curve = ng.Trainer(net, loss, ng.optim.Adam(lr=lr)), []
    own, neurons, last = net.connections[~net.connections.frozen], net.neurons - net.inputs, net.connections.id[-1]
    for epoch in range(epochs):
        if kind == "pruned and grown" and 0 < epoch < 0.75 * epochs:
            moved = net.prune(own[np.argsort(np.abs(own.weight))[: len(own) // 10]])
            free = len(neurons) ** 2 - (len(own) - moved)
            net.connect(neurons, neurons, density=moved / free, weight="zeros", delay=1)
            own = net.connections[~net.connections.frozen]
        trainer.fit(x_train, digits.y_train, batch_size=64, progress=False)
        answers = (net.predict(x_test)[:, -1] @ reading).argmax(axis=1)
        curve.append(np.mean(answers == digits.y_test))
    return own, own.id <= last, curve


def main(brains=BRAINS, steps=6, picture="connectome.png"):
    """Train, print tables, draw a picture; return by how much the worst network passes the least accuracy."""
    figure, margins = Figure(figsize=(13, 11.5), layout="constrained"), []
    axes = figure.subplots(2, len(brains), squeeze=False, height_ratios=(2, 3)).T
    for (name, (seeds, epochs, lr, least)), (upper, lower) in zip(brains.items(), axes, strict=True):
        brain, means = ng.datasets.load_connectome(name).merged(), []
        title = f"{brain.title}: {brain.n_neurons:,} neurons, {brain.n_connections:,} connections"
        print(f"\n{title}\n{'':18}trained  unmoved  1 epoch  {epochs:2} epochs (mean of {seeds} seeds)  seconds")
        for kind in KINDS:
            start = time.perf_counter()
            runs = [train(brain, kind, seed, epochs, lr, steps) for seed in range(seeds)]
            (own, unmoved, _), curves = runs[0], np.array([curve for _, _, curve in runs])
            means.append(curves.mean(axis=0))
            row = f"{kind:18}{len(own):7}{unmoved.mean():9.0%}{means[-1][0]:9.1%}{means[-1][-1]:11.1%}"
            print(f"{row} +- {curves[:, -1].std():.1%}{time.perf_counter() - start:21.0f}", flush=True)
        first, end = (KINDS[np.argmax([mean[epoch] for mean in means])] for epoch in (0, -1))
        print(f"best after one epoch: {first}; at the end: {end}")
        margins.append(np.min(means, axis=0)[-1] - least)
        histories = {kind: {"val_accuracy": mean} for kind, mean in zip(KINDS, means, strict=True)}
        ng.plot.history(histories, upper).set(title=title, ylabel="test accuracy")
        net, place = ng.topologies.connectome(brain), brain.output.astype(int) - brain.sensory
        order = sorted(np.unique(brain.group), key=lambda group: place[brain.group == group].mean())
        ng.plot.adjacency(net, [net.groups[group] for group in order], lower)
    figure.savefig(picture, dpi=110)
    return min(margins)


if __name__ == "__main__":
    assert main() > 0
