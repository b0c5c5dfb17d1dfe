"""Activations against PyTorch, hand values and finite differences; parsing; aggregations."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neurograph.errors import InvalidValueError, UnknownNameError
from neurograph.functions import activations, aggregations
from neurograph.functions.activations import ACTIVATIONS

NAMES = list(ACTIVATIONS)
CONTRACT = (
    "identity relu leaky_relu clipped_relu elu gelu silu sigmoid tanh softplus sin gauss step abs square clamped hat "
    "selu lelu inv log exp cube"
)
FROM_OUTPUT = [a.name for a in ACTIVATIONS.values() if a.from_output]
# Where the function has a kink or a jump, a finite difference means nothing.
KINKS = {
    "clipped_relu": [0.0, 6.0],
    "inv": [0.0],
    "log": [1e-7],
    "clamped": [-1.0, 1.0],
    "hat": [-1.0, 0.0, 1.0],
    "exp": [-60.0, 60.0],
} | dict.fromkeys(["relu", "leaky_relu", "lelu", "elu", "selu", "step", "abs"], [0.0])


def default(activation):
    return 0.0 if activation.default is None else activation.default


def torch_function(torch, name):
    F = torch.nn.functional
    return {
        "identity": lambda z: z * 1,
        "relu": torch.relu,
        "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
        "clipped_relu": F.relu6,
        "elu": F.elu,
        "gelu": F.gelu,
        "silu": F.silu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": lambda z: F.softplus(z, threshold=1e9),
        "sin": torch.sin,
        "gauss": lambda z: torch.exp(-z * z),
        "step": lambda z: (z > 0).to(z) + 0 * z,
        "abs": torch.abs,
        "square": torch.square,
        "hat": lambda z: torch.relu(1 - torch.abs(z)),
        "selu": F.selu,
        "lelu": lambda z: F.leaky_relu(z, 0.005),
        "inv": torch.reciprocal,
        "exp": torch.exp,
        "cube": lambda z: z**3,
    }[name]


def test_names_and_codes_are_the_contract():
    assert " ".join(ACTIVATIONS) == CONTRACT
    assert [a.code for a in ACTIVATIONS.values()] == list(range(23))
    assert " ".join(FROM_OUTPUT) == "identity relu leaky_relu clipped_relu elu sigmoid tanh clamped selu lelu exp"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("clamped", "log")])
def test_value_and_derivative_equal_pytorch(name, rng):
    torch = pytest.importorskip("torch")
    z = np.concatenate([rng.normal(scale=3, size=200), [-30.0, -8.5, 8.5, 30.0], [] if name == "inv" else [0.0]])
    z_torch = torch.tensor(z, requires_grad=True)
    y_torch = torch_function(torch, name)(z_torch)
    (slope_torch,) = torch.autograd.grad(y_torch.sum(), z_torch)
    activation = ACTIVATIONS[name]

    y = activation.function(z, default(activation))
    slope = activation.derivative(z, y, default(activation))

    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope, slope_torch.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_equals_a_central_difference(name, rng):
    activation, h = ACTIVATIONS[name], 1e-6
    z = rng.uniform(-8, 8, 500)
    for kink in KINKS.get(name, []):
        z = z[np.abs(z - kink) > 0.05]
    p = default(activation)
    y = activation.function(z, p)
    numeric = (activation.function(z + h, p) - activation.function(z - h, p)) / (2 * h)

    np.testing.assert_allclose(activation.derivative(z, y, p), numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "z", "y", "slope"),
    [
        ("clamped", [-2, -1, -0.5, 1, 3], [-1, -1, -0.5, 1, 1], [0, 0, 1, 0, 0]),
        ("clipped_relu", [-1, 0, 1, 6, 7], [0, 0, 1, 6, 6], [0, 0, 1, 0, 0]),
        ("hat", [-2, -1, -0.25, 0, 0.25, 1], [0, 0, 0.75, 1, 0.75, 0], [0, 0, 1, 0, -1, 0]),
        ("step", [-1, 0, 1e-9], [0, 0, 1], [0, 0, 0]),
        ("inv", [-2, 0, 4], [-0.5, 0, 0.25], [-0.25, 0, -0.0625]),
        ("log", [-1, 1e-8, 1, 2], [math.log(1e-7), math.log(1e-7), 0, math.log(2)], [0, 0, 1, 0.5]),
        ("exp", [-61, -60, 0, 60, 99], [math.exp(-60), math.exp(-60), 1, math.exp(60), math.exp(60)], [0, 0, 1, 0, 0]),
        ("abs", [-3, 0, 2], [3, 0, 2], [-1, 0, 1]),
        ("relu", [-3, 0, 2], [0, 0, 2], [0, 0, 1]),
    ],
)
def test_values_and_kinks_by_hand(name, z, y, slope):
    activation, z = ACTIVATIONS[name], np.array(z, dtype=np.float64)
    p = default(activation)

    np.testing.assert_allclose(activation.function(z, p), y, rtol=1e-15)
    np.testing.assert_allclose(activation.derivative(z, activation.function(z, p), p), slope, rtol=1e-15)


def test_gelu_is_the_erf_form():
    expected = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in (-1.5, 0.3, 2.0)]
    np.testing.assert_allclose(ACTIVATIONS["gelu"].function(np.array([-1.5, 0.3, 2.0]), 0.0), expected, rtol=1e-14)


@pytest.mark.parametrize("name", FROM_OUTPUT)
def test_derivative_from_the_output_alone(name, rng):
    activation = ACTIVATIONS[name]
    p, z = default(activation), rng.normal(scale=4, size=100)
    y = activation.function(z, p)

    np.testing.assert_array_equal(activation.derivative(None, y, p), activation.derivative(z, y, p))


@pytest.mark.parametrize("name", ["leaky_relu", "clipped_relu", "elu"])
def test_a_parameter_each(name, rng):
    activation, z = ACTIVATIONS[name], rng.normal(size=(3, 50)).astype(np.float32)
    parameters = np.array([[0.2], [0.7], [1.5]])  # float64: must not widen the result

    y = activation.function(z, parameters)
    slope = activation.derivative(z, y, parameters)

    assert y.dtype == slope.dtype == np.float32
    for row, p in enumerate(parameters[:, 0]):
        np.testing.assert_array_equal(y[row], activation.function(z[row], p))
        np.testing.assert_array_equal(slope[row], activation.derivative(z[row], y[row], p))
    rows = activation.function(np.array([[-1.0, 10.0]]), parameters)
    assert len(np.unique(rows, axis=0)) == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_dtype_and_shape_stay(name, dtype, rng):
    activation = ACTIVATIONS[name]
    z = rng.normal(size=(4, 5)).astype(dtype)
    p = np.float64(default(activation))  # a NumPy scalar would promote under NEP 50
    y = activation.function(z, p)
    slope = activation.derivative(z, y, p)

    assert (y.dtype, y.shape) == (slope.dtype, slope.shape) == (dtype, z.shape)
    assert not np.shares_memory(y, z)


@given(
    z=st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(dtype, 8, elements=st.floats(-10_000, 10_000, width=32))
    ),
    name=st.sampled_from([name for name in NAMES if name != "inv"]),
)
def test_large_arguments_stay_finite_without_a_warning(z, name):
    activation = ACTIVATIONS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = activation.function(z, default(activation))
        slope = activation.derivative(z, y, default(activation))

    assert np.isfinite(y).all()
    assert np.isfinite(slope).all()


@given(hnp.arrays(np.float64, 8, elements=st.floats(-10_000, 10_000)))
def test_identities(z):
    f = {name: ACTIVATIONS[name].function(z, 0.0) for name in ("sigmoid", "softplus", "silu", "gelu", "relu")}
    mirrored = {name: ACTIVATIONS[name].function(-z, 0.0) for name in f}

    np.testing.assert_allclose(f["sigmoid"] + mirrored["sigmoid"], 1, rtol=1e-14)
    np.testing.assert_allclose(f["softplus"] - mirrored["softplus"], z, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(f["silu"] - mirrored["silu"], z, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(f["gelu"] - mirrored["gelu"], z, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(f["relu"] + mirrored["relu"], np.abs(z))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("step", "hat")])
def test_nan_is_not_hidden(name):
    activation = ACTIVATIONS[name]
    assert np.isnan(activation.function(np.array([np.nan]), default(activation))).all()


@pytest.mark.parametrize("name", NAMES)
def test_parse_and_spec_are_inverse(name):
    code, parameter = activations.parse(name)

    assert (code, parameter) == (ACTIVATIONS[name].code, default(ACTIVATIONS[name]))
    assert activations.parse(activations.spec(code, parameter)) == (code, parameter)
    assert activations.by_code(code) is ACTIVATIONS[name]


def test_parse_takes_pairs():
    assert activations.parse(("leaky_relu", 0.3)) == (2, 0.3)
    assert activations.parse(["elu", np.float32(2)]) == (4, 2.0)
    assert activations.parse(("clipped_relu", 32)) == (3, 32.0)
    assert activations.spec(np.int8(2), np.float32(0.01)) == ("leaky_relu", 0.01)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (("relu", 0.1), "takes no parameter"),
        (("lelu", 0.1), "takes no parameter"),
        (("leaky_relu", math.nan), "finite slope"),
        (("leaky_relu", math.inf), "finite slope"),
        (("leaky_relu", -0.1), "slope of at least 0"),
        (("clipped_relu", 0.0), "upper bound above 0"),
        (("elu", 0), "alpha above 0"),
        (("elu", "1"), "takes a number"),
        (("elu", True), "takes a number"),
        (("elu", None), "takes a number"),
        (("elu", 1.0, 2.0), "pair"),
        (7, "write a name"),
        (None, "write a name"),
        ((1.0, "elu"), "write a name"),
    ],
)
def test_parse_refuses(spec, message):
    with pytest.raises(InvalidValueError, match=message):
        activations.parse(spec)


@pytest.mark.parametrize("spec", ["rleu", ("rleu", 0.1), ""])
def test_unknown_activation_lists_the_known(spec):
    with pytest.raises(UnknownNameError) as caught:
        activations.parse(spec)

    assert "unknown activation" in str(caught.value)
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize("code", [-1, 23])
def test_unknown_activation_code(code):
    with pytest.raises(InvalidValueError, match="0 to 22"):
        activations.by_code(code)


def test_aggregations_and_their_errors():
    names = ["sum", "mean", "product", "max", "min", "maxabs", "median"]

    assert [aggregations.parse(name) for name in names] == list(range(7))
    assert [aggregations.name(code) for code in range(7)] == names
    with pytest.raises(UnknownNameError, match="sum, mean, product, max, min"):
        aggregations.parse("mode")
    with pytest.raises(InvalidValueError, match="write a name"):
        aggregations.parse(3)
    with pytest.raises(InvalidValueError, match="0 to 6"):
        aggregations.name(7)
