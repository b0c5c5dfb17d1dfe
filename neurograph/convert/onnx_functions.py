"""Our functions in ONNX: by a standard operator where there is one, else by a function that the model carries.

onnxruntime has no double precision kernels for Elu, Selu, Softplus and Erf; these are written out then. Functions are
expressed in standard operators only, and a runtime inlines them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..functions.activations import EXP_LIMIT, LELU_SLOPE, LOG_FLOOR, SELU_ALPHA, SELU_SCALE

DOMAIN = PRODUCER = "neurograph"
STATE, NEXT_STATE = "state", "next_state"
OPSET = 18

SINGLE_ONLY = ("elu", "selu", "softplus")  # standard operators without kernels in double precision
OPERATORS = {
    "relu": "Relu",
    "selu": "Selu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softplus": "Softplus",
    "sin": "Sin",
    "abs": "Abs",
}
# Bodies in ONNX's text format. A constant is written in double precision and cast to the type of z.
FUNCTIONS: dict[str, tuple[str, str]] = {
    "gelu": (
        "z",
        """
        scaled = Mul (z, #0.70710678118654752)
        single = Cast <to = 1> (scaled)
        erf = Erf (single)
        wide = CastLike (erf, z)
        more = Add (wide, #1.0)
        twice = Mul (z, more)
        y = Mul (twice, #0.5)
        """,
    ),
    "silu": ("z", "gate = Sigmoid (z)  y = Mul (z, gate)"),
    "gauss": ("z", "square = Mul (z, z)  less = Neg (square)  y = Exp (less)"),
    "step": ("z", "above = Greater (z, #0.0)  y = CastLike (above, z)"),
    "square": ("z", "y = Mul (z, z)"),
    "cube": ("z", "square = Mul (z, z)  y = Mul (square, z)"),
    "hat": ("z", "size = Abs (z)  down = Sub (#1.0, size)  y = Relu (down)"),
    "inv": ("z", "zero = Equal (z, #0.0)  inverse = Reciprocal (z)  y = Where (zero, #0.0, inverse)"),
    "log": ("z", f"above = Max (z, #{LOG_FLOOR!r})  y = Log (above)"),
    "exp": ("z", f"near = Clip (z, #-{EXP_LIMIT!r}, #{EXP_LIMIT!r})  y = Exp (near)"),
    "softplus": (
        "z",
        """
        size = Abs (z)
        less = Neg (size)
        small = Exp (less)
        more = Add (small, #1.0)
        log = Log (more)
        positive = Relu (z)
        y = Add (positive, log)
        """,
    ),
    "selu": (
        "z",
        f"""
        low = Min (z, #0.0)
        power = Exp (low)
        less = Sub (power, #1.0)
        negative = Mul (less, #{SELU_ALPHA!r})
        positive = Relu (z)
        both = Add (positive, negative)
        y = Mul (both, #{SELU_SCALE!r})
        """,
    ),
    "elu": (
        "z, alpha",
        """
        low = Min (z, #0.0)
        power = Exp (low)
        less = Sub (power, #1.0)
        negative = Mul (less, alpha)
        positive = Relu (z)
        y = Add (positive, negative)
        """,
    ),
    "clipped_relu": ("z, bound", "positive = Relu (z)  y = Min (positive, bound)"),
}
# Aggregations over the first axis; the first of the terms that are equally far from zero is the oldest connection's.
AGGREGATIONS: dict[str, tuple[str, str]] = {
    "maxabs": (
        "z",
        """
        size = Abs (z)
        first = ArgMax <axis = 0, keepdims = 1> (size)
        found = GatherElements <axis = 0> (z, first)
        axis = Constant <value_ints = [0]> ()
        y = Squeeze (found, axis)
        """,
    ),
    "median": (
        "z, count, middle",
        """
        largest, which = TopK <axis = 0> (z, count)
        two = Gather <axis = 0> (largest, middle)
        axis = Constant <value_ints = [0]> ()
        y = ReduceMean <keepdims = 0> (two, axis)
        """,
    ),
}


def function_text(name: str) -> str:
    """A function in ONNX's text format, as `onnx.parser.parse_function` reads it.

    Examples
    --------
    >>> print(function_text("silu"))
    <domain: "neurograph", opset_import: ["" : 18]>
    silu (z) => (y) { gate = Sigmoid (z)  y = Mul (z, gate) }
    """
    arguments, body = (FUNCTIONS | AGGREGATIONS)[name]
    pieces = body.split("#")
    constants, text = "", pieces[0]
    for i, piece in enumerate(pieces[1:]):
        number = next(piece[:end] for end in range(len(piece), 0, -1) if _is_number(piece[:end]))
        constants += f"wide_{i} = Constant <value = double {{{number}}}> ()  c_{i} = CastLike (wide_{i}, z)  "
        text += f"c_{i}{piece[len(number) :]}"
    header = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    return f"{header}\n{name} ({arguments}) => (y) {{ {constants}{text.strip()} }}"


def spell(graph: Any, name: str, parameters: np.ndarray, z: str) -> str:
    """Write one activation function.

    Parameters
    ----------
    graph : GraphWriter
    name : str
    parameters : array
        One for each column of z, ignored where the function takes none.
    z : str
        A tensor of shape (batch, n).

    Returns
    -------
    str
        The tensor of outputs.
    """
    first = float(parameters.flat[0])
    uniform = bool((parameters == parameters.flat[0]).all())
    single = graph.dtype == np.float32
    if name == "identity":
        return z
    if name in ("lelu", "leaky_relu"):
        slope = LELU_SLOPE if name == "lelu" else first
        if single and (uniform or name == "lelu"):
            return graph.node("LeakyRelu", z, alpha=slope)
        # An attribute has single precision only.
        return graph.node("PRelu", z, graph.floats(np.full_like(parameters, slope) if uniform else parameters, "slope"))
    if name == "clamped":
        return graph.node("Clip", z, graph.floats(-1.0, "low"), graph.floats(1.0, "high"))
    if name == "clipped_relu" and uniform:
        return graph.node("Clip", z, graph.floats(0.0, "low"), graph.floats(first, "high"))
    if name == "elu" and uniform and single:
        return graph.node("Elu", z, alpha=first)
    if name in OPERATORS and (single or name not in SINGLE_ONLY):
        return graph.node(OPERATORS[name], z)
    takes: Sequence[str] = FUNCTIONS[name][0].split(", ")[1:]
    return graph.call(name, z, *(graph.floats(parameters, what) for what in takes))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[-1].isspace()
