"""An irregular topology: a cascade with skip connections learns the parity of four bits.

Every hidden neuron reads all inputs and every hidden neuron before it, so no two of them form a layer. The activations
differ from neuron to neuron. Parity is hard for a network without the skip connections: flipping any bit flips it.
"""

import itertools

import numpy as np

import neurograph as ng


def build(seed=0):
    """Four inputs, a cascade of five hidden neurons, one output."""
    net = ng.Network(seed=seed)
    bits = net.add_inputs(4, name="bits")
    cascade = net.add_neurons(5, activation=["tanh", "tanh", "sigmoid", "tanh", "softplus"], name="cascade")
    parity = net.add_outputs(1, name="parity")

    for number, neuron in enumerate(cascade):
        net.connect(bits | cascade[:number], net.group([neuron]), weight="xavier")
    net.connect(bits | cascade, parity, weight="xavier")
    return net


def main(steps=2000):
    """Train the cascade and return how many of the 16 patterns it gets right."""
    net = build()
    print("generations, each of neurons that do not depend on one another:")
    for number, generation in enumerate(net.schedule.generations):
        print(f"  {number}: {generation.tolist()}")
    print(net.plan)

    X = np.array(list(itertools.product([-1, 1], repeat=4)), dtype=np.float32)
    odd = (X > 0).sum(axis=1) % 2
    optimizer = ng.optim.Adam(lr=0.02)
    for step in range(1, steps + 1):
        loss = net.backward(X, odd[:, None], loss="binary_cross_entropy")
        optimizer.step(net)
        if step % (steps // 5) == 0:
            print(f"step {step:5}  loss {loss:.4f}")

    right = int(((net.predict(X)[:, 0] > 0) == odd).sum())
    print(f"{right} of 16 patterns are right")
    return right


if __name__ == "__main__":
    assert main() == 16
