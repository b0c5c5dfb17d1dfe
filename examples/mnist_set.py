"""MNIST by an irregular sparse network: skip connections everywhere, 10% of them present, rewired by SET.

Every group of neurons feeds all later groups, so the inputs and each hidden group reach the outputs directly as well.
Adam trains the weights while SET moves the weakest connections to new places, ever fewer of them, and stops early
enough for the last ones to settle.
"""

import argparse
import itertools
import time
from pathlib import Path

import neurograph as ng

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "mnist.npz"


def build(width=400, density=0.1, seed=0):
    """Inputs, three groups of hidden neurons and outputs; each group is wired sparsely to all later ones."""
    net = ng.Network(seed=seed)
    groups = [net.add_inputs(784, name="pixels")]
    groups += [net.add_neurons(width, activation="relu", name=f"hidden {number}") for number in (1, 2, 3)]
    groups.append(net.add_outputs(10, name="digits"))
    for earlier, later in itertools.combinations(groups, 2):
        net.connect(earlier, later, density=density, weight="zeros")
    net.connections.initialize("he")  # now that the fan-in of every neuron is complete
    return net


def main(path=DATA, epochs=8, n_samples=60_000):
    """Train, print and return the test accuracy."""
    X, y, X_test, y_test = ng.datasets.load_mnist(path)
    X, y = X[:n_samples], y[:n_samples]
    net = build()
    n_connections = net.n_connections
    print(f"{net.n_neurons} neurons, {n_connections:,} connections, {net.schedule.depth} generations")

    steps = epochs * -(-len(X) // 128)
    trainer = ng.Trainer(
        net,
        loss="cross_entropy",
        optimizer=ng.optim.Adam(lr=ng.optim.Cosine(2e-3, steps=steps)),
        rewire=ng.sparsity.SET(fraction=ng.optim.Cosine(0.3, steps=steps), every=200, stop=steps * 3 // 4),
    )
    start = time.perf_counter()
    trainer.fit(X, y, epochs=epochs, batch_size=128, validation_data=(X_test, y_test))
    accuracy = trainer.evaluate(X_test, y_test)["accuracy"]
    assert net.n_connections == n_connections
    print(f"test accuracy {accuracy:.2%} after {epochs} epochs in {time.perf_counter() - start:.0f} s")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", default=DATA, type=Path, help="mnist.npz (x_train, y_train, ...)")
    parser.add_argument("--epochs", default=8, type=int)
    arguments = parser.parse_args()
    assert main(arguments.path, arguments.epochs) >= 0.975
