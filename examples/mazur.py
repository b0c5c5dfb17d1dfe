"""Matt Mazur's "A Step by Step Backpropagation Example", wired neuron by neuron.

https://mattmazur.com/2015/03/17/a-step-by-step-backpropagation-example/: two inputs, two hidden and two output neurons,
all sigmoid, half the squared error summed over the outputs, learning rate 0.5. The biases are not updated.
"""

import numpy as np

import neurograph as ng

X, Y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])


def half_squared_error(outputs, targets):
    """Value and gradient of the loss, summed over the outputs."""
    difference = outputs - targets
    return 0.5 * (difference**2).sum(), difference


def build():
    """Return the network and its connections w1 to w8."""
    net = ng.Network(dtype="float64")
    i1, i2 = net.add_inputs(2)
    h1, h2 = net.add_neurons(2, activation="sigmoid", bias=0.35)
    o1, o2 = net.add_outputs(2, activation="sigmoid", bias=0.60)
    wires = [(i1, h1), (i2, h1), (i1, h2), (i2, h2), (h1, o1), (h2, o1), (h1, o2), (h2, o2)]
    weights = [0.15, 0.20, 0.25, 0.30, 0.40, 0.45, 0.50, 0.55]
    return net, [net.connect(source, target, weight=w) for (source, target), w in zip(wires, weights, strict=True)]


def train(net, steps):
    """Gradient descent on the weights alone."""
    connections = net.connections
    for _ in range(steps):
        net.backward(X, Y, loss=half_squared_error)
        connections.weight -= 0.5 * connections.grad


def total_error(net):
    """The loss as the network is now."""
    return half_squared_error(net.predict(X), Y)[0]


def main(steps=10_000):
    """Print the figures of the article and return the last total error."""
    net, w = build()
    print(f"outputs before training      {net.predict(X)[0].round(9)}")
    print(f"total error before training  {total_error(net):.9f}")
    train(net, 1)
    for number, connection in enumerate(w, start=1):
        print(f"w{number} after one step            {connection.weight:.9f}")
    print(f"total error after one step   {total_error(net):.9f}")
    train(net, steps - 1)
    print(f"total error after {steps:,} steps  {total_error(net):.7f}")
    print(f"outputs                      {net.predict(X)[0].round(9)}")
    return total_error(net)


if __name__ == "__main__":
    assert round(main(), 7) == 0.0000351
