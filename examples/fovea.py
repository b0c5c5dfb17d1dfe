"""Circular kernels that grow with the distance from a centre of attention, on MNIST, against plain convolutions.

A neuron in the middle reads 5 pixels, one in the corner 69. All places share one kernel: a small field uses its middle.
So the fair rivals are two: a plain convolution with as many weights to learn (the same kernel, whole at every place),
and one with as many connections (the same work, and a smaller kernel). Each goes through pooling into ten outputs.
"""

import argparse
from pathlib import Path

import numpy as np

import neurograph as ng

MNIST = Path(__file__).parents[1] / ".." / "shared" / "data" / "mnist.npz"


def build(side, offsets, seed=0):
    """Eight maps, pooled by their largest values, and ten outputs; the network, and its connections to the maps."""
    net = ng.Network(seed=seed)
    image = net.add_inputs((1, side, side))
    maps = ng.topologies.fields(net, image, channels=8, offsets=offsets, padding="same", outside="drop")
    net.connect(ng.topologies.pool(net, maps, size=2, kind="max"), net.add_outputs(10))
    return net, maps.incoming


def draw(path, image, field):
    """Some of the fields on a digit, and how many pixels each place reads."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    left, right = Figure(figsize=(9, 4.2), layout="constrained").subplots(1, 2)
    left.imshow(image, cmap="gray_r", alpha=0.6)
    for y, x in np.ndindex(image.shape):
        if y % 4 == x % 4 == 1:
            left.add_patch(Circle((x, y), np.hypot(*field(y, x).T).max() + 0.5, fill=False, color="#0072B2"))
    left.set(title="fields at some of the places", xlim=(-5, len(image) + 4), ylim=(len(image) + 4, -5))
    shown = right.imshow([[len(field(y, x)) for x in range(len(image))] for y in range(len(image))])
    left.figure.colorbar(shown, ax=right, label="positions in the field of each place")
    left.figure.savefig(path, dpi=110)


def main(epochs=2, n_samples=60_000, picture=None, path=MNIST):
    """Train the three, print a table, and return the accuracy of the growing circles."""
    mnist = Path(path).exists()
    X, y, X_test, y_test = ng.datasets.load_mnist(path) if mnist else ng.datasets.load_digits()
    epochs *= 1 if mnist else 40  # the digits of the package are smaller and fewer
    side = int(np.sqrt(X.shape[1]))
    fovea = ng.topologies.fovea(centre=((side - 1) / 2, (side - 1) / 2), radius=1, growth=0.2)
    if picture:
        draw(picture, X_test[0].reshape(side, side), fovea)

    _, grown = build(side, fovea)
    weights = len(np.unique(grown.parameter)) // 8
    nearest = sorted(ng.topologies.disk(side // 2).tolist(), key=lambda offset: np.hypot(*offset))
    connections = 8 * np.cumsum([(side - abs(dy)) * (side - abs(dx)) for dy, dx in nearest])
    as_many = 1 + int(np.argmin(np.abs(connections - len(grown))))
    rivals = {"growing circles": fovea, "plain, as many weights": nearest[:weights]}
    rivals["plain, as many connections"] = nearest[:as_many]
    accuracy = {}
    print(f"{'fields':28}{'kernel weights':>15}{'connections':>13}{'test accuracy':>15}{'s an epoch':>12}")
    for name, offsets in rivals.items():
        net, conns = build(side, offsets)
        trainer = ng.Trainer(net, optimizer=ng.optim.Adam(lr=2e-3), seed=0)
        history = trainer.fit(X[:n_samples], y[:n_samples], epochs=epochs, batch_size=128, progress=False)
        accuracy[name] = trainer.evaluate(X_test, y_test)["accuracy"]
        shown = f"{len(np.unique(conns.parameter)):15,}{len(conns):13,}{accuracy[name]:15.2%}"
        print(f"{name:28}{shown}{np.mean(history['seconds']):12.2f}", flush=True)
    print(f"ahead on {'MNIST' if mnist else 'the small digits of the package'}: {max(accuracy, key=accuracy.get)}")
    return accuracy["growing circles"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", default=MNIST, type=Path, help="mnist.npz; without it the packaged digits")
    parser.add_argument("--epochs", default=2, type=int)
    parser.add_argument("--picture", default="fovea.png", help="where to draw the fields")
    arguments = parser.parse_args()
    assert main(arguments.epochs, picture=arguments.picture, path=arguments.path) >= 0.95
