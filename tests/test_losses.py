"""Losses against PyTorch, finite differences and hand values; every refusal; accuracy."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neurograph.backends import cpu
from neurograph.errors import InvalidValueError, UnknownNameError
from neurograph.functions import losses
from neurograph.functions.losses import LOSSES, accuracy, get

ELEMENTWISE = ["mse", "mae", "huber", "binary_cross_entropy"]


def make(name, rng, batch=17, n_outputs=5):
    """Outputs and a fitting Y."""
    outputs = rng.normal(scale=2, size=(batch, n_outputs))
    if name == "cross_entropy":
        return outputs, rng.integers(0, n_outputs, batch)
    return outputs, rng.random((batch, n_outputs))


def by_pytorch(name, outputs, Y):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    function = {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": F.smooth_l1_loss,
        "cross_entropy": F.cross_entropy,
        "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    }[name]
    z = torch.tensor(outputs, requires_grad=True)
    value = function(z, torch.tensor(Y))
    (gradient,) = torch.autograd.grad(value, z)
    return value.item(), gradient.numpy()


@pytest.mark.parametrize("shape", [(17, 5), (1, 1), (1, 3), (200, 10)])
@pytest.mark.parametrize("name", list(LOSSES))
def test_equals_pytorch(name, shape, rng):
    outputs, Y = make(name, rng, *shape)
    value, gradient = get(name)(outputs, Y)
    expected, expected_gradient = by_pytorch(name, outputs, Y)

    assert value == pytest.approx(expected, rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("normalised", [True, False])
def test_cross_entropy_of_probabilities_equals_pytorch(normalised, rng):
    outputs, Y = rng.normal(size=(9, 4)), rng.random((9, 4))
    if normalised:
        Y /= Y.sum(axis=1, keepdims=True)
    value, gradient = losses.cross_entropy(outputs, Y)
    expected, expected_gradient = by_pytorch("cross_entropy", outputs, Y)

    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "binary_cross_entropy", "cross_entropy"])
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_equals_pytorch_far_out(name, scale, rng):
    outputs, Y = make(name, rng)
    value, gradient = get(name)(outputs * scale, Y)
    expected, expected_gradient = by_pytorch(name, outputs * scale, Y)

    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_equals_a_central_difference(name, rng):
    outputs, Y = make(name, rng, 3, 4)
    loss, h, numeric = get(name), 1e-6, np.empty_like(outputs)
    for place in np.ndindex(outputs.shape):
        up, down = outputs.copy(), outputs.copy()
        up[place] += h
        down[place] -= h
        numeric[place] = (loss(up, Y)[0] - loss(down, Y)[0]) / (2 * h)

    np.testing.assert_allclose(loss(outputs, Y)[1], numeric, atol=1e-8)


def test_values_by_hand():
    outputs, Y = np.array([[0.0, 3.0], [1.0, -1.0]]), np.array([[0.5, 1.0], [1.0, 1.0]])

    assert losses.mse(outputs, Y)[0] == pytest.approx((0.25 + 4 + 0 + 4) / 4)
    assert losses.mae(outputs, Y)[0] == pytest.approx((0.5 + 2 + 0 + 2) / 4)
    assert losses.huber(outputs, Y)[0] == pytest.approx((0.125 + 1.5 + 0 + 1.5) / 4)
    assert losses.cross_entropy(outputs, [0, 0])[0] == pytest.approx(
        (math.log(1 + math.exp(3)) + math.log(1 + math.exp(-2))) / 2
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(LOSSES))
def test_types_of_the_result(name, dtype, rng):
    outputs, Y = make(name, rng)
    outputs = outputs.astype(dtype)
    before = outputs.copy()
    value, gradient = get(name)(outputs, Y)

    assert type(value) is float
    assert (gradient.dtype, gradient.shape) == (dtype, outputs.shape)
    assert gradient.flags.c_contiguous
    np.testing.assert_array_equal(outputs, before)


def test_float32_outputs_are_summed_in_float64():
    outputs, Y = np.full((200_000, 1), 0.1, np.float32), np.zeros((200_000, 1))
    assert losses.mae(outputs, Y)[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.float32, np.float64, bool, object])
def test_labels_of_any_lossless_type(dtype, rng):
    outputs, labels = rng.normal(size=(6, 2)), np.array([0, 1, 1, 0, 1, 0])
    if dtype is object:
        with pytest.raises(InvalidValueError, match="dtype object"):
            losses.cross_entropy(outputs, labels.astype(object))
    else:
        assert losses.cross_entropy(outputs, labels.astype(dtype))[0] == losses.cross_entropy(outputs, labels)[0]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_one_output_takes_a_flat_target(name, rng):
    outputs, Y = rng.normal(size=(6, 1)), rng.random((6, 1))
    flat, column = get(name)(outputs, Y[:, 0]), get(name)(outputs, Y)

    assert flat[0] == column[0]
    np.testing.assert_array_equal(flat[1], column[1])


@given(
    outputs=hnp.arrays(np.float32, (4, 3), elements=st.floats(-(2.0**99), 2.0**99, width=32)),
    labels=hnp.arrays(np.int64, 4, elements=st.integers(0, 2)),
)
def test_extreme_outputs_stay_finite_without_a_warning(outputs, labels):
    Y = np.eye(3)[labels]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [get(name)(outputs, Y) for name in LOSSES] + [losses.cross_entropy(outputs, labels)]

    for value, gradient in results:
        assert math.isfinite(value)
        assert value >= 0
        assert np.isfinite(gradient).all()
    np.testing.assert_allclose(results[-1][1].sum(axis=1), 0, atol=1e-6)
    assert results[-1][0] == pytest.approx(results[3][0], rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", list(LOSSES))
def test_outputs_that_overflowed_show_in_the_value(name, bad, rng):
    outputs, Y = make(name, rng)
    outputs[3, 1] = bad
    Y[...] = 1  # so that the bad output always counts
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, _ = get(name)(outputs, Y)

    if not (name == "binary_cross_entropy" and bad > 0):  # sigmoid(inf) = 1 is right at no cost
        assert not math.isfinite(value)


@pytest.mark.parametrize("name", ELEMENTWISE + ["cross_entropy"])
def test_nan_in_y_is_named_by_row_and_column(name, rng):
    outputs, Y = rng.normal(size=(6, 4)), rng.random((6, 4))
    Y[4, 2] = np.nan

    with pytest.raises(InvalidValueError, match=r"nan at row 4, column 2"):
        get(name)(outputs, Y)


def test_inf_in_a_flat_y_is_named():
    with pytest.raises(InvalidValueError, match=r"inf at row 1, column 0"):
        losses.mse(np.zeros((2, 1)), [0.0, math.inf])


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        ([0, 1, 3], r"label 3 at row 2 is out of range: 3 outputs allow labels 0 to 2"),
        ([0, -1, 5], r"label -1 at row 1"),
        (np.array([0, 2**63, 1], np.uint64), r"label 9223372036854775808 at row 1"),
        ([0.0, 1.5, 0.0], r"label 1.5 at row 1 is not a whole number"),
        ([0.0, 1.0, math.nan], r"label nan at row 2"),
        ([0.0, math.inf, 1.0], r"label inf at row 1"),
        ([0, 1], r"shape \(2,\)"),
        ([[0], [1], [2]], r"shape \(3, 1\)"),
        (["a", "b", "c"], "real numbers, not dtype"),
        ([0j, 1j, 2j], "real numbers, not dtype complex128"),
        ([[0, 1], [2], [3]], "not an array of numbers"),
        (np.array([[0.5, 0.5, 0.0], [0, 0, 1], [-0.5, 1.5, 0]]), "-0.5 at row 2, column 0"),
    ],
)
def test_cross_entropy_refuses(Y, message):
    with pytest.raises(InvalidValueError, match=message):
        losses.cross_entropy(np.zeros((3, 3)), Y)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(4,), (4, 1), (3, 4), (4, 3, 1), ()])
def test_unequal_shapes_never_broadcast(name, shape):
    with pytest.raises(InvalidValueError, match="have to be equal"):
        get(name)(np.zeros((4, 3)), np.zeros(shape))


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.zeros((0, 3)), "batch is empty"),
        (np.zeros((3, 0)), "no outputs"),
        (np.zeros(3), r"\(batch, n_outputs\), not \(3,\)"),
        ([["a"]], "real numbers"),
    ],
)
def test_outputs_are_checked(name, outputs, message):
    with pytest.raises(InvalidValueError, match=message):
        get(name)(outputs, np.zeros(np.shape(outputs)))


def test_binary_cross_entropy_refuses_what_is_no_probability():
    with pytest.raises(InvalidValueError, match=r"Y is 2.0 at row 1, column 0: probabilities lie between 0 and 1"):
        losses.binary_cross_entropy(np.zeros((2, 1)), [1, 2])


def test_a_function_of_the_user_passes():
    seen = []

    def half_squares(outputs, Y):
        seen.append((outputs, Y))
        return np.float32(((outputs - Y) ** 2).sum() / 2), (outputs - Y).astype(np.float64)

    outputs, Y = np.array([[1.0, 2.0]], np.float32), np.array([[0.0, 0.0]], np.float32)
    value, gradient = get(half_squares)(outputs, Y)

    assert seen[0][0] is outputs
    assert seen[0][1] is Y
    assert (type(value), value) == (float, 2.5)
    assert (gradient.dtype, gradient.tolist()) == (np.float32, [[1.0, 2.0]])
    assert get(half_squares).__name__ == "half_squares"
    assert get(losses.mse) is losses.mse


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (1.0, "pair"),
        ((1.0, 2.0, 3.0), "pair"),
        ((np.ones(2), np.ones((2, 3))), "one number"),
        ((1.0, np.ones((3, 2))), r"gradient of shape \(3, 2\); the outputs have \(2, 3\)"),
        ((1.0, np.ones((2, 3)) * 1j), "dtype complex128"),
        ((None, np.ones((2, 3))), "dtype object"),
    ],
)
def test_results_of_the_users_function_are_checked(result, message):
    with pytest.raises(InvalidValueError, match=message):
        get(lambda outputs, Y: result)(np.ones((2, 3)), None)


def test_unknown_loss_lists_the_known():
    with pytest.raises(UnknownNameError) as caught:
        get("crossentropy")

    assert all(name in str(caught.value) for name in LOSSES)
    with pytest.raises(InvalidValueError, match="write a name"):
        get(None)


def test_accuracy_counts():
    outputs = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.0]])
    signs = np.array([[-1.0, 2.0], [3.0, -4.0]])

    assert accuracy(outputs, [0, 2, 1, 2]) == 0.75
    assert accuracy(outputs, np.eye(3)[[0, 2, 1, 2]]) == 0.75
    assert accuracy(outputs, np.eye(3)[[0, 2, 1, 2]], loss="mse") == 0.75
    assert accuracy(signs, [[0, 1], [1, 1]], loss="binary_cross_entropy") == 0.75
    assert accuracy(signs, [[0, 1], [1, 1]], loss=losses.binary_cross_entropy) == 0.75
    assert accuracy([[-1.0], [2.0], [0.5], [-3.0]], [0, 1, 0, 0]) == 0.75
    with pytest.raises(InvalidValueError, match="label 3 at row 0"):
        accuracy(outputs, [3, 0, 0, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (33, 10), (200, 70)])
def test_compiled_cross_entropy_equals_its_definition(shape, dtype):
    """Also where an output is not finite, and for Y that it leaves to the definition."""
    rng = np.random.default_rng(shape[0])
    outputs, Y = (3 * rng.normal(size=shape)).astype(dtype), rng.integers(0, shape[1], shape[0])
    for part, targets in ((outputs, Y), (outputs, Y.astype(np.int32)), (outputs[::-1], Y)):
        value, gradient = cpu.LOSSES[losses.cross_entropy](part, targets)
        wanted, by_definition = losses.cross_entropy(part, targets)
        assert value == pytest.approx(wanted, rel=1e-13) and gradient.dtype == dtype
        np.testing.assert_allclose(gradient, by_definition, rtol=1e-6 if dtype == "float32" else 1e-13, atol=1e-15)
    outputs[0, 0] = np.nan
    assert np.isnan(cpu.LOSSES[losses.cross_entropy](outputs, Y)[0])
    for wrong in (Y - shape[1], Y + shape[1]):
        with pytest.raises(InvalidValueError, match="out of range"):
            cpu.LOSSES[losses.cross_entropy](outputs, wrong)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (33, 10), (200, 70)])
def test_compiled_mse_equals_its_definition(shape, dtype):
    """Also for Y that it leaves to the definition, which names what is not finite."""
    rng = np.random.default_rng(shape[0])
    outputs, Y = rng.normal(size=shape).astype(dtype), rng.normal(size=shape)
    compiled = cpu.LOSSES[losses.mse]
    others = (Y.astype(t) for t in ("float32", "longdouble", ">f8"))
    for part, targets in ((outputs, Y), (outputs[::-1], Y), *((outputs, other) for other in others)):
        value, gradient = compiled(part, targets)
        wanted, by_definition = losses.mse(part, targets)
        assert value == pytest.approx(wanted, rel=1e-13) and gradient.dtype == dtype
        np.testing.assert_allclose(gradient, by_definition, rtol=1e-6 if dtype == "float32" else 1e-13)
    Y[0, 0] = np.nan
    with pytest.raises(InvalidValueError, match="row 0, column 0"):
        compiled(outputs, Y)
    with pytest.raises(InvalidValueError, match="shape"):
        compiled(outputs, Y[:, :0])
