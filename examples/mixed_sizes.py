"""Digits of every size in one mini-batch: no image is resized to fit, none is padded.

Handwritten digits are drawn at sizes from 8x8 to 40x40, each image exactly as large as its digit. One set of 5,000
parameters reads them all: the images of one size run through the network of that size, built from the same rule
when the size is first met, and every update follows the gradient of the whole mixed batch. The test has sizes too
that no training image had.
"""

import argparse
import time

import numpy as np

import neurograph as ng

SIZES = np.arange(8, 41, 4)
NEW_SIZES = [(10, 10), (14, 18), (21, 21), (30, 26), (38, 38)]


def draw(digits, sizes):
    """Each digit of 8 x 8 pixels at its own size, interpolated linearly."""
    from scipy.ndimage import zoom

    factors = [(height / 8, width / 8) for height, width in sizes]
    images = digits.reshape(-1, 8, 8)
    return [zoom(image, f, order=1, mode="nearest", grid_mode=True) for image, f in zip(images, factors, strict=True)]


def main(epochs=12, seed=0):
    """Train, print, and return the accuracy on test digits of the sizes that were trained."""
    rng = np.random.default_rng(seed)
    digits = ng.datasets.load_digits()
    size = rng.choice(SIZES, 2 * len(digits.x_train))  # every training digit at two sizes
    X = draw(np.concatenate([digits.x_train] * 2), np.stack([size, size], axis=1))
    y = np.concatenate([digits.y_train] * 2)

    family = ng.topologies.fully_convolutional(channels=[8, 16, 24], n_outputs=10, global_pooling="max", seed=seed)
    optimizer = ng.optim.Adam(lr=ng.optim.Cosine(5e-3, steps=epochs * -(-len(X) // 64)))
    start = time.perf_counter()
    trainer = ng.Trainer(family, optimizer=optimizer, seed=seed)
    trainer.fit(X, y, epochs=epochs, batch_size=64)
    print(
        f"{family.n_parameters:,} parameters; {len(family.networks)} networks with {family.n_connections:,} "
        f"connections in {family.nbytes / 2**20:.0f} MiB; {time.perf_counter() - start:.0f} s"
    )

    print("accuracy on test digits:")
    total = 0
    for height, width in [*((s, s) for s in SIZES), *NEW_SIZES]:
        images = draw(digits.x_test, [(height, width)] * len(digits.x_test))
        accuracy = trainer.evaluate(images, digits.y_test)["accuracy"]
        total += accuracy * (height == width and height in SIZES)
        print(f"{height:4} x {width:2}: {accuracy:.1%}{'   never trained' if (height, width) in NEW_SIZES else ''}")
    accuracy = total / len(SIZES)
    print(f"all trained sizes: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", default=12, type=int)
    assert main(parser.parse_args().epochs) >= 0.9
