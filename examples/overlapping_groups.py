"""Groups overlap, have any shape, and grow and shrink at any time.

Two groups of hidden neurons share a few members. One sees the left half of the image, the other the right half; the
shared members see both. While the network trains, neurons move from one group to the other, new ones are born, and
those that nothing listens to are removed.
"""

import numpy as np

import neurograph as ng


def main(epochs=20):
    """Train through four stages of group surgery; return the test accuracy."""
    X, y, X_test, y_test = ng.datasets.load_digits()
    net = ng.Network(seed=0)
    pixels = net.add_inputs(64, name="pixels")
    hidden = net.add_neurons(40, activation="relu", name="hidden")
    digits = net.add_outputs(10, name="digits")

    column = np.arange(64) % 8
    left = net.group(hidden[:24], name="left")
    right = net.group(hidden[16:], name="right")
    both = left & right
    print(f"left {len(left)}, right {len(right)}, both {len(both)}, one of them {len(left ^ right)}")
    net.connect(pixels[column < 4], left)
    net.connect(pixels[column >= 4], right)
    net.connect(hidden, digits)
    assert set(both.fan_in) == {64} and set((left ^ right).fan_in) == {32}

    trainer = ng.Trainer(net, loss="cross_entropy", optimizer=ng.optim.Adam(lr=3e-3))

    def train(what):
        trainer.fit(X, y, epochs=epochs // 4, batch_size=32, progress=False)
        accuracy = trainer.evaluate(X_test, y_test)["accuracy"]
        print(f"{what:38} {len(left):3} left {len(right):3} right  {net.n_connections:5} connections  {accuracy:.1%}")
        return accuracy

    train("as made")

    # Members move: they leave one group, join the other, and get its connections.
    moved = (left - right)[:4]
    left.discard(moved)
    right.add(moved)
    moved.incoming.remove()
    net.connect(pixels[column >= 4], moved)
    assert hidden[0].groups == ("hidden", "right")
    train("four moved from left to right")

    # A group grows by newborn neurons, which listen to members of the group and start without influence.
    newborn = net.add_neurons(8, activation="tanh")
    net.connect(left, newborn, density=0.5)
    net.connect(newborn, digits, weight=0.0)
    left.add(newborn)
    train("eight born on the left")

    # Cut the weakest half of what the right group says. Members that say nothing more may go: no output changes.
    says = right.outgoing
    net.prune(says[np.abs(says.weight) < np.median(np.abs(says.weight))])
    (right - left)[:5].outgoing.remove()
    silent = right[right.fan_out == 0]
    before, talking = net.predict(X_test), len(right) - len(silent)
    net.remove_neurons(silent)
    assert np.allclose(net.predict(X_test), before, atol=1e-5)
    assert len(right) == talking and len(silent) == 0
    return train("half of the right cut, the silent gone")


if __name__ == "__main__":
    assert main() > 0.93
