"""What a GPU may round to: asked for, refused and kept; the other backends compute exactly."""

import numpy as np
import pytest

import neurograph as ng


def test_precision_is_kept_in_files_and_unions(tmp_path):
    """And the plan is lowered anew, for it depends on it."""
    net = ng.topologies.layered([3, 4, 2], seed=0)
    exact = net.predict(np.eye(3))
    lowered = net.plans_lowered
    net.precision = "bf16"
    np.testing.assert_array_equal(net.predict(np.eye(3)), exact)  # on the CPU
    assert net.plans_lowered == lowered + 1
    net.save(tmp_path / "model.ng")
    assert ng.load(tmp_path / "model.ng").precision == "bf16"
    assert ng.union([net, net]).precision == "bf16"
    assert ng.Network(precision="tf32").precision == "tf32"


@pytest.mark.parametrize("value", ["float16", None, 16])
def test_unknown_precision_is_refused(value):
    """Those that are known are listed."""
    net = ng.Network()
    with pytest.raises(ng.InvalidValueError, match="float32, tf32, bf16"):
        net.precision = value
    assert net.precision == "float32"


def test_float64_is_not_rounded():
    """A network made for checks keeps all its bits."""
    with pytest.raises(ng.InvalidValueError, match="dtype float32, not float64"):
        ng.Network(dtype="float64", precision="bf16")
