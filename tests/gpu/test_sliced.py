"""Whole networks in one launch, a slice of the batch a block, against the reference backend."""

import numpy as np
import pytest

import neurograph as ng
from neurograph.backends import State, reference
from neurograph.backends.gpu import sliced


class Arrays:
    """What a pass holds on the device, filled with NaN where nothing is to be read, and the sliced kernels over it."""

    def __init__(self, cupy, net, X, columns, state=None, more_columns=0):
        self.cupy, self.net, self.plan, self.columns = cupy, net, net.plan, columns
        plan, n = self.plan, net.graph.neurons.size
        self.batch, self.steps, _ = X.shape
        self.n, self.history, self.ld = n, plan.history, -(-self.batch // 4) * 4 + more_columns
        shape = (self.history + self.steps, n, self.ld)
        acts, z = np.full(shape, np.nan, net.dtype), np.full(shape, np.nan, net.dtype)
        acts[: self.history] = z[: self.history] = 0
        if state is not None:
            acts[: self.history, :, : self.batch] = state.outputs.transpose(1, 2, 0)
            if state.potentials is not None:
                z[self.history - 1, :, : self.batch] = state.potentials.T
        acts[self.history :, plan.inputs] = 0
        acts[self.history :, plan.inputs, : self.batch] = X.transpose(1, 2, 0)
        self.acts, self.z = cupy.asarray(acts.reshape(-1, self.ld)), cupy.asarray(z.reshape(-1, self.ld))

    def forward(self):
        plan = self.plan
        keep_z = plan.leaks or plan.needs_preactivation
        sliced.forward(plan, self.acts, self.z, keep_z, self.batch, self.steps, self.columns)
        return self

    def backward(self, gradient, add=False, later=None, constant=False):
        """Returns the deltas of the first steps, as a pass over earlier ones takes them."""
        plan, cupy = self.plan, self.cupy
        delta = np.full((self.steps + self.history, self.n, self.ld), np.nan, self.net.dtype)
        delta[self.steps :] = 0 if later is None else later
        by_output = np.zeros((self.steps, len(plan.outputs), self.ld), self.net.dtype)
        by_output[:, :, : self.batch] = gradient.transpose(1, 2, 0)
        self.delta = cupy.asarray(delta.reshape(-1, self.ld))
        sliced.backward(
            plan, self.acts, self.z if plan.leaks or plan.needs_preactivation else None,
            cupy.asarray(by_output.reshape(-1, self.ld)), cupy.asarray(plan.output_columns[0]), self.delta, self.batch,
            self.steps, 0, add, constant, self.columns,
        )  # fmt: skip
        return self.delta.get().reshape(delta.shape)[: self.history]

    def outputs(self):
        """(step, slot, sample), columns behind the batch included."""
        return self.acts.get().reshape(-1, self.n, self.ld)[self.history :]


def gradients(net):
    return net.graph.connections["grad"].copy(), net.graph.neurons["bias_grad"].copy()


def samples(net, batch, steps=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(batch, steps, net.n_inputs)).astype(net.dtype)
    return X, rng.normal(size=(batch, steps, net.n_outputs)).astype(net.dtype)


def check(cupy, net, batch, steps=1, columns=None, state=None, constant=False):
    """One pass forward and backward, against the reference."""
    X, gradient = samples(net, batch, steps)
    plan = net.plan
    rtol, atol = (2e-4, 2e-5) if net.dtype == np.float32 else (1e-9, 1e-11)
    truth = reference.forward(plan, X, state=state)
    reference.backward(plan, truth, gradient)
    expected = gradients(net)
    net.graph.connections["grad"][:], net.graph.neurons["bias_grad"][:] = 0, 0
    run = Arrays(cupy, net, X, columns, state).forward()
    run.backward(gradient, constant=constant)
    slots = np.concatenate([plan.rows, plan.inputs])
    outputs = run.outputs()[:, slots]
    np.testing.assert_allclose(outputs[:, :, :batch], truth.y[run.history :, slots], rtol, atol)
    assert (outputs[:, :, batch:] == 0).all()
    for got, wanted in zip(gradients(net), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol, atol * max(1, np.abs(wanted).max()))
    mean = net.graph.neurons["aggregation"][plan.rows] == 1
    divisor = np.where(mean, np.maximum(net.graph.incoming.length[plan.rows], 1), 1)[:, None]
    delta = run.delta.get().reshape(-1, run.n, run.ld)[: run.steps, plan.rows]
    np.testing.assert_allclose(delta[:, :, :batch] * divisor, truth.delta[:, plan.rows], rtol, atol)
    assert (delta[:, :, batch:] == 0).all()


def mixed(seed=0, dtype="float64", delays=True, activations=("tanh", "gelu", "relu", "log")):
    """All that the sliced kernels run: means, leaks, delays, many activations, isolated neurons, outputs of inputs."""
    net = ng.Network(seed=seed, dtype=dtype)
    x = net.add_inputs(5)
    net.mark_outputs(x[:1])
    first = net.add_neurons(40, activation=[activations[i % len(activations)] for i in range(40)], bias=0.1)
    second = net.add_neurons(6, activation="silu", aggregation="mean", time_constant=2.5 if delays else 1.0)
    net.add_neurons(3, activation="sigmoid", bias=0.5)
    y = net.add_outputs(3)
    for source, target, density in ((x, first, 0.5), (first, first, 0.1), (first, second, 0.4), (second, y, 1.0)):
        net.connect(source, target, density)
    net.connect(first, y, 0.3)
    if delays:
        net.connect(first, second, 0.2, delay=2)
        net.connect(second, second, 0.3, delay=1)
        net.connect(x, y, 0.5, delay=3)
    return net


@pytest.mark.parametrize("columns", sliced.COLUMNS)
@pytest.mark.parametrize("batch", [1, 3, 33, 70])
def test_batches(cupy, batch, columns):
    """Slices that are full, and those that are not."""
    check(cupy, ng.topologies.layered([8] * 12 + [3], activation="tanh", seed=1), batch, columns=columns)


def test_deep_and_narrow(cupy):
    """Two hundred generations of eight neurons."""
    net = ng.topologies.layered([8] * 200, activation="tanh", weight="xavier", seed=2)
    assert sliced.pays(net.plan, 5)
    check(cupy, net, 5)


@pytest.mark.parametrize("columns", sliced.COLUMNS)
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (3, 6), (33, 2)])
def test_all_that_is_run_this_way(cupy, batch, steps, columns):
    """Means, leaks, delays, and activations of every sort."""
    check(cupy, mixed(), batch, steps, columns)


def test_single_precision(cupy):
    """The same in float32."""
    check(cupy, mixed(dtype="float32", activations=("tanh", "relu")), 7, 3)


def test_every_activation(cupy):
    """One neuron of each."""
    names = list(ng.functions.activations.ACTIVATIONS)
    net = ng.Network(seed=1, dtype="float64")
    x, hidden, y = net.add_inputs(4), net.add_neurons(len(names), activation=names), net.add_outputs(2)
    net.connect(x, hidden)
    net.connect(hidden, y)
    check(cupy, net, 9)


def test_long_rows_and_wide_generations(cupy):
    """Rows of hundreds of entries, and more neurons than a turn takes."""
    net = ng.Network(seed=0, dtype="float64")
    x, wide, y = net.add_inputs(300), net.add_neurons(150, activation="tanh"), net.add_outputs(1)
    net.connect(x, wide, 0.3)
    net.connect(wide, y)
    check(cupy, net, 5, columns=32)


def test_chain(cupy):
    """One neuron a generation."""
    check(cupy, ng.topologies.layered([1] * 60, activation="tanh", weight=0.9, dtype="float64"), 3)


def test_union(cupy):
    """Networks side by side."""
    members = [ng.topologies.layered([3] + [4] * depth + [2], seed=depth, dtype="float64") for depth in (1, 5, 3)]
    check(cupy, ng.union(members), 6)


def test_after_edits(cupy):
    """Rows with slack and rows that moved; turns that are as they were where no neuron moved to another generation."""
    net = mixed(delays=False)
    rng = np.random.default_rng(0)
    for _ in range(3):
        check(cupy, net, 4)
        net.prune(net.connections[rng.choice(net.n_connections, 20, replace=False)])
        net.grow(net.inputs, net.neurons[10:40], 60)


@pytest.mark.parametrize("columns", sliced.COLUMNS)
def test_state_counts_as_inputs_do(cupy, columns):
    """Begun with a state, the weights that read it have gradients from there, and it has none itself."""
    net = mixed()
    n, history = net.graph.neurons.size, net.plan.history
    rng = np.random.default_rng(3)
    state = State(rng.normal(size=(6, history, n)), rng.normal(size=(6, n)))
    check(cupy, net, 6, 2, columns, state, constant=True)


def test_in_two_pieces_of_time(cupy):
    """The deltas of later steps go on into earlier ones, and gradients add up."""
    net = mixed()
    X, gradient = samples(net, 5, 7)
    truth = reference.forward(net.plan, X)
    reference.backward(net.plan, truth, gradient)
    expected = gradients(net)
    first = Arrays(cupy, net, X[:, :4], 8).forward()
    history = first.history
    acts, z = (a.get().reshape(-1, first.n, first.ld)[-history:, :, :5] for a in (first.acts, first.z))
    state = State(np.nan_to_num(acts.transpose(2, 0, 1)), np.nan_to_num(z[-1].T))
    second = Arrays(cupy, net, X[:, 4:], 8, state).forward()
    later = second.backward(gradient[:, 4:])
    # The weights between the pieces have their gradients from the earlier one, which holds both ends.
    first.backward(gradient[:, :4], add=True, later=later)
    for got, wanted in zip(gradients(net), expected, strict=True):
        np.testing.assert_allclose(got, wanted, 1e-9, 1e-10)


def test_same_bits_in_any_order_of_threads(cupy, emulated):
    """Nothing depends on which thread or block comes first."""
    net = mixed(dtype="float32", activations=("tanh", "relu"))
    X, gradient = samples(net, 37, 3)

    def run():
        arrays = Arrays(cupy, net, X, 8).forward()
        arrays.backward(gradient)
        return arrays.acts, arrays.delta, *gradients(net)

    emulated.in_orders(run)


def test_free_slots_have_no_gradient(cupy):
    """What stands behind a row's end is not touched."""
    net = mixed(delays=False)
    net.prune(net.connections[::3])
    X, gradient = samples(net, 4)
    run = Arrays(cupy, net, X, 8).forward()
    run.backward(gradient)
    net.graph.check()
    assert np.count_nonzero(net.graph.connections["grad"]) > 0


def test_turns():
    """Every neuron has one place, and none has one before its generation."""
    rng = np.random.default_rng(0)
    widths = rng.integers(1, 20, 30)
    offsets = np.concatenate([[0], np.cumsum(widths)])
    rows = rng.permutation(offsets[-1]).astype(np.int32)
    for groups in (1, 4, 16, 64):
        table = sliced.turns(rows, offsets, groups)
        assert table.dtype == np.int32 and table.shape[1] == groups
        assert table[table >= 0].tolist() == rows.tolist()
        generation = np.repeat(np.arange(len(widths)), widths)[np.argsort(rows)]
        for turn in table:
            assert len(set(generation[turn[turn >= 0]])) == 1


def test_what_pays():
    """Deep and narrow does, wide and special does not, and neither do sums that would fill the memory."""
    deep, wide = ng.topologies.layered([8] * 100), ng.topologies.layered([400] * 4)
    assert sliced.pays(deep.plan, 1024) and not sliced.pays(wide.plan, 64)
    assert sliced.has_room(deep.plan, 1024, 1) and not sliced.has_room(wide.plan, 2**14, 1)
    net = ng.Network()
    x, y = net.add_inputs(2), net.add_outputs(1, aggregation="product")
    net.connect(x, y)
    assert not sliced.pays(net.plan, 1) and not sliced.pays(ng.Network().plan, 1)
