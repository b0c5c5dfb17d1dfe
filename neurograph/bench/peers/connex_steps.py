"""Connex's side of the comparison, run as a script by a Python that has Connex: a graph comes in, seconds go out.

Imports nothing of neurograph, which that Python need not have.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main(work: dict[str, Any]) -> dict[str, Any]:
    """Train a step, then remove a connection and train the next one, some times over.

    Parameters
    ----------
    work : dict
        "graph", an adjacency mapping of source to targets; "inputs", "outputs"; "X", "Y"; "edits", pairs to remove.

    Returns
    -------
    dict
        Seconds: "first" to the first step, "step" of a plain one, "edits" of an edit with the step that follows; and
        "peak_mib", by how much the process grew after its imports.
    """
    import connex as cnx
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    before = peak_mib()
    x, y = jnp.array(work["X"], jnp.float32), jnp.array(work["Y"])
    graph = {int(source): targets for source, targets in work["graph"].items()}
    adam = optax.adam(1e-3)

    @eqx.filter_value_and_grad
    def loss(model: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model.batched(x), y).mean()

    @eqx.filter_jit
    def train(model: Any, state: Any) -> tuple[Any, Any, Any]:
        value, gradient = loss(model)
        updates, state = adam.update(gradient, state, model)
        return eqx.apply_updates(model, updates), state, value

    def step(model: Any, state: Any) -> tuple[Any, Any]:
        model, state, value = train(model, state)
        jax.block_until_ready(value)
        return model, state

    def fresh(model: Any) -> Any:
        return adam.init(eqx.filter(model, eqx.is_array))

    start = time.perf_counter()
    spec = cnx.GraphSpec(graph, inputs=work["inputs"], outputs=work["outputs"])
    model = cnx.NeuralDAG(spec, ops=cnx.ops.default_ops(activation=jax.nn.relu), key=jax.random.key(0))
    model, state = step(model, fresh(model))
    first = time.perf_counter() - start
    plain, edits = [], []
    for pair in work["edits"]:
        for _ in range(5):
            start = time.perf_counter()
            model, state = step(model, state)
            plain.append(time.perf_counter() - start)
        start = time.perf_counter()
        model = cnx.edit(model).remove_edges([tuple(pair)]).build(key=jax.random.key(1))
        model, state = step(model, fresh(model))
        edits.append(time.perf_counter() - start)
    after = peak_mib()
    grown = None if before is None or after is None else after - before
    return {"first": first, "step": sorted(plain)[len(plain) // 2], "edits": edits, "peak_mib": grown}


def peak_mib() -> float | None:
    """The most that this process ever had in memory; None outside Linux."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))
    except OSError:
        return None


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
