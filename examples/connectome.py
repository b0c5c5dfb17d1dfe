"""Two brains, a worm's (C. elegans) and a fruit-fly larva's, learn to read digits by nothing but their own connections.

Every sensory neuron sees one pixel of an 8 x 8 digit, chosen by lot. The image stands still for some steps, in each of
which activity runs along one connection; then a digit is read as the mean of one tenth of the output neurons, dealt out
by lot. Neither end has a weight to train and biases stay 0: whatever is learned is in the brain's connections. The same
brain whose weakest tenth moves to random places every 25 updates, and three null models of it, get the same training.
All end about alike, and the brains are the slowest at first: for this task their order is no advantage over chance.
"""

import time

import numpy as np
from matplotlib.figure import Figure

import neurograph as ng

# seeds, epochs, learning rate, steps that an image stands still, and the test accuracy that every network has to reach
BRAINS = {"celegans": (5, 20, 0.01, 6, 0.96), "larva": (3, 6, 0.003, 12, 0.94)}
KINDS = ("the brain", "pruned and grown", "degree-preserving", "random", "layered")


def train(brain, kind, seed, epochs, lr, steps):
    """Return which of the network's own connections are still there, and the test accuracy after each epoch."""
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

    own, curve = net.connections[~net.connections.frozen].id, []
    updates = epochs * -(-len(x_train) // 64)
    rewire = ng.sparsity.SET(fraction=0.1, every=25, stop=updates * 3 // 4) if kind == "pruned and grown" else None
    trainer = ng.Trainer(net, loss, ng.optim.Adam(lr=ng.optim.Cosine(lr, steps=updates)), rewire)
    for _ in range(epochs):
        trainer.fit(x_train, digits.y_train, batch_size=64, progress=False)
        answers = (net.predict(x_test)[:, -1] @ reading).argmax(axis=1)
        curve.append(np.mean(answers == digits.y_test))
    assert net.n_connections == brain.n_connections + net.n_inputs
    return np.isin(own, net.connections.id), curve


def main(brains=BRAINS, picture="connectome.png"):
    """Train, print tables, draw a picture; return by how much the worst network passes the least accuracy."""
    figure, margins = Figure(figsize=(13, 11.5), layout="constrained"), []
    axes = figure.subplots(2, len(brains), squeeze=False, height_ratios=(2, 3)).T
    for (name, (seeds, epochs, lr, steps, least)), (upper, lower) in zip(brains.items(), axes, strict=True):
        brain, means = ng.datasets.load_connectome(name).merged(), []
        title = f"{brain.title}: {brain.n_neurons:,} neurons, {brain.n_connections:,} connections"
        print(f"\n{title}\n{'':18}trained   stayed  1 epoch  {epochs:2} epochs (mean of {seeds} seeds)  seconds")
        for kind in KINDS:
            start = time.perf_counter()
            runs = [train(brain, kind, seed, epochs, lr, steps) for seed in range(seeds)]
            stayed, curves = runs[0][0], np.array([curve for _, curve in runs])
            means.append(curves.mean(axis=0))
            row = f"{kind:18}{len(stayed):7}{stayed.mean():9.0%}{means[-1][0]:9.1%}{means[-1][-1]:11.1%}"
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
