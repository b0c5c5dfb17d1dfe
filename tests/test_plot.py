"""Pictures show what the network and the histories hold, and touch nobody else's figures."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import neurograph as ng
from neurograph import plot
from neurograph.plot import style


def lines_of(ax):
    return [item for item in ax.collections if isinstance(item, LineCollection)]


def dots_of(ax):
    """Places of all dots, as a set of (generation, height)."""
    return np.concatenate(
        [np.asarray(item.get_offsets()) for item in ax.collections if isinstance(item, PathCollection)]
    )


@pytest.fixture
def diamond():
    """Two inputs, three hidden neurons, one output; one connection skips two generations."""
    net = ng.Network(seed=0, backend="reference")
    x, h, y = net.add_inputs(2), net.add_neurons(3), net.add_outputs(1)
    ends = [(x[0], h[0]), (x[1], h[1]), (h[0], h[2]), (h[1], h[2]), (h[2], y[0]), (x[0], y[0])]
    for (source, target), weight in zip(ends, [1, -1, 2, -2, 3, -0.5], strict=True):
        net.connect(source, target, weight=weight)
    return net


def test_a_neuron_stands_in_the_column_of_its_generation(diamond):
    ax = plot.network(diamond)
    columns, counts = np.unique(dots_of(ax)[:, 0], return_counts=True)
    assert columns.tolist() == [0, 1, 2, 3]
    assert counts.tolist() == [2, 2, 1, 1]
    assert len(np.unique(dots_of(ax), axis=0)) == diamond.n_neurons


def test_a_connection_runs_between_its_neurons_in_the_colour_of_its_sign(diamond):
    ax = plot.network(diamond)
    (lines,) = lines_of(ax)
    place = {tuple(dot) for dot in dots_of(ax)}
    curves = lines.get_segments()
    assert len(curves) == diamond.n_connections
    generation = {int(i): g for g, ids in enumerate(diamond.schedule.generations) for i in ids}
    connections = diamond.connections
    for curve, source, target in zip(curves, connections.source, connections.target, strict=True):
        assert tuple(curve[0]) in place
        assert tuple(curve[-1]) in place
        assert (curve[0, 0], curve[-1, 0]) == (generation[int(source)], generation[int(target)])
    expected = [to_rgb(style.BLUE if weight >= 0 else style.ORANGE) for weight in connections.weight]
    np.testing.assert_allclose(lines.get_colors()[:, :3], expected)


def test_a_large_network_is_thinned_out_and_says_so():
    net = ng.topologies.layered([30, 40, 5], seed=0, backend="reference")
    ax = plot.network(net, max_connections=100)
    assert len(lines_of(ax)[0].get_segments()) == 100
    assert "1,400 connections" in ax.get_title()
    assert "100 connections drawn" in ax.get_title()
    assert "drawn" not in plot.network(net, max_connections=1400).get_title()


@pytest.mark.parametrize("n_hidden", [0, 3])
def test_a_network_without_connections_can_be_drawn(n_hidden):
    net = ng.Network(backend="reference")
    net.add_inputs(2)
    net.add_neurons(n_hidden)
    ax = plot.network(net)
    assert len(dots_of(ax)) == 2 + n_hidden
    assert not lines_of(ax)


def test_a_pruned_network_is_drawn_without_what_was_removed(diamond):
    diamond.remove_neurons(diamond.neuron(3))
    ax = plot.network(diamond)
    assert len(dots_of(ax)) == 5
    assert len(lines_of(ax)[0].get_segments()) == diamond.n_connections == 4


def test_a_loop_with_delay_is_seen():
    net = ng.Network(backend="reference")
    (neuron,) = net.add_neurons(1).ids
    net.add_connections([neuron], [neuron], delay=1)
    (curve,) = lines_of(plot.network(net))[0].get_segments()
    assert np.ptp(curve[:, 1]) > 0.05


def test_histories_are_drawn_epoch_by_epoch():
    runs = {"a": {"val_accuracy": [0.5, 0.75]}, "b": ng.History(val_accuracy=[0.25, 0.5, 1.0])}
    ax = plot.history(runs)
    assert [(line.get_label(), line.get_xdata().tolist(), line.get_ydata().tolist()) for line in ax.lines] == [
        ("a", [1, 2], [0.5, 0.75]),
        ("b", [1, 2, 3], [0.25, 0.5, 1.0]),
    ]
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 2
    assert ax.get_ylabel() == "validation accuracy"


def test_more_runs_than_colours_stay_different():
    ax = plot.history({str(i): {"loss": [1, i]} for i in range(20)}, key="loss")
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 20


@pytest.mark.parametrize(
    ("histories", "text"),
    [({"a": {"loss": [1]}}, "'a' has no 'val_accuracy'; it has loss"), ({"loss": [1, 2]}, "'loss' holds a list")],
)
def test_a_history_without_the_key_says_what_it_has(histories, text):
    with pytest.raises(ng.InvalidValueError, match=text):
        plot.history(histories)


def test_degrees_count_each_neuron_once(diamond):
    ax = plot.degrees(diamond)
    outlines = [patch for patch in ax.patches if not patch.get_fill()]
    fan_in, fan_out = (dict(zip(p.get_data().edges[:-1] + 0.5, p.get_data().values, strict=True)) for p in outlines)
    # hidden 1, 1, 2, output 2;  inputs 2, 1, hidden 1, 1, 1
    assert fan_in == {0: 0, 1: 2, 2: 2}
    assert fan_out == {0: 0, 1: 4, 2: 1}


def test_many_degrees_share_bins():
    net = ng.topologies.layered([500, 2], seed=0, backend="reference")
    outline = [patch for patch in plot.degrees(net).patches if not patch.get_fill()][0].get_data()
    assert len(outline.values) <= 60
    assert outline.values.sum() == 2
    assert outline.values[-1] == 2


def test_empty_networks_and_negative_numbers_are_refused(diamond):
    with pytest.raises(ng.InvalidValueError, match="no neurons"):
        plot.network(ng.Network())
    with pytest.raises(ng.InvalidValueError, match="no neurons"):
        plot.degrees(ng.Network())
    with pytest.raises(ng.InvalidValueError, match="max_connections is -1"):
        plot.network(diamond, max_connections=-1)


def test_given_axes_are_used_and_returned(diamond):
    for draw in (
        lambda ax: plot.network(diamond, ax),
        lambda ax: plot.history({"a": {"val_accuracy": [1]}}, ax),
        lambda ax: plot.degrees(diamond, ax),
    ):
        ax = Figure().add_subplot()
        assert draw(ax) is ax


def test_every_picture_can_be_written(diamond, tmp_path):
    for number, ax in enumerate(
        (plot.network(diamond), plot.degrees(diamond), plot.history({"a": {"val_accuracy": [1]}}))
    ):
        ax.figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_pyplot_is_left_alone():
    """No window system, no global figures: pyplot is not even imported."""
    code = (
        "import sys, neurograph as ng\n"
        "ng.plot.network(ng.topologies.layered([2, 2], backend='reference'))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ng.__path__[0] + "/..")


def picture_of(ax):
    """The matrix that `adjacency` shows, with its shades squared."""
    return np.asarray(ax.images[0].get_array()) ** 2


def test_adjacency_has_a_cell_for_each_pair(diamond):
    ax = plot.adjacency(diamond)
    expected = np.zeros((6, 6))
    expected[diamond.connections.source, diamond.connections.target] = 1
    np.testing.assert_allclose(picture_of(ax), expected)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("to", "from")


def test_adjacency_follows_the_order_of_the_groups_and_leaves_others_out(diamond):
    late, early = diamond.group([5, 4], name="late"), diamond.group([1, 0], name="early")
    ax = plot.adjacency(diamond, [late, early])
    order = [5, 4, 1, 0]
    expected = [[diamond.has_connection(source, target) for target in order] for source in order]
    np.testing.assert_allclose(picture_of(ax), expected)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["late", "early"]


def test_adjacency_counts_the_pairs_of_a_cell():
    net = ng.topologies.layered([300, 700], density=0.3, seed=1, backend="reference")
    ax = plot.adjacency(net, cells=100)
    shares = picture_of(ax)
    assert shares.shape == (100, 100)
    dense = np.zeros((1000, 1000))
    dense[net.connections.source, net.connections.target] = 1
    expected = dense.reshape(100, 10, 100, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(shares * np.quantile(expected[expected > 0], 0.99), expected, atol=1e-12)


def test_adjacency_of_a_network_without_connections_is_empty():
    net = ng.Network(backend="reference")
    net.add_inputs(3)
    assert not picture_of(plot.adjacency(net)).any()


def test_adjacency_refuses_what_it_cannot_draw(diamond):
    with pytest.raises(ng.InvalidValueError, match="Neuron 1 is in several"):
        plot.adjacency(diamond, [diamond.group([0, 1]), diamond.group([1, 2])])
    with pytest.raises(ng.InvalidValueError, match="no neurons to draw"):
        plot.adjacency(ng.Network())
    with pytest.raises(ng.InvalidValueError, match="cells is 0"):
        plot.adjacency(diamond, cells=0)
