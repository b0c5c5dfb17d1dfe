"""neat-python's genomes: the network computes what neat-python's own networks do, step by step."""

import random

import numpy as np
import pytest

import neurograph as ng

neat = pytest.importorskip("neat")

ACTIVATIONS = "sigmoid tanh sin gauss relu elu lelu selu softplus identity clamped inv log exp abs hat square cube"
AGGREGATIONS = "sum product max min maxabs median mean"
CONFIG = """
[NEAT]
fitness_criterion = max
fitness_threshold = 1
pop_size = 2
reset_on_extinction = False
no_fitness_termination = True
[DefaultGenome]
activation_default = random
activation_mutate_rate = 0.3
activation_options = {activations}
aggregation_default = random
aggregation_mutate_rate = 0.3
aggregation_options = {aggregations}
bias_init_mean = 0.0
bias_init_stdev = 1.0
bias_init_type = gaussian
bias_max_value = 30.0
bias_min_value = -30.0
bias_mutate_power = 0.5
bias_mutate_rate = 0.7
bias_replace_rate = 0.1
compatibility_disjoint_coefficient = 1.0
compatibility_weight_coefficient = 0.5
conn_add_prob = 0.7
conn_delete_prob = 0.2
enabled_default = True
enabled_mutate_rate = 0.1
enabled_rate_to_true_add = 0.0
enabled_rate_to_false_add = 0.0
feed_forward = {feed_forward}
initial_connection = partial_direct 0.6
node_add_prob = 0.4
node_delete_prob = 0.1
num_hidden = 3
num_inputs = 4
num_outputs = 3
response_init_mean = 1.0
response_init_stdev = 1.0
response_init_type = gaussian
response_max_value = 30.0
response_min_value = -30.0
response_mutate_power = 0.5
response_mutate_rate = 0.3
response_replace_rate = 0.1
single_structural_mutation = False
structural_mutation_surer = default
weight_init_mean = 0.0
weight_init_stdev = 1.0
weight_init_type = gaussian
weight_max_value = 30
weight_min_value = -30
weight_mutate_power = 0.5
weight_mutate_rate = 0.8
weight_replace_rate = 0.1
[DefaultSpeciesSet]
compatibility_threshold = 3.0
[DefaultStagnation]
species_fitness_func = max
max_stagnation = 20
species_elitism = 2
[DefaultReproduction]
elitism = 2
survival_threshold = 0.2
min_species_size = 2
"""


@pytest.fixture
def configured(tmp_path):
    def make(feed_forward):
        path = tmp_path / "config"
        path.write_text(CONFIG.format(feed_forward=feed_forward, activations=ACTIVATIONS, aggregations=AGGREGATIONS))
        parts = neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet, neat.DefaultStagnation
        config = neat.Config(*parts, str(path))
        config.genome_config.innovation_tracker = neat.innovation.InnovationTracker()
        return config

    return make


def evolved(config, seed, mutations=25):
    """A genome that neat-python mutated many times."""
    random.seed(seed)
    genome = neat.DefaultGenome(0)
    genome.configure_new(config.genome_config)
    for _ in range(mutations):
        genome.mutate(config.genome_config)
    return genome


def run(genome, config, X):
    """What neat-python computes, sample by sample or step by step; None where its numbers overflow."""
    kind = neat.nn.FeedForwardNetwork if config.genome_config.feed_forward else neat.nn.RecurrentNetwork
    network = kind.create(genome, config)
    try:
        Y = np.array([network.activate(x) for x in X.tolist()])
    except OverflowError:
        return None
    return Y if np.isfinite(Y).all() else None


def predict(net, X):
    """Ours over the same steps."""
    return net.predict(X[None])[0] if net.remembers else net.predict(X)


def used(genome, config):
    kind = neat.nn.FeedForwardNetwork if config.genome_config.feed_forward else neat.nn.RecurrentNetwork
    keys = [key for key, *_, links in kind.create(genome, config).node_evals if links]
    return {genome.nodes[key].activation for key in keys} | {genome.nodes[key].aggregation for key in keys}


@pytest.mark.parametrize("feed_forward", [True, False])
def test_evolved_genomes_compute_the_same(configured, feed_forward, rng):
    config = configured(feed_forward)
    compared, seen = 0, set()
    for seed in range(60):
        genome = evolved(config, seed)
        X = rng.normal(size=(25, 4))
        expected, again = run(genome, config, X), run(genome, config, X * (1 + 1e-13))
        if expected is None or again is None or np.abs(expected).max() > 1e6:
            continue
        # In a chaotic network rounding errors grow: as far as neat-python agrees with itself.
        steps = int((np.abs(again - expected) < 1e-9).all(axis=1).cumprod().sum())
        net = ng.from_neat(genome, config, dtype="float64")
        np.testing.assert_allclose(
            predict(net, X)[:steps], expected[:steps], rtol=1e-6, atol=1e-6, err_msg=f"genome {seed}"
        )
        compared += steps
        seen |= used(genome, config)
    assert compared > 40 * 25 and {*ACTIVATIONS.split(), *AGGREGATIONS.split()} <= seen


def hand_made(config, activation, aggregation, response, bias):
    """Four inputs into one node of the kind asked for, its result into an identity output; two outputs see nothing."""
    genome = neat.DefaultGenome(0)
    for key in (0, 1, 2, 7, 8):
        gene = neat.genes.DefaultNodeGene(key)
        gene.bias, gene.response, gene.activation, gene.aggregation = 0.25, 1.0, "identity", "sum"
        genome.nodes[key] = gene
    node = genome.nodes[7]
    node.bias, node.response, node.activation, node.aggregation = bias, response, activation, aggregation
    links = {(-1, 7): 1.5, (-2, 7): -0.5, (-3, 7): 0.75, (-4, 7): 2.0, (7, 0): 0.5, (7, 1): -1.0, (-1, 8): 1.0}
    for number, (key, weight) in enumerate(links.items()):
        gene = neat.genes.DefaultConnectionGene(key, innovation=number)
        gene.weight, gene.enabled = weight, key != (7, 1)
        genome.connections[key] = gene
    return genome


@pytest.mark.parametrize("feed_forward", [True, False])
@pytest.mark.parametrize("aggregation", AGGREGATIONS.split())
@pytest.mark.parametrize("activation", ACTIVATIONS.split())
def test_every_function_in_float32(configured, activation, aggregation, feed_forward, rng):
    config = configured(feed_forward)
    for response, bias in ((1.0, 0.3), (-0.7, -0.2), (0.0, 0.4)):
        genome = hand_made(config, activation, aggregation, response, bias)
        X = rng.uniform(-2, 2, size=(16, 4))
        net = ng.from_neat(genome, config)
        np.testing.assert_allclose(predict(net, X), run(genome, config, X), rtol=1e-4, atol=1e-5)
        # Node 8 feeds nothing, and 7 -> 1 is disabled.
        assert net.groups["hidden"].names.tolist() == ["7"] and net.neuron("7").fan_out == 1
        assert net.inputs.names.tolist() == ["-1", "-2", "-3", "-4"] and net.outputs.names.tolist() == ["0", "1", "2"]


@pytest.mark.parametrize("activation", ["sin", "softplus", "sigmoid", "tanh", "gauss", "exp", "log"])
def test_clipped_arguments(configured, activation):
    """Far outside, where neat-python clips."""
    config = configured(True)
    genome = hand_made(config, activation, "sum", 1.0, 0.0)
    X = np.linspace(-40, 40, 33)[:, None] * [1.0, 0.0, 0.0, 0.0]
    net = ng.from_neat(genome, config, dtype="float64")
    np.testing.assert_allclose(net.predict(X), run(genome, config, X), rtol=1e-9, atol=1e-9)


def test_what_a_node_needs_besides_stays_as_it_is(configured, rng):
    """neat-python's softplus is two neurons here; training moves no more than its weights and its bias."""
    net = ng.from_neat(hand_made(configured(True), "softplus", "sum", 1.0, 0.0), configured(True))
    clip, bend = net.neuron("7"), net.neuron("7").predecessors[0]
    assert (clip.fan_in, bend.fan_in) == (1, 4)
    for _ in range(3):
        net.backward(rng.normal(size=(8, 4)), np.zeros((8, 3)), loss="mse")
        ng.optim.SGD(lr=0.1).step(net)
    assert clip.inputs.weight == np.float32(0.2) and clip.bias == 0 and bend.bias != 0


@pytest.mark.parametrize("feed_forward", [True, False])
@pytest.mark.parametrize("aggregation", AGGREGATIONS.split())
def test_nodes_without_inputs(configured, aggregation, feed_forward):
    """An aggregation of nothing: a bias neuron, or 0 in a recurrent network, which does not evaluate it."""
    config = configured(feed_forward)
    genome = hand_made(config, "tanh", aggregation, 1.5, 0.3)
    for key in [(-1, 7), (-2, 7), (-3, 7), (-4, 7)]:
        genome.connections[key].enabled = False
    X = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_allclose(predict(ng.from_neat(genome, config), X), run(genome, config, X), atol=1e-6)


def test_refusals(configured):
    config = configured(True)
    genome = hand_made(config, "tanh", "sum", 1.0, 0.0)
    config.genome_config.add_activation("mine", lambda z: z)
    genome.nodes[7].activation = "mine"
    with pytest.raises(ng.NotSupportedError, match="node 7 has the activation 'mine'.*sigmoid, tanh.*median"):
        ng.from_neat(genome, config)
    genome.nodes[7].activation = "absent"
    with pytest.raises(ng.NotSupportedError, match="lacks.*'absent'.*Supported activations: sigmoid"):
        ng.from_neat(genome, config)
    genome.nodes[7].activation = "tanh"
    config.genome_config.add_aggregation("second", lambda terms: sorted(terms)[1])
    genome.nodes[7].aggregation = "second"
    with pytest.raises(ng.NotSupportedError, match="aggregation 'second'"):
        ng.from_neat(genome, config)
    genome.nodes[7].aggregation = "absent"
    with pytest.raises(ng.NotSupportedError, match="lacks.*'absent'"):
        ng.from_neat(genome, config)
    del genome.nodes[7]
    with pytest.raises(ng.InvalidValueError, match="no node 7"):
        ng.from_neat(genome, config)
