"""Images of different sizes in one mini-batch against PyTorch, image by image."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.topologies import (
    SizedNetworks,
    box,
    disk,
    fields,
    fully_convolutional,
    global_pool,
    pool,
)

SIZES = [(8, 8), (13, 9), (8, 8), (40, 21), (13, 9), (9, 13), (8, 8)]


@pytest.fixture
def images(rng):
    return [rng.normal(size=(2, *size)) for size in SIZES]


def convolutional(**options):
    """Two layers of fields; the twin of `Twin`."""
    return fully_convolutional([4, 6], 3, box(3, 3), in_channels=2, activation="tanh", dtype="float64", **options)


def twin(torch, family, pooling="max", padding="same"):
    """The same function in PyTorch, with the family's weights."""
    kinds = {"max": torch.nn.MaxPool2d, "mean": torch.nn.AvgPool2d}
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=padding),
        torch.nn.Tanh(),
        kinds[pooling](2),
        torch.nn.Conv2d(4, 6, 3, padding=padding),
        torch.nn.Tanh(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, 3),
    ).double()
    weights, biases = [model[0].weight, model[3].weight, model[7].weight], [model[i].bias for i in (0, 3, 7)]
    with torch.no_grad():
        # The outputs' connections stand target by target; their biases are the only ones that nothing shares, so first.
        parts = np.split(family.weight, np.cumsum([w.numel() for w in weights])[:-1])
        for tensor, part in zip(weights, parts, strict=True):
            tensor.copy_(torch.tensor(part).reshape(tensor.shape))
        for tensor, part in zip([biases[2], *biases[:2]], np.split(family.bias, [3, 7]), strict=True):
            tensor.copy_(torch.tensor(part))
    return model, weights, [biases[2], *biases[:2]]


def flat(tensors):
    return np.concatenate([t.grad.numpy().ravel() for t in tensors])


@pytest.mark.parametrize(("kind", "padding"), [("max", "same"), ("mean", 0)])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "function"])
def test_a_mixed_batch_is_the_sum_of_single_images(kind, padding, loss, images, backend, rng):
    torch = pytest.importorskip("torch")
    family = convolutional(pooling_kind=kind, padding=padding, backend=backend, seed=1)
    family.bias = rng.normal(size=len(family.bias))
    model, weights, biases = twin(torch, family, kind, padding)
    Y = np.array([0, 2, 1, 1, 0, 2, 2]) if loss == "cross_entropy" else rng.normal(size=(7, 3))
    measure = torch.nn.functional.cross_entropy if loss == "cross_entropy" else torch.nn.functional.mse_loss
    losses = []
    for image, y in zip(images, Y, strict=True):
        target = torch.tensor(y)[None]
        part = measure(model(torch.from_numpy(image)[None]), target) / (1 if loss == "function" else 7)
        part.backward()
        losses.append(part.item())
    named = (lambda out, y: (float(((out - y) ** 2).sum() / 3), 2 * (out - y) / 3)) if loss == "function" else loss
    assert family.backward(images, Y, loss=named) == pytest.approx(sum(losses), rel=1e-12)
    np.testing.assert_allclose(family.weight_grad, flat(weights), atol=1e-12)
    np.testing.assert_allclose(family.bias_grad, flat(biases), atol=1e-12)
    expected = np.concatenate([model(torch.from_numpy(image)[None]).detach().numpy() for image in images])
    np.testing.assert_allclose(family.predict(images), expected, atol=1e-12)
    np.testing.assert_allclose(family.last_outputs, expected, atol=1e-12)
    assert family.n_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("optimizer", [ng.optim.SGD(lr=0.1, momentum=0.9), ng.optim.Adam(lr=0.01)], ids=["sgd", "adam"])
def test_one_size_trains_as_one_network(optimizer, backend, rng):
    family = convolutional(backend=backend, seed=3)
    net = convolutional(backend=backend, seed=3).network((2, 10, 12))
    images, labels = rng.normal(size=(9, 2, 10, 12)), rng.integers(3, size=9)
    for _ in range(4):
        one = family.backward(images, labels, loss="cross_entropy")
        assert one == pytest.approx(net.backward(images.reshape(9, -1), labels, loss="cross_entropy"), rel=1e-12)
        optimizer.step(family)
        optimizer.step(net)
    np.testing.assert_allclose(family.predict(images), net.predict(images.reshape(9, -1)), rtol=1e-10)
    assert family.counters == net.counters
    assert (family.reference.groups["pooled 1"].incoming.weight == 1).all()


def test_mixed_training_equals_pytorch(images, rng):
    torch = pytest.importorskip("torch")
    family = convolutional(seed=1)
    model, _, _ = twin(torch, family)
    adam, ours = torch.optim.Adam(model.parameters(), lr=0.01), ng.optim.Adam(lr=0.01)
    labels = rng.integers(3, size=7)
    for _ in range(5):
        adam.zero_grad()
        outputs = torch.cat([model(torch.from_numpy(image)[None]) for image in images])
        torch.nn.functional.cross_entropy(outputs, torch.from_numpy(labels)).backward()
        adam.step()
        family.backward(images, labels, loss="cross_entropy")
        ours.step(family)
    expected = np.concatenate([model(torch.from_numpy(image)[None]).detach().numpy() for image in images])
    np.testing.assert_allclose(family.predict(images), expected, atol=1e-8)


def test_a_network_for_each_size_and_no_more(images, backend):
    family = convolutional(backend=backend)
    family.predict(images)
    shapes = {(2, *size) for size in SIZES}
    assert set(family.networks) == shapes | {(2, 6, 6)}
    first = dict(family.networks)
    family.predict(images[::-1])
    assert all(family.networks[shape] is net for shape, net in first.items())
    assert family.n_connections == sum(net.n_connections for net in first.values())
    assert family.nbytes == sum(net.nbytes for net in first.values()) > 0
    assert family.network((2, 20, 20)).n_inputs == 800


def test_networks_beyond_the_cache_are_built_anew(images):
    small, large = convolutional(cache_bytes=0, seed=2), convolutional(seed=2)
    for family in (small, large):
        for _ in range(2):
            family.backward(images, np.arange(7) % 3, loss="cross_entropy")
            ng.optim.Adam(lr=0.01).step(family)
    assert len(small.networks) == 2 and len(large.networks) == 5
    np.testing.assert_array_equal(small.predict(images), large.predict(images))


def test_pruned_at_every_size(images):
    torch = pytest.importorskip("torch")
    family = convolutional(seed=1)
    family.predict(images[:2])  # two networks exist already, the others come later
    weak = abs(family.weight) < 0.1
    model, weights, biases = twin(torch, family)
    with torch.no_grad():
        for tensor in weights:
            tensor[abs(tensor) < 0.1] = 0
    before = family.n_parameters
    assert family.prune(weak) == weak.sum() > 20
    assert family.n_parameters == before - weak.sum() and not (abs(family.weight) < 0.1).any()
    expected = torch.cat([model(torch.from_numpy(image)[None]) for image in images])
    np.testing.assert_allclose(family.predict(images), expected.detach().numpy(), atol=1e-12)
    torch.nn.functional.cross_entropy(expected, torch.arange(7) % 3).backward()
    family.backward(images, np.arange(7) % 3, loss="cross_entropy")
    np.testing.assert_allclose(family.weight_grad, flat(weights)[~weak], atol=1e-12)
    np.testing.assert_allclose(family.bias_grad, flat(biases), atol=1e-12)
    assert family.prune([0, 5]) == 2 and family.prune([]) == 0
    assert np.isfinite(family.predict(images)).all()


def test_trainer_saves_and_goes_on(tmp_path, rng):
    def data(count):
        images, labels = [], rng.integers(2, size=count)
        for label in labels:  # stripes along, or across
            image = rng.normal(size=rng.integers(6, 12, size=2)) * 0.3
            image[(slice(None), slice(None, None, 2)) if label else slice(None, None, 2)] += 1
            images.append(image)
        return images, labels

    X, y = data(120)
    family = fully_convolutional([6], 2, disk(1), seed=0)
    trainer = ng.Trainer(family, loss="cross_entropy", optimizer=ng.optim.Adam(lr=0.05), seed=0)
    history = trainer.fit(X, y, epochs=12, batch_size=40, validation_data=data(60), progress=False)
    assert history["val_accuracy"][-1] > 0.95 > history["accuracy"][0]
    assert trainer.evaluate(X, y)["accuracy"] > 0.95
    family.prune([3])
    path = tmp_path / "family.ng"
    family.save(path)
    again = fully_convolutional([6], 2, disk(1), seed=5)
    again.predict(X[:3])
    again.restore(path)
    np.testing.assert_array_equal(again.predict(X), family.predict(X))
    for each in (family, again):
        each.backward(X, y, loss="cross_entropy")
        ng.optim.Adam(lr=0.05).step(each)
    np.testing.assert_array_equal(again.weight, family.weight)
    with pytest.raises(ng.InvalidValueError, match="other parameters"):
        fully_convolutional([5], 2, disk(1)).restore(path)


def test_a_layer_may_have_its_own_offsets_stride_and_pooling():
    family = fully_convolutional(
        [2, 4], 3, [disk(2), [box(1, 3)] * 2 + [box(3, 1)] * 2], stride=[2, 1], pooling=[None, 2], padding=0
    )
    net = family.network((1, 20, 25))
    assert net.groups["maps 1"].shape == (2, 8, 11)
    assert net.groups["maps 2"].shape == (4, 6, 9) and net.groups["pooled 2"].shape == (4, 3, 4)
    assert net.groups["features"].shape == (4,) and "pooled 1" not in net.groups
    assert family.n_parameters == 2 * 13 + 2 + 4 * 2 * 3 + 4 + 4 * 3 + 3


def test_first_weights_fit_large_images():
    """Drawn by the fan-in of the whole field, though the reference is small."""
    family = fully_convolutional([64, 64], 10, box(3, 3), seed=0)
    kernel = family.weight[9 * 64 : 9 * 64 + 9 * 64 * 64]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)


def test_a_rule_of_ones_own(rng):
    def rule(net, image):
        maps = fields(net, image, 3, disk(1), bias=None)
        net.connect(global_pool(net, pool(net, maps, 2), "max"), net.add_outputs(2), weight="xavier")

    family = SizedNetworks(rule, (1, 4, 4), seed=0)
    assert family.n_parameters == 3 * 5 + 6 + 2 and len(family.bias) == 2  # frozen biases are no parameters
    images = [rng.normal(size=size) for size in ((4, 4), (6, 7), (6, 7))]
    before = family.predict(images)
    family.backward(images, np.zeros((3, 2)))
    ng.optim.SGD(lr=0.1).step(family)
    assert (family.predict(images) != before).all()
    assert (family.network((1, 6, 7)).neurons.bias[:-2] == 0).all()


def test_a_loss_that_is_not_finite_leaves_the_gradients(images):
    family = convolutional()
    family.backward(images, np.arange(7) % 3, loss="cross_entropy")
    before = family.weight_grad
    assert np.isnan(family.backward(images, np.zeros((7, 3)), loss=lambda out, y: (np.nan, out * np.nan)))
    np.testing.assert_array_equal(family.weight_grad, before)


REFUSED = {
    r"images of size \(2, 1, 9\)": lambda f, images: f.predict([*images, np.zeros((2, 1, 9))]),
    r"images of size \(2, 1, 1\)": lambda f, images: f.network((2, 1, 1)),
    "image 7 has 3 channels, but 2": lambda f, images: f.predict([*images, np.zeros((3, 9, 9))]),
    "image 7 has 1 channels": lambda f, images: f.predict([*images, np.zeros((9, 9))]),
    "image 0 has shape": lambda f, images: f.predict([np.zeros(9)]),
    "image 1 is nan": lambda f, images: f.predict([images[0], images[1] * np.nan]),
    "image 0 must be real": lambda f, images: f.predict(["seven"]),
    "not empty": lambda f, images: f.predict([]),
    "must be a list": lambda f, images: f.predict(3),
    "7 images, but Y": lambda f, images: f.backward(images, [0, 1], loss="cross_entropy"),
    "label|class": lambda f, images: f.backward(images, [0, 1, 2, 0, 1, 2, 3], loss="cross_entropy"),
    "which has shape": lambda f, images: f.prune(np.zeros(5, bool)),
    "which holds indices": lambda f, images: f.prune([10**6]),
    "weight is nan|finite": lambda f, images: setattr(f, "weight", np.nan),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_and_nothing_changed(message, images):
    family = convolutional(seed=1)
    family.backward(images, np.arange(7) % 3, loss="cross_entropy")
    outputs, grad = family.predict(images), family.weight_grad
    with pytest.raises(ng.NeurographError, match=message):
        REFUSED[message](family, images)
    np.testing.assert_array_equal(family.predict(images), outputs)
    np.testing.assert_array_equal(family.weight_grad, grad)
    assert family.n_parameters == convolutional().n_parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": []}, "channels"),
        ({"channels": [0]}, "channels"),
        ({"n_outputs": 0}, "n_outputs"),
        ({"in_channels": 0}, "in_channels"),
        ({"offsets": lambda y, x: box(3, 3)}, "same at every place"),
        ({"offsets": [box(3, 3)] * 3}, "3 layers"),
        ({"offsets": box(3)}, "two columns"),
        ({"stride": [1, 2, 3]}, "stride"),
        ({"stride": 0}, "stride"),
        ({"pooling": [2]}, "pooling"),
        ({"pooling": 0}, "pooling"),
        ({"padding": "full"}, "padding"),
        ({"padding": -1}, "padding"),
        ({"pooling_kind": "median"}, "kind"),
        ({"activation": "rleu"}, "activation"),
        ({"offsets": [[0, 0], [0, 9000]]}, "no image below"),
        ({"cache_bytes": -1}, "cache_bytes"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ng.NeurographError, match=message):
        fully_convolutional(**({"channels": [2, 3], "n_outputs": 2} | options))


def test_a_rule_whose_parameters_change_with_the_size():
    def rule(net, image):
        net.connect(image, net.add_outputs(2))

    family = SizedNetworks(rule, (1, 3, 3))
    with pytest.raises(ng.InvalidValueError, match=r"images of size \(1, 4, 4\): the rule makes"):
        family.predict([np.zeros((4, 4))])
    assert list(family.networks) == [(1, 3, 3)]
    for wrong, message in ((lambda net, image: None, "no outputs"), (3, "rule must be")):
        with pytest.raises(ng.InvalidValueError, match=message):
            SizedNetworks(wrong, (1, 3, 3))
    with pytest.raises(ng.InvalidValueError, match="reference"):
        SizedNetworks(rule, (3, 3))
