"""A batch larger than memory allows: in pieces with the same answer, or refused with the bytes and the cure."""

import numpy as np
import pytest

import neurograph as ng
from neurograph import memory, sequences
from neurograph.backends import device


@pytest.fixture
def little(monkeypatch):
    """Call it to say how many bytes are free; then even small passes ask."""

    def free(count):
        monkeypatch.setattr(sequences, "FREELY", 0)
        monkeypatch.setattr(memory, "available", lambda: count)
        monkeypatch.setattr(device, "memory", lambda: (count, count))

    return free


def flat(backend, dtype="float32"):
    net = ng.topologies.random_dag(12, 60, 4, density=0.3, seed=1, backend=backend, dtype=dtype)
    return net, np.random.default_rng(0).normal(size=(300, 12)), np.random.default_rng(1).normal(size=(300, 4))


def mixed(backend, dtype="float32"):
    """Means, products, medians and derivatives that need the potential."""
    net = ng.Network(seed=3, backend=backend, dtype=dtype)
    x = net.add_inputs(6)
    kinds = ["mean", "product", "max", "median", "sum", "maxabs"]
    h = net.add_neurons(30, activation=["silu", "tanh", "identity"] * 10, aggregation=kinds * 5)
    y = net.add_outputs(3, aggregation="mean")
    net.connect(x, h, density=0.5)
    net.connect(h, y, density=0.5)
    return net, np.random.default_rng(0).normal(size=(200, 6)), np.random.default_rng(1).integers(0, 3, 200)


def through_time(backend, dtype="float32"):
    net = ng.Network(seed=5, backend=backend, dtype=dtype)
    x, h, y = net.add_inputs(3), net.add_neurons(20, activation="tanh", time_constant=2.0), net.add_outputs(2)
    net.connect(x, h)
    net.connect(h, h, density=0.3, delay=2)
    net.connect(h, y)
    rng = np.random.default_rng(0)
    return net, rng.normal(size=(150, 9, 3)), rng.normal(size=(150, 9, 2))


def lopsided(outputs, Y):
    """A loss that is no mean over samples: pieces of the batch do not add up to it."""
    error = outputs - Y
    total = float((error**2).sum())
    return total**0.5, error / total**0.5


def gradients(net, *arguments, **options):
    value = net.backward(*arguments, **options)
    outputs = np.array(net.last_outputs)
    return value, outputs, net.connections.grad.copy(), net.neurons.bias_grad.copy()


def assert_same(ours, wanted, rtol=2e-5):
    assert ours[0] == pytest.approx(wanted[0], rel=1e-6)
    for a, b in zip(ours[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-3, np.abs(b).max()))


def room_for(net, samples, steps, keep=True):
    """Bytes that must be free for so many samples at once."""
    return int(net.backend.footprint(net.plan, samples, steps, keep) / sequences.SHARE) + 1


def named(value):
    """What a case is called; functions have addresses in their text, which are others in each process."""
    if isinstance(value, dict):
        return str({name: getattr(of, "__name__", of) for name, of in value.items()})
    return value.__name__


CASES = [
    (flat, {"loss": "mse"}),
    (flat, {"loss": lopsided}),
    (mixed, {"loss": "cross_entropy"}),
    (through_time, {"loss": "mse"}),
    (through_time, {"loss": lopsided, "mask": True}),
    (through_time, {"loss": "mse", "recompute": True}),
    (through_time, {"loss": "mse", "truncate": 4, "state": True}),
]


@pytest.mark.parametrize("samples", [64, 16])
@pytest.mark.parametrize(("make", "options"), CASES, ids=named)
def test_pieces_give_the_gradients_of_the_whole(backend, little, make, options, samples):
    """Also for losses that are no sum over samples."""
    net, X, Y = make(backend)
    if samples < 64:
        X, Y = X[:40], Y[:40]
    options = dict(options)
    if options.pop("mask", False):
        options["mask"] = np.random.default_rng(2).random(X.shape[:2]) < 0.7
    if options.pop("state", False):
        _, options["state"] = net.predict(X[:, :3], return_state=True)
    wanted = gradients(net, X, Y, **options)
    steps = X.shape[1] if X.ndim == 3 else 1
    length = 3 if "recompute" in options else steps
    net.predict(X[:1])
    # A host of wide registers has no narrower panel than one of 16 samples, which must get through all steps first.
    room = max(room_for(net, samples, length), room_for(net, 1, steps, keep=False))
    little(room - int(net.last_pass.nbytes))
    assert_same(gradients(net, X, Y, **options), wanted)
    with pytest.raises(ng.errors.InvalidValueError, match="too large to keep"):
        net.neurons[-1].output  # noqa: B018


def test_predictions_run_in_fewer_samples(backend, little):
    net, X, _ = flat(backend)
    wanted = net.predict(X)
    little(room_for(net, 64, 1, keep=False))
    np.testing.assert_allclose(net.predict(X), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.predict(X, batch_size=250), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [flat, through_time])
def test_no_room_for_one_sample(backend, little, make):
    """The error names the bytes and the cure, and nothing has changed."""
    net, X, Y = make(backend, "float64")
    before = gradients(net, X, Y)
    output = net.neurons[-1].output
    little(-net.last_pass.nbytes + 10)
    for call in (lambda: net.backward(X, Y), lambda: net.predict(X)):
        with pytest.raises(ng.errors.OutOfMemoryError, match=r"needs [\d,]+ bytes .* float32"):
            call()
    assert issubclass(ng.errors.OutOfMemoryError, MemoryError)
    np.testing.assert_array_equal(net.neurons[-1].output, output)
    np.testing.assert_array_equal(net.connections.grad, before[2])


def test_a_large_batch_keeps_one_pass_only(little):
    """The pass before gives its memory to the next one, so that a batch that fitted once fits again."""
    net, X, Y = flat("cpu")
    little(2**40)
    net.backward(X, Y)
    first = net.last_pass
    held = first.buffer("acts")
    net.backward(X, Y)
    assert net.last_pass is not first and net.last_pass.buffer("acts") is held
    with pytest.raises(ng.errors.InvalidValueError):
        net.backward(X, Y[:, :2])
    assert net.last_pass.buffer("acts") is held, "a loss that refuses Y leaves the last pass alone"


def test_arrays_that_the_system_refuses(monkeypatch):
    """Where nothing says how much is free, the system's own refusal is passed on with the bytes."""
    from neurograph.backends import cpu

    net, X, _ = flat("cpu")
    net.predict(X)

    def empty(*arguments, **options):
        raise MemoryError

    net = ng.topologies.layered([12, 5000, 4], density=0.01)
    net.predict(X[:1])
    monkeypatch.setattr(cpu.np, "empty", empty)
    with pytest.raises(ng.errors.OutOfMemoryError, match=r"[\d,]+ bytes"):
        net.backend.forward(net.plan, np.zeros((300, 1, 12), np.float32))


PROC = {
    "meminfo": "MemTotal: 100 kB\nMemAvailable:      1000 kB\n",
    "self/cgroup": "4:memory:/box\n0::/user/app\n",
    "self/status": "Name:\tpython\nVmSize:\t   10 kB\n",
}
V1 = {"memory.limit_in_bytes": "5000", "memory.usage_in_bytes": "4500", "memory.stat": "a 1\ntotal_inactive_file 100\n"}
V2 = {"memory.max": "max", "memory.current": "7", "memory.stat": "anon 1\ninactive_file 2\n"}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 1000 * 1024),
        ({f"groups/memory/box/{name}": text for name, text in V1.items()}, 600),
        ({f"groups/user/app/{name}": text for name, text in V2.items()}, 1000 * 1024),
        ({f"groups/user/{name}": text for name, text in {**V2, "memory.max": "3007"}.items()}, 3002),
    ],
    ids=["machine", "container v1", "no limit", "container v2"],
)
def test_what_is_free(tmp_path, monkeypatch, files, wanted):
    """The least of what the machine and the container give."""
    files = {f"proc/{name}": text for name, text in PROC.items()} | files
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    groups = tmp_path / "groups"
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(
        memory,
        "GROUP_FILES",
        {
            "": (groups, "memory.max", "memory.current", "inactive_file"),
            "memory": (groups / "memory", *memory.GROUP_FILES["memory"][1:]),
        },
    )
    monkeypatch.setattr(memory, "_address_limit", lambda: None)
    assert memory.available() == wanted
    monkeypatch.setattr(memory, "_address_limit", lambda: 10 * 1024 + 5)
    assert memory.available() == 5
