"""Every figure of Matt Mazur's worked example, to the digits that he prints."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("mazur", Path(__file__).parents[1] / "examples" / "mazur.py")
mazur = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mazur)


def test_before_training():
    net, _ = mazur.build()
    # out_h1, out_h2, out_o1, out_o2 and the total error
    assert net.activations(mazur.X)[0, 2:] == pytest.approx(
        [0.593269992, 0.596884378, 0.75136507, 0.772928465], abs=5e-9
    )
    assert net.backward(mazur.X, mazur.Y, loss=mazur.half_squared_error) == pytest.approx(0.298371109, abs=5e-10)


def test_gradient_of_w5_and_w1():
    net, w = mazur.build()
    net.backward(mazur.X, mazur.Y, loss=mazur.half_squared_error)
    assert w[4].grad == pytest.approx(0.082167041, abs=5e-10)
    assert w[0].grad == pytest.approx(0.000438568, abs=5e-10)


def test_weights_after_one_step():
    net, w = mazur.build()
    biases = net.neurons.bias.tolist()
    mazur.train(net, 1)
    expected = [
        0.149780716, 0.19956143, 0.24975114, 0.29950229,  # w1 to w4
        0.35891648, 0.408666186, 0.511301270, 0.561370121,  # w5 to w8
    ]  # fmt: skip
    digits = [9, 8, 8, 8, 8, 9, 9, 9]
    assert [round(c.weight, d) for c, d in zip(w, digits, strict=True)] == expected
    assert net.neurons.bias.tolist() == biases


def test_total_error_after_ten_thousand_steps():
    net, _ = mazur.build()
    mazur.train(net, 1)
    assert mazur.total_error(net) == pytest.approx(0.291027924, abs=2e-7)  # the article's last three digits are off
    mazur.train(net, 9_999)
    assert round(mazur.total_error(net), 7) == 0.0000351
    assert net.predict(mazur.X)[0] == pytest.approx([0.015912196, 0.984065734], abs=2e-6)
