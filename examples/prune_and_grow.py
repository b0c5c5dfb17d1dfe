"""Cut and grow single connections between two updates.

A sparse network learns to recognise handwritten digits. After every fifth update its weakest connection is cut and
another one is grown somewhere else. All other connections keep their weights and their optimizer state, and the new one
does not disturb what the network computes, as it starts with weight 0.
"""

import numpy as np

import neurograph as ng


def main(epochs=30):
    """Train, cut and grow; return the test accuracy."""
    X, y, X_test, y_test = ng.datasets.load_digits()
    net = ng.Network(seed=0)
    pixels = net.add_inputs(64, name="pixels")
    hidden = net.add_neurons(60, activation="relu", name="hidden")
    digits = net.add_outputs(10, name="digits")
    net.connect(pixels, hidden, density=0.2)
    net.connect(pixels | hidden, digits, density=0.2)
    first, n_connections = set(net.connections.id.tolist()), net.n_connections

    rng, optimizer = np.random.default_rng(0), ng.optim.Adam(lr=3e-3)
    for epoch in range(1, epochs + 1):
        for number, batch in enumerate(np.array_split(rng.permutation(len(X)), len(X) // 32)):
            loss = net.backward(X[batch], y[batch], loss="cross_entropy")
            optimizer.step(net)
            if number % 5:
                continue

            connections = net.connections
            weakest = connections[np.argmin(np.abs(connections.weight))]
            other = connections[connections.id != weakest.id]
            momentum = other.state("adam_m")
            weakest.remove()

            while True:  # until a pair is free
                source, target = rng.choice((pixels | hidden).ids), rng.choice((hidden | digits).ids)
                if source < target and not net.has_connection(source, target):
                    net.connect(net.neuron(source), net.neuron(target), weight=0.0)
                    break
            assert np.array_equal(other.state("adam_m"), momentum)
        if epoch % 10 == 0 or epoch == epochs:
            accuracy = np.mean(net.predict(X_test).argmax(axis=1) == y_test)
            print(f"epoch {epoch:3}  loss {loss:.4f}  test accuracy {accuracy:.1%}  {net.schedule.depth} generations")

    new = len(set(net.connections.id.tolist()) - first)
    print(f"{net.n_connections} connections as at the start, {new} of them grown while training")
    assert net.n_connections == n_connections and new > 0
    return accuracy


if __name__ == "__main__":
    assert main() > 0.93
