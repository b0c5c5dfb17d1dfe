"""Scores: by hand, against torch's autograd, and the laws that they obey."""

import itertools

import numpy as np
import pytest

import neurograph as ng

from .pruning import WEIGHTS, batch, chain, everything, network, pairs, torch_loss

KINDS = ("layered", "dag")


# -- age ---------------------------------------------------------------------------------------------------------------


def test_age_by_hand():
    net = chain()
    net.prune(net.connection(0, 4))
    net.connect(net.neuron(0), net.neuron(4), weight=9.0)
    # ids 0 1 3 ... 11 12: the newest has age 0 and goes first, then 4>6 with id 11
    assert ng.sparsity.SCORES["age"](net.connections, None).tolist() == [12, 11, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    ng.sparsity.prune_lowest(net, "age", count=2)
    assert not net.has_connection(0, 4) and not net.has_connection(4, 6) and net.n_connections == 10


def test_what_was_grown_is_younger_than_what_was_there():
    net = network("layered")
    old = net.connections.id
    ng.sparsity.SET(fraction=0.3, every=1).step(net, 1)
    age = ng.sparsity.SCORES["age"](net.connections, None)
    grown = ~np.isin(net.connections.id, old)
    assert grown.any() and age[grown].max() < age[~grown].min()


# -- scores that add up ------------------------------------------------------------------------------------------------


def followed(net, recipe, steps=5):
    """Train and add up by hand what the recipe should: (weights, gradients) of each step by connection id."""
    X, y = batch()
    optimizer, seen = ng.optim.SGD(lr=0.1), []
    for step in range(1, steps + 1):
        net.backward(X, y, "cross_entropy")
        recipe.before_update(net, step)
        seen.append((net.connections.weight, net.connections.grad))
        optimizer.step(net)
        recipe.step(net, step)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_accumulated_scores(kind):
    net = network(kind)
    movement, fisher, taylor = ng.sparsity.Movement(), ng.sparsity.Fisher(start=2), ng.sparsity.Taylor(stop=4)

    class All(ng.sparsity.Recipe):
        def before_update(self, net, step):
            for recipe in (movement, fisher, taylor):
                recipe.before_update(net, step)

    seen = followed(net, All())
    conns = net.connections
    expected = -sum(w * g for w, g in seen)
    np.testing.assert_allclose(movement.score(conns, None), expected, rtol=1e-12)
    expected = conns.weight**2 / 2 * sum(g**2 for _, g in seen[1:])
    np.testing.assert_allclose(fisher.score(conns, None), expected, rtol=1e-12)
    expected = sum((w * g) ** 2 for w, g in seen[:3])
    np.testing.assert_allclose(taylor.score(conns, None), expected, rtol=1e-12)
    order = np.argsort(movement.score(conns, None))
    lowest = set(conns.id[order[:10]].tolist())
    before = set(conns.id.tolist())
    ng.sparsity.prune_lowest(net, movement.score, count=10)
    assert before - set(net.connections.id.tolist()) == lowest


def test_movement_removes_what_shrinks_however_large():
    net = ng.Network(dtype="float64")
    net.connect(net.add_inputs(2), net.add_outputs(1), weight=[3.0, 0.1])
    movement, optimizer = ng.sparsity.Movement(), ng.optim.SGD(lr=0.01)
    for step in range(1, 6):  # x = (1, 0) wants 0, x = (0, 1) wants 1
        net.backward([[1.0, 0.0], [0.0, 1.0]], [[0.0], [1.0]], "mse")
        movement.before_update(net, step)
        optimizer.step(net)
    assert net.connections.weight[0] > 2 > 1 > net.connections.weight[1] > 0.1
    first, second = movement.score(net.connections, None)
    assert first < 0 < second
    movement.reset(net)
    assert not movement.score(net.connections, None).any()


def test_accumulated_scores_survive_edits_and_start_at_zero(tmp_path):
    net, movement = network("layered"), ng.sparsity.Movement()
    followed(net, movement)
    before = dict(zip(net.connections.id.tolist(), movement.score(net.connections, None).tolist(), strict=True))
    ng.sparsity.SET(fraction=0.3, every=1).step(net, 1)
    net.save(tmp_path / "net.ng")
    net = ng.load(tmp_path / "net.ng")
    for id, score in zip(net.connections.id.tolist(), movement.score(net.connections, None).tolist(), strict=True):
        assert score == before.get(id, 0.0)


def test_shared_parameters_move_together():
    net, movement = network("layered"), ng.sparsity.Movement()
    conns = net.connections
    net.tie(conns, np.arange(len(conns)) % 5, average=True)
    seen = followed(net, movement)
    expected = -sum(w * g for w, g in seen)
    np.testing.assert_allclose(movement.score(net.connections, None), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_and_taylor_of_data(kind):
    """Against one torch gradient a sample, and one a batch."""
    net, (X, y) = network(kind), batch(count=7)
    weight = net.connections.weight

    def gradient(rows):
        loss, parameter = torch_loss(net, X[rows], y[rows])
        loss.backward()
        return parameter.grad.numpy()

    expected = weight**2 / 2 * np.mean([gradient([i]) ** 2 for i in range(7)], axis=0)
    np.testing.assert_allclose(ng.sparsity.fisher(net, X, y), expected, rtol=1e-9, atol=1e-15)
    parts = [((0, 1, 2), 3), ((3, 4, 5), 3), ((6,), 1)]
    expected = sum(n * (weight * gradient(list(rows))) ** 2 for rows, n in parts) / 7
    np.testing.assert_allclose(ng.sparsity.taylor(net, X, y, batch_size=3), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("recipe", [ng.sparsity.Movement, ng.sparsity.Fisher, ng.sparsity.Taylor])
def test_accumulated_scores_refuse_bad_steps(recipe):
    with pytest.raises(ng.InvalidValueError, match="start is -1"):
        recipe(start=-1)
    with pytest.raises(ng.InvalidValueError, match="stop is 0.5"):
        recipe(stop=0.5)


def test_data_scores_refuse_bad_data():
    net, (X, y) = network("layered"), batch()
    before = everything(net)
    with pytest.raises(ng.InvalidValueError, match="24 rows"):
        ng.sparsity.fisher(net, X, y[:3])
    with pytest.raises(ng.InvalidValueError, match="batch_size is 0"):
        ng.sparsity.taylor(net, X, y, batch_size=0)
    assert everything(net) == before


# -- before training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_snip_and_grasp_against_torch(kind, activation):
    torch = pytest.importorskip("torch")
    net, (X, y) = network(kind, activation), batch()
    loss, weight = torch_loss(net, X, y)
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    (flow,) = torch.autograd.grad(gradient @ gradient.detach(), weight)  # H g
    before = everything(net)
    w, g = weight.detach().numpy(), gradient.detach().numpy()
    np.testing.assert_allclose(ng.sparsity.snip(net, X, y), abs(w * g), rtol=1e-9, atol=1e-14)
    expected = w * flow.numpy()
    found = ng.sparsity.grasp(net, X, y)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * abs(expected).max())
    assert everything(net) == before
    np.testing.assert_allclose(net.connections.grad, g, rtol=1e-9, atol=1e-14)  # those of snip


def test_grasp_in_single_precision():
    """Hundreds of ReLUs and samples: one that switches would outweigh the rest."""
    X, y, *_ = ng.datasets.load_digits()
    nets = [ng.topologies.layered([64, 60, 30, 10], seed=0, dtype=dtype) for dtype in ("float32", "float64")]
    nets[1].connections.weight = nets[0].connections.weight
    single, double = (ng.sparsity.grasp(net, X, y) for net in nets)
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-6 * abs(double).max())


def test_grasp_with_shared_parameters_delays_and_inputs_in_another_order():
    """The copy in float64 computes what the network does."""
    from neurograph.sparsity.before_training import _in_float64

    net, X = network("dag", dtype="float32"), batch()[0]
    net.tie(net.connections[:30], np.arange(30) % 4, average=True)
    net.order_inputs(net.inputs[::-1])
    net.mark_outputs(net.groups["hidden"][3])
    net.remove_neurons(net.groups["hidden"][5])
    net.groups["hidden"][2].activation = ("leaky_relu", 0.2)
    twin = _in_float64(net)
    np.testing.assert_allclose(twin.predict(X), net.predict(X), rtol=1e-5, atol=1e-6)
    assert twin.n_parameters == net.n_parameters
    net.connect(net.groups["hidden"], net.groups["hidden"], density=0.1, delay=2)
    net.groups["hidden"].time_constant = 1.5
    twin, steps = _in_float64(net), np.stack([X, -X, X], axis=1)
    np.testing.assert_allclose(twin.predict(steps), net.predict(steps), rtol=1e-5, atol=1e-6)


def test_grasp_keeps_the_gradient_flow():
    """Pruned by it, a network keeps more of |g| than at random: what it is made for."""
    X, y, *_ = ng.datasets.load_digits()

    def flow(score):
        net = ng.topologies.layered([64, 40, 40, 10], seed=1)
        values = score(net)
        ng.sparsity.prune_lowest(net, values, fraction=0.6)
        net.backward(X, y, "cross_entropy")
        return float((net.connections.grad**2).sum())

    kept = flow(lambda net: ng.sparsity.grasp(net, X, y))
    assert kept > 2 * flow(lambda net: np.random.default_rng(0).random(net.n_connections))


def test_temperature_divides_the_outputs():
    torch = pytest.importorskip("torch")
    net, (X, y) = network("layered"), batch()
    loss, weight = torch_loss(net, X, y, temperature=5.0)
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    (flow,) = torch.autograd.grad(gradient @ gradient.detach(), weight)
    expected = (weight * flow).detach().numpy()
    found = ng.sparsity.grasp(net, X, y, temperature=5.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * abs(expected).max())
    with pytest.raises(ng.InvalidValueError, match="temperature is 0"):
        ng.sparsity.grasp(net, X, y, temperature=0)


def paths(net):
    """Every path from an input to an output, as tuples of connection indices."""
    conns = net.connections
    outgoing = {}
    for i, (source, target) in enumerate(zip(conns.source.tolist(), conns.target.tolist(), strict=True)):
        outgoing.setdefault(source, []).append((i, target))
    outputs = set(net.outputs.ids.tolist())

    def onward(neuron, path):
        if neuron in outputs and path:
            yield path
        for i, target in outgoing.get(neuron, ()):
            yield from onward(target, (*path, i))

    return list(itertools.chain.from_iterable(onward(id, ()) for id in net.inputs.ids.tolist()))


def test_synflow_counts_every_path():
    net = ng.topologies.random_dag(3, 5, 2, 0.7, seed=3, dtype="float64", activation="tanh")
    net.mark_outputs(net.groups["hidden"][2])  # paths end there, and go on
    weight = np.abs(net.connections.weight)
    expected = np.zeros(len(weight))
    for path in paths(net):
        expected[list(path)] += np.prod(weight[list(path)])
    np.testing.assert_allclose(ng.sparsity.synflow(net), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_synflow_is_conserved(kind):
    """What flows into a hidden neuron flows out of it, and what leaves the inputs arrives at the outputs."""
    net = network(kind)
    conns, score = net.connections, ng.sparsity.synflow(net)
    size = 1 + net.neurons.ids.max()
    into, out_of = np.bincount(conns.target, score, size), np.bincount(conns.source, score, size)
    hidden = (net.neurons - net.inputs - net.outputs).ids
    np.testing.assert_allclose(into[hidden], out_of[hidden], rtol=1e-12)
    assert score.sum() > 0
    np.testing.assert_allclose(out_of[net.inputs.ids].sum(), into[net.outputs.ids].sum(), rtol=1e-12)


def test_synflow_leaves_the_range_of_float32():
    net = ng.topologies.layered([4, *[4] * 40, 4], weight=1e-2, dtype="float32")
    score = ng.sparsity.synflow(net)
    assert (score > 0).all() and score.max() < 1e-45


def naive_synflow(net, fraction, rounds):
    """The algorithm of the paper on dense matrices of a layered network: which connections are left."""
    conns = net.connections
    layers = [home.ids for home in net.homes]
    matrices = [np.zeros((len(b), len(a))) for a, b in itertools.pairwise(layers)]
    places = {}
    for id, s, t, w in zip(conns.id, conns.source, conns.target, conns.weight, strict=True):
        layer = next(i for i, ids in enumerate(layers) if s in ids)
        place = (layer, int(np.searchsorted(layers[layer + 1], t)), int(np.searchsorted(layers[layer], s)))
        places[int(id)] = place
        matrices[layer][place[1:]] = abs(w)
    left = sorted(places)
    for k in range(1, rounds + 1):
        forward, backward = [np.ones(len(layers[0]))], [np.ones(len(layers[-1]))]
        for matrix in matrices:
            forward.append(matrix @ forward[-1])
        for matrix in matrices[::-1]:
            backward.append(matrix.T @ backward[-1])
        backward.reverse()

        def score(id, forward=forward, backward=backward):
            layer, row, column = places[id]
            return forward[layer][column] * matrices[layer][row, column] * backward[layer + 1][row]

        keep = round(len(places) * (1 - fraction) ** (k / rounds))
        doomed = sorted(left, key=lambda id: (score(id), id))[: len(left) - keep]
        for id in doomed:
            layer, row, column = places[id]
            matrices[layer][row, column] = 0
            left.remove(id)
    return set(left)


@pytest.mark.parametrize("rounds", [1, 7])
def test_synflow_in_rounds_against_a_naive_one(rounds):
    net = network("layered")
    expected = naive_synflow(net, 0.5, rounds)
    n, weight = net.n_connections, dict(zip(net.connections.id.tolist(), net.connections.weight, strict=True))
    assert ng.sparsity.prune_before_training(net, "synflow", 0.5, rounds=rounds) == n - len(expected)
    assert set(net.connections.id.tolist()) == expected
    assert all(weight[id] == w for id, w in zip(net.connections.id.tolist(), net.connections.weight, strict=True))


def test_synflow_keeps_layers_that_one_shot_scores_empty():
    """The paper's point: at a compression of 200 it leaves every pair of layers connected."""
    net = ng.topologies.layered([50, 100, 100, 100, 10], seed=0)
    ng.sparsity.prune_before_training(net, "synflow", fraction=0.995)
    assert net.n_connections == 26000 - 25870
    assert len(net.connections.regions()[0]) == 4


@pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")  # of skips, which are few
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
@pytest.mark.parametrize("rounds", [None, 4])
def test_pruning_before_training(kind, method, rounds):
    net, (X, y) = network(kind), batch()
    n = net.n_connections
    values = dict(zip(net.connections.id.tolist(), net.connections.weight.tolist(), strict=True))
    assert ng.sparsity.prune_before_training(net, method, 0.4, X, y, rounds=rounds) == round(0.4 * n)
    assert net.n_connections == n - round(0.4 * n)
    for id, weight in zip(net.connections.id.tolist(), net.connections.weight.tolist(), strict=True):
        assert values[id] == weight
    ng.Trainer(net).fit(X, y, progress=False)


def test_one_round_is_one_shot():
    once, twice, (X, y) = network("layered"), network("layered"), batch()
    ng.sparsity.prune_before_training(once, "snip", 0.5, X, y)
    ng.sparsity.prune_lowest(twice, ng.sparsity.snip(twice, X, y), 0.5)
    assert pairs(once) == pairs(twice)


def test_before_training_leaves_frozen_connections():
    net, (X, y) = network("layered"), batch()
    net.connections[::2].frozen = True
    frozen = set(net.connections[::2].id.tolist())
    loose = net.n_connections - len(frozen)
    for method in ("synflow", "snip"):
        ng.sparsity.prune_before_training(net, method, 0.3, X, y, rounds=3)
    left = loose - round(0.3 * loose)
    assert frozen <= set(net.connections.id.tolist())
    assert net.n_connections == len(frozen) + left - round(0.3 * left)


def test_a_method_of_ones_own():
    net, (X, y) = network("layered"), batch()
    largest = set(net.connections.id[np.argsort(abs(net.connections.weight))[-100:]].tolist())
    n = net.n_connections
    ng.sparsity.prune_before_training(
        net, lambda net, X, Y, loss: abs(net.connections.weight), 1 - 100 / n, X, y, rounds=3
    )
    assert set(net.connections.id.tolist()) == largest


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "magnitude"}, ng.UnknownNameError, "snip, grasp, synflow"),
        ({"fraction": 1.1}, ng.InvalidValueError, "fraction is 1.1"),
        ({"rounds": 0}, ng.InvalidValueError, "rounds is 0"),
        ({"method": "snip"}, ng.InvalidValueError, "give X and Y"),
        ({"fraction": 1.0}, ng.InvalidValueError, "allow_disconnected"),
        ({"method": lambda net, X, Y, loss: [1.0], "X": 0, "Y": 0}, ng.InvalidValueError, "one score for each"),
    ],
)
def test_before_training_refuses(options, error, words):
    net = network("layered")
    before = everything(net)
    with pytest.raises(error, match=words):
        ng.sparsity.prune_before_training(net, **options)
    assert everything(net) == before


def test_iterating_refuses_shared_parameters_and_delays():
    net, (X, y) = network("layered"), batch()
    net.tie(net.connections[:2], [0, 0], average=True)
    with pytest.raises(ng.InvalidValueError, match="untie"):
        ng.sparsity.prune_before_training(net, "snip", 0.5, X, y, rounds=2)
    net.connect(net.groups["hidden 1"], net.groups["hidden 1"], delay=1)
    with pytest.raises(ng.NotSupportedError, match="delays"):
        ng.sparsity.synflow(net)


def test_weights_of_the_chain():
    """Names of scores mean the same in every scope: 3 of 12, and blocks, by synaptic flow, by hand."""
    net = chain(np.abs(WEIGHTS))
    # flow through hidden 2: in 0.1 + 0.1, out 2 + 3; 3: in 0.2 + 0.8, out 4.5; 4: in 1.6, out 5.05
    expected = [0.5, 0.9, 4.545, 0.5, 3.6, 3.535, 0.4, 0.6, 0.5, 4.0, 0.08, 8.0]
    np.testing.assert_allclose(ng.sparsity.synflow(net), expected)
    #                                     the lowest three: 4>5, 2>5, and of the 0.5 the oldest, 0>2
    score = np.round(ng.sparsity.synflow(net), 12)
    assert ng.sparsity.prune_lowest(net, score, count=3) == 3
    assert not {(4, 5), (2, 5), (0, 2)} & pairs(net)


# -- every score in every scope ----------------------------------------------------------------------------------------


def naive_choice(net, scores, fraction, scope, block=3):
    """(source, target) of what goes, by sorting with Python: the lowest of every region, the oldest of equal ones."""
    home = {int(id): (number, place) for number, group in enumerate(net.homes) for place, id in enumerate(group.ids)}
    rows = []
    for score, connection in zip(scores.tolist(), net.connections, strict=True):
        source, target = connection.source.id, connection.target.id
        (from_home, row), (to_home, column) = home[source], home[target]
        region = {
            "global": 0,
            "local": (from_home, to_home),
            "neuron": target,
            "block": (from_home, to_home, row // block, column // block),
        }[scope]
        rows.append((region, score, connection.id, (source, target)))
    regions = sorted({region for region, *_ in rows})
    if scope == "block":
        total = {region: sum(score for r, score, *_ in rows if r == region) for region in regions}
        gone = sorted(regions, key=lambda region: (total[region], region))[: round(fraction * len(regions))]
        return {pair for region, _, _, pair in rows if region in gone}
    chosen = set()
    for region in regions:
        members = sorted(row for row in rows if row[0] == region)
        chosen |= {pair for *_, pair in members[: round(fraction * len(members))]}
    return chosen


def scorers(X, y):
    """Every way to score the connections of a network, as a function of it that returns the scores by id."""
    named = {
        name: lambda net, name=name: ng.sparsity.SCORES[name](net.connections, net.rng)
        for name in ("magnitude", "gradient", "saliency", "age")
    }
    return named | {
        "snip": lambda net: ng.sparsity.snip(net, X, y),
        "grasp": lambda net: ng.sparsity.grasp(net, X, y),
        "synflow": ng.sparsity.synflow,
        "fisher": lambda net: ng.sparsity.fisher(net, X, y, batch_size=8),
        "taylor": lambda net: ng.sparsity.taylor(net, X, y),
    }


@pytest.mark.filterwarnings("ignore::neurograph.EmptyLayerWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ng.sparsity.SCOPES)
@pytest.mark.parametrize("name", sorted(scorers(None, None)))
def test_every_score_in_every_scope(kind, scope, name):
    net, (X, y) = network(kind), batch()
    net.backward(X, y, "cross_entropy")
    scores = np.asarray(scorers(X, y)[name](net), float)
    expected, before = naive_choice(net, scores, 0.3, scope), pairs(net)
    score = name if name in ng.sparsity.SCORES else scores
    ng.sparsity.prune_lowest(net, score, 0.3, scope, block=3, allow_disconnected=True)
    assert before - pairs(net) == expected
