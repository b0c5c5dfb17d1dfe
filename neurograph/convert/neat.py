"""neat-python genomes to networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError, NotSupportedError
from ..network import Network
from .libraries import library

if TYPE_CHECKING:
    import neat


class Form(NamedTuple):
    """A function of neat-python as one of ours, ``function(scale * z)``, or two, ``function(by * first(scale * z))``.

    There are two where neat-python clips or scales in a way that no weight can express.
    """

    function: Any
    scale: float = 1.0
    first: Any = None
    by: float = 1.0


# neat/activations.py, neat-python 2.0. Where it clips the argument of an exponential so that the result is 0 or 1 to
# double precision anyhow (sigmoid, tanh, gauss), nothing needs to be done.
FORMS = {
    "sigmoid": Form("sigmoid", 5.0),
    "tanh": Form("tanh", 2.5),
    "sin": Form("sin", 5.0 / 60.0, "clamped", 60.0),  # sin(clip(5 z, -60, 60))
    "gauss": Form("gauss", math.sqrt(5.0)),
    "relu": Form("relu"),
    "elu": Form(("elu", 1.0)),
    "lelu": Form("lelu"),
    "selu": Form("selu"),
    "softplus": Form(("clipped_relu", 12.0), 5.0, "softplus", 0.2),  # 0.2 log(1 + exp(clip(5 z, -60, 60)))
    "identity": Form("identity"),
    "clamped": Form("clamped"),
    "inv": Form("inv"),
    "log": Form("log"),
    "exp": Form("exp"),
    "abs": Form("abs"),
    "hat": Form("hat"),
    "square": Form("square"),
    "cube": Form("cube"),
}
AGGREGATIONS = ("sum", "product", "max", "min", "maxabs", "median", "mean")


def from_neat(
    genome: neat.DefaultGenome,
    config: neat.Config,
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network that computes what neat-python's network of a genome computes.

    With ``feed_forward = True`` in the config that is `neat.nn.FeedForwardNetwork`. Otherwise it is
    `neat.nn.RecurrentNetwork`: inputs are read in the same time step (delay 0) and nodes one step ago (delay 1), so X
    is (batch, time, n_inputs) and one call runs what ``activate`` runs step by step from a fresh network (X is
    (batch, n_inputs) as long as no node reads another). Time constants of genes are ignored, as both classes do.

    A weight here is the gene's weight times the node's ``response`` and times the factor that neat-python puts before
    some functions: its sigmoid is ``1 / (1 + exp(-5 z))``; biases likewise. Nodes that neat-python does not evaluate
    are left out. "sin" and "softplus" become two neurons, since neat-python clips them; the one that carries the result
    stands for the node, and what joins the two is frozen.

    Parameters
    ----------
    genome : neat.DefaultGenome
    config : neat.Config
        The config that the genome was made with.
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network
        With groups "inputs", "hidden" and "outputs"; neurons have the node's key as their name: ``net.neuron("-1")``.

    Raises
    ------
    NotSupportedError
        If a node uses an activation or an aggregation that the config lacks, or one that a user registered.
    InvalidValueError
        If the genome lacks a node that its connections or the config name.
    MissingDependencyError
        If neat-python is not installed.

    Examples
    --------
    A genome that was evolved, trained on by back-propagation:

    >>> winner = population.run(evaluate, 50)  # doctest: +SKIP
    >>> net = ng.from_neat(winner, population.config)  # doctest: +SKIP
    >>> loss = net.backward(X, Y, loss="mse")  # doctest: +SKIP
    """
    nodes, recurrent = _phenotype(genome, config)
    input_keys, output_keys = list(config.genome_config.input_keys), list(config.genome_config.output_keys)
    # neat-python reads 0 from a node that it does not evaluate.
    read = {source for node in nodes.values() for source, _ in node.links} | set(output_keys)
    for key in read - set(nodes) - set(input_keys):
        nodes[key] = Node(FORMS["identity"], "sum", 0.0, ())
    hidden = sorted(set(nodes) - set(output_keys))
    keys = [*hidden, *output_keys]
    helped = [key for key in keys if nodes[key].form.first is not None]

    net = Network(seed=seed, dtype=dtype, backend=backend)
    inputs = net.add_inputs(len(input_keys), name="inputs")
    # The neuron that reads a node's links is its helper, if it has one.
    plain = [nodes[key] if nodes[key].form.first is None else Node(nodes[key].form) for key in keys]
    main = net.add_neurons(
        len(keys),
        activation=[node.form.function for node in plain],
        aggregation=[node.aggregation for node in plain],
        bias=[node.bias for node in plain],
    )
    helpers = net.add_neurons(
        len(helped),
        activation=[nodes[key].form.first for key in helped],
        aggregation=[nodes[key].aggregation for key in helped],
        bias=[nodes[key].bias for key in helped],
    )
    value = dict(zip([*input_keys, *keys], [*inputs.ids.tolist(), *main.ids.tolist()], strict=True))
    reader = value | dict(zip(helped, helpers.ids.tolist(), strict=True))
    links = [(source, key, weight) for key in keys for source, weight in nodes[key].links]
    net.add_connections(
        [value[source] for source, _, _ in links],
        [reader[key] for _, key, _ in links],
        weight=np.array([weight for *_, weight in links], float),
        delay=[int(recurrent and source in nodes) for source, _, _ in links],
    )
    second = net.group([value[key] for key in helped])
    joints = net.add_connections(
        helpers.ids, second.ids, weight=np.array([nodes[key].form.by for key in helped], float)
    )
    if helped:
        joints.frozen = True
        second.bias_frozen = True
    inputs.names, main.names = [str(key) for key in input_keys], [str(key) for key in keys]
    net.group([value[key] for key in hidden], name="hidden")
    net.mark_outputs([value[key] for key in output_keys])
    net.group([value[key] for key in output_keys], name="outputs")
    return net


class Node(NamedTuple):
    """A node in our terms: scales and response are in its bias and weights already."""

    form: Form
    aggregation: str = "sum"
    bias: float = 0.0
    links: tuple[tuple[int, float], ...] = ()


def _phenotype(genome: neat.DefaultGenome, config: neat.Config) -> tuple[dict[int, Node], bool]:
    """The nodes that neat-python evaluates, by key, and whether they read each other's last step."""
    nn, activations, aggregations = (library(f"neat.{name}", "neat") for name in ("nn", "activations", "aggregations"))
    recurrent = not config.genome_config.feed_forward
    # neat-python itself says which genes are expressed, so the two agree about disabled and unused ones.
    network = nn.RecurrentNetwork if recurrent else nn.FeedForwardNetwork
    try:
        evals = network.create(genome, config).node_evals
    except (activations.InvalidActivationFunction, aggregations.InvalidAggregationFunction) as error:
        raise NotSupportedError(f"the config lacks a function of the genome: {error}. {_supported()}") from error
    except KeyError as error:
        raise InvalidValueError(
            f"the genome has no node {error}; give the config that the genome was made with"
        ) from error
    forms = {getattr(activations, f"{name}_activation"): form for name, form in FORMS.items()}
    names = {getattr(aggregations, f"{name}_aggregation"): name for name in AGGREGATIONS}
    nodes = {}
    for key, activation, aggregation, bias, response, links in evals:
        gene = genome.nodes[key]
        for what, function, known in (("activation", activation, forms), ("aggregation", aggregation, names)):
            if function not in known:
                raise NotSupportedError(
                    f"node {key} has the {what} {getattr(gene, what)!r}, which is not neat-python's own. {_supported()}"
                )
        nodes[key] = _translated(forms[activation], names[aggregation], aggregation, bias, response, links)
    return nodes, recurrent


def _translated(form: Form, name: str, aggregate: Any, bias: float, response: float, links: Any) -> Node:
    """``activation(bias + response * aggregate(...))`` with the response and the scale moved into bias and weights."""
    if not links:
        return Node(form, "sum", form.scale * (bias + response * aggregate([])))
    factor = form.scale * response
    if name == "product":
        (source, weight), *others = links
        scaled = ((source, weight * factor), *others)
    else:
        scaled = tuple((source, weight * factor) for source, weight in links)
        if factor < 0:
            name = {"max": "min", "min": "max"}.get(name, name)
    return Node(form, name, form.scale * bias, scaled)


def _supported() -> str:
    return f"Supported activations: {', '.join(FORMS)}; aggregations: {', '.join(AGGREGATIONS)}"
