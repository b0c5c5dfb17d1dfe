"""Edge tables and GraphML: against hand values, pandas and networkx; every bad table is refused with a cure."""

import builtins
import gzip

import networkx as nx
import numpy as np
import pytest

import neurograph as ng

TABLE = {"pre": ["a", "b", "a", "c"], "post": ["b", "c", "c", "d"], "n": [2.0, 3.0, 0.5, -1.0]}
PRE_POST = {"source": "pre", "target": "post", "weight": "n", "activation": "identity"}
VALUE = -(2 * 3 + 0.5)  # of d, where a is 1


def check(table, **options):
    net = ng.from_edges(table, inputs=["a"], outputs=["d"], **{**PRE_POST, **options})
    assert net.predict([[1.0]]).tolist() == [[VALUE]]
    assert net.neurons.names.tolist() == ["a", "b", "c", "d"]
    return net


@pytest.fixture(params=["pandas", "plain"])
def reader(request, monkeypatch):
    """With pandas, and as if pandas were not installed."""
    if request.param == "pandas":
        pytest.importorskip("pandas")
    else:
        real = builtins.__import__

        def absent(name, *args, **kwargs):
            if name.split(".")[0] in ("pandas", "pyarrow"):
                raise ImportError(f"No module named {name!r}")
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", absent)
    return request.param


def test_mappings_and_structured_arrays():
    check(TABLE)
    check({name: np.array(column) for name, column in TABLE.items()})
    rows = np.array(list(zip(*TABLE.values(), strict=True)), [("pre", "U4"), ("post", "U4"), ("n", "f4")])
    check(rows)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    check(pandas.DataFrame(TABLE))
    check(pandas.DataFrame(TABLE).astype({"pre": "category", "n": "float32"}))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz"])
def test_text_files(tmp_path, reader, ending):
    lines = [",".join(TABLE), *(",".join(map(str, row)) for row in zip(*TABLE.values(), strict=True))]
    text = "\n".join(lines) + "\n"
    path = tmp_path / f"edges{ending}"
    data = text.replace(",", "\t" if ending == ".tsv" else ",").encode()
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    check(path)
    check(str(path))


def test_names_that_look_missing_are_names(tmp_path, reader):
    (tmp_path / "t.csv").write_text("source,target,weight\nNA,nan,1\nnan,None,2\n")
    net = ng.from_edges(tmp_path / "t.csv", inputs=["NA"], outputs=["None"])
    assert sorted(net.neurons.names) == ["NA", "None", "nan"]


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame(TABLE).to_parquet(tmp_path / "edges.parquet")
    net = check(tmp_path / "edges.parquet")
    ng.to_edges(net, tmp_path / "again.parquet")
    assert ng.from_edges(tmp_path / "again.parquet", ["a"], ["d"]).n_connections == 4


def test_parquet_without_pandas(tmp_path, reader):
    if reader == "pandas":
        pytest.skip("pandas is there")
    (tmp_path / "edges.parquet").write_bytes(b"PAR1")
    with pytest.raises(ng.MissingDependencyError, match=r"neurograph\[tables\]"):
        ng.from_edges(tmp_path / "edges.parquet", ["a"], ["d"])
    with pytest.raises(ng.MissingDependencyError, match=r"neurograph\[tables\]"):
        ng.to_edges(ng.topologies.layered([1, 1]), tmp_path / "out.parquet")


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_round_trip_is_exact(tmp_path, reader, ending):
    net = ng.topologies.random_dag(4, 20, 3, 0.4, activation="identity", seed=3)
    net.connect(net.groups["hidden"], net.groups["hidden"], density=0.1, delay=2)
    path = tmp_path / f"edges{ending}"
    table = ng.to_edges(net, path)
    inputs, outputs = net.inputs.ids, net.outputs.ids
    for given in (table, path):
        again = ng.from_edges(given, inputs, outputs, activation="identity")
        found = ng.to_edges(again)
        for name, column in table.items():
            np.testing.assert_array_equal(found[name], column)
        assert again.neurons.names.tolist() == [None] * 27  # whole numbers that are the ids


def test_neurons_called_by_other_whole_numbers():
    net = ng.from_edges({"source": [40, 7], "target": [7, 99], "weight": [1, 2]}, inputs=[40], outputs=[99])
    assert net.neurons.names.tolist() == ["7", "40", "99"] and net.inputs.names.tolist() == ["40"]
    assert ng.to_edges(net)["source"].tolist() == ["40", "7"]


def test_weights_are_drawn_on_request():
    table = {"source": ["x"] * 200, "target": [f"y{i}" for i in range(200)]}
    net = ng.from_edges(table, ["x"], ["y3"], weight=None, initializer="normal", seed=1)
    assert abs(net.connections.weight.std() - 1) < 0.2
    with pytest.raises(ng.InvalidValueError, match="weight=None"):
        ng.from_edges(table, ["x"], ["y3"])


def test_duplicates_are_refused_or_summed():
    table = {"source": ["a", "a", "b", "a"], "target": ["b", "b", "c", "c"], "weight": [1.0, 2.0, 4.0, 8.0]}
    with pytest.raises(ng.DuplicateConnectionError, match=r"'a' -> 'b'.*duplicates=\"sum\""):
        ng.from_edges(table, ["a"], ["c"])
    net = ng.from_edges(table, ["a"], ["c"], duplicates="sum", activation="identity")
    assert net.n_connections == 3 and net.connections.weight.tolist() == [3.0, 4.0, 8.0]
    assert net.predict([[1.0]]).tolist() == [[20.0]]
    drawn = ng.from_edges(table, ["a"], ["c"], weight=None, duplicates="sum")
    assert drawn.n_connections == 3
    apart = {**table, "delay": [0, 1, 0, 0]}
    assert ng.from_edges(apart, ["a"], ["c"]).connections.delay.tolist() == [0, 1, 0, 0]
    assert ng.from_edges(apart, ["a"], ["c"], duplicates="sum").n_connections == 4


def test_loops_and_fed_inputs():
    table = {"source": ["a", "b", "c"], "target": ["b", "c", "a"], "weight": [1.0, 1.0, 1.0]}
    with pytest.raises(ng.InvalidValueError, match="input 'a'"):
        ng.from_edges(table, ["a"], ["c"])
    with pytest.raises(ng.CycleError, match="'a' -> 'b' -> 'c' -> 'a'"):
        ng.from_edges(table, ["a"], ["c"], on_input="feed")
    net = ng.from_edges(table, ["a"], ["c"], on_input="feed", on_cycle="delay")
    assert net.n_connections == 4 and net.connections.delay.sum() == 1
    assert ng.from_edges(table, ["a"], ["c"], on_input="drop").n_connections == 2
    assert set(ng.from_edges(table, ["a"], ["c"], on_input="drop", on_cycle="all").connections.delay) == {1}


def test_a_table_of_neurons():
    neurons = {
        "name": ["d", "c", "b", "a", "alone"],
        "bias": [0.5, None, 1.0, None, None],
        "activation": ["identity", "leaky_relu", "", None, "tanh"],
        "activation_parameter": [None, 0.2, None, None, None],
        "aggregation": [None, "mean", None, None, None],
        "time_constant": [None, None, 1, None, 2.5],
    }
    net = ng.from_edges(TABLE, ["a"], ["d"], neurons=neurons, **PRE_POST)
    assert net.neurons.names.tolist() == neurons["name"] and net.inputs.ids.tolist() == [3]
    assert net.neuron("c").activation == ("leaky_relu", pytest.approx(0.2)) and net.neuron("c").aggregation == "mean"
    assert net.neurons.time_constant.tolist() == [1, 1, 1, 1, 2.5]
    c = ((2 * -1 + 1) * 3 + 0.5 * -1) / 2  # b is identity, as the argument says
    np.testing.assert_allclose(net.predict([[[-1.0]]]), [[[-(0.2 * c) + 0.5]]], rtol=1e-6)
    with pytest.raises(ng.InvalidValueError, match="'c' has connections, but"):
        ng.from_edges(TABLE, ["a"], ["d"], neurons={"name": ["a", "b", "d"]}, **PRE_POST)
    with pytest.raises(ng.InvalidValueError, match="'a' occurs twice"):
        ng.from_edges(TABLE, ["a"], ["d"], neurons={"name": ["a", "b", "c", "d", "a"]}, **PRE_POST)
    with pytest.raises(ng.InvalidValueError, match="bias of row 1 of the table of neurons is 'x'"):
        ng.from_edges(TABLE, ["a"], ["d"], neurons={"name": list("abcd"), "bias": [0, "x", 0, 0]}, **PRE_POST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": [1.0, "two", 3.0, 4.0]}, "n of row 1 of the table is 'two'"),
        ({"n": [1.0, None, 3.0, 4.0]}, "n of row 1 of the table is None"),
        ({"n": [1.0, np.nan, 3.0, 4.0]}, "n of row 1 of the table is nan"),
        ({"n": [1.0, 2.0, np.inf, 4.0]}, "n of row 2 of the table is inf"),
        ({"n": [1.0, 2.0]}, "equal length"),
        ({"pre": ["a", "b", None, "c"]}, "pre in row 2 is None"),
        ({"post": ["b", "c", "c", ""]}, "post in row 3 is ''"),
        ({"pre": [1, 2, 1, 3]}, "pre and post must all be names or all be whole numbers"),
        ({"pre": [1.0, 2.5, 1.0, 3.0]}, "pre in row 1 is 2.5"),
        ({"delay": [0, 0.5, 0, 0]}, "delay must be integers"),
        ({"delay": [0, -1, 0, 0]}, "delay must be between"),
    ],
)
def test_bad_columns(change, message):
    with pytest.raises(ng.InvalidValueError, match=message):
        ng.from_edges({**TABLE, **change}, ["a"], ["d"], **PRE_POST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "from"}, "source is 'from', but the table has no such column; it has pre, post, n"),
        ({"delay": "lag"}, "delay is 'lag'"),
        ({"inputs": ["zz"]}, "inputs names 'zz', which is not in the table"),
        ({"outputs": [3]}, "outputs names 3"),
        ({"inputs": "a"}, r"give a list, such as \['a'\]"),
        ({"inputs": ["a", "a"]}, "'a' occurs twice in inputs"),
        ({"duplicates": "keep"}, "duplicates is 'keep'"),
        ({"on_input": "no"}, "on_input is 'no'"),
        ({"initializer": "hee", "weight": None}, "hee"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ng.InvalidValueError, match=message):
        ng.from_edges(TABLE, **{"inputs": ["a"], "outputs": ["d"], **PRE_POST, **options})


def test_bad_files(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        ng.from_edges(tmp_path / "nothing.csv", ["a"], ["d"])
    with pytest.raises(ng.InvalidValueError, match=r"ends in '\.xlsx'; known"):
        ng.from_edges(tmp_path / "edges.xlsx", ["a"], ["d"])
    with pytest.raises(ng.InvalidValueError, match="list"):
        ng.from_edges([("a", "b")], ["a"], ["b"])
    for number, content in enumerate([b"", b"source,target\na,b\nc,d,e,f\n", b"\xff\xfe\x00\x80,\xff\n"]):
        path = tmp_path / f"bad{number}.csv"
        path.write_bytes(content)
        with pytest.raises(ng.FileFormatError, match=f"bad{number}"):
            ng.from_edges(path, ["a"], ["d"])


def test_a_large_table_loads_in_seconds():
    """Array code: a Python loop over a million rows would take minutes here."""
    import time

    rng = np.random.default_rng(0)
    source = rng.integers(0, 100_000, 1_000_000)
    table = {"source": source, "target": source + rng.integers(1, 1000, len(source)), "weight": rng.random(len(source))}
    started = time.perf_counter()
    net = ng.from_edges(table, [0], [100_000], duplicates="sum", on_input="drop", on_cycle="delay")
    assert net.n_connections == len(np.unique(source * 200_000 + table["target"]))
    assert time.perf_counter() - started < 30


# -- GraphML ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def odd():
    """A network with everything that GraphML must carry."""
    net = ng.topologies.random_dag(3, 12, 2, 0.5, activation=("leaky_relu", 0.25), seed=4)
    net.groups["hidden"][3:6].aggregation = "max"
    net.groups["hidden"].bias = np.linspace(-1, 1, 12)
    net.groups["hidden"][0].activation = "tanh"
    net.groups["hidden"][4:7].time_constant = 2.5
    net.neurons[:5].names = ["AVAL", "ü & <x>", None, "b", "3"]
    net.order_inputs([2, 0, 1])
    net.mark_outputs(net.groups["hidden"][2])
    net.connections[:2].frozen = True
    return net


def test_graphml_round_trip(tmp_path, odd):
    path = tmp_path / "net.graphml"
    ng.to_graphml(odd, path)
    again = ng.from_graphml(path)
    X = np.random.default_rng(0).normal(size=(9, 4, 3))
    assert (odd.neurons.time_constant == 2.5).sum() == 3
    np.testing.assert_allclose(again.predict(X), odd.predict(X), rtol=1e-5, atol=1e-6)
    assert (again.n_connections, again.connections.frozen.sum()) == (odd.n_connections, 2)
    order = [again.neuron(name or f"n{id}").id for id, name in zip(odd.neurons.ids, odd.neurons.names, strict=True)]
    assert [again.neuron(i).activation for i in order[3:]] == odd.neurons.activation[3:].tolist()
    G = nx.read_graphml(path)
    assert G.nodes["n5"]["activation_parameter"] == 0.25 and isinstance(G.nodes["n5"]["activation"], str)


def test_graphml_keeps_delays_and_parallel_connections(tmp_path):
    net = ng.Network()
    x, y = net.add_inputs(1), net.add_outputs(1)
    for delay in (0, 1, 3):
        net.connect(x[0], y[0], weight=1.0 + delay, delay=delay)
    net.connect(y[0], y[0], weight=0.5, delay=2)
    ng.to_graphml(net, tmp_path / "net.graphml")
    again = ng.from_graphml(tmp_path / "net.graphml")
    assert sorted(zip(again.connections.delay, again.connections.weight, strict=True)) == sorted(
        zip(net.connections.delay, net.connections.weight, strict=True)
    )


def graphml(tmp_path, edges, kind="double", directed="directed"):
    path = tmp_path / "g.graphml"
    path.write_text(
        f"""<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">
        <key id="w" for="edge" attr.name="weight" attr.type="{kind}"/>
        <key id="n" for="node" attr.name="name" attr.type="string"/>
        <graph edgedefault="{directed}"><node id="p"><data key="n">first</data></node><node id="q"/><node id="r"/>
        {"".join(f'<edge source="{u}" target="{v}"><data key="w">{w}</data></edge>' for u, v, w in edges)}
        </graph></graphml>"""
    )
    return path


def test_graphml_of_another_program(tmp_path):
    path = graphml(tmp_path, [("p", "q", 2), ("q", "r", 3)], "int")
    for first in ("first", "p"):
        net = ng.from_graphml(path, [first], ["r"])
        assert net.predict([[1.0]]).tolist() == [[6.0]] and net.neurons.names.tolist() == ["first", "q", "r"]
    with pytest.raises(ng.InvalidValueError, match="does not say which nodes are inputs"):
        ng.from_graphml(path)
    with pytest.raises(ng.InvalidValueError, match="'s' in outputs"):
        ng.from_graphml(path, ["p"], ["s"])


def test_bad_graphml(tmp_path):
    with pytest.raises(ng.DuplicateConnectionError, match="'p' -> 'q'"):
        ng.from_graphml(graphml(tmp_path, [("p", "q", 1), ("p", "q", 2)]), ["p"], ["q"])
    with pytest.raises(ng.InvalidValueError, match=r"weight of edge 'p' -> 'q' is '0\.5', which is no number"):
        ng.from_graphml(graphml(tmp_path, [("p", "q", 0.5)], "string"), ["p"], ["q"])
    with pytest.raises(ng.FileFormatError, match="heavy"):
        ng.from_graphml(graphml(tmp_path, [("p", "q", "heavy")]), ["p"], ["q"])
    with pytest.raises(ng.CycleError, match="'q' -> 'r' -> 'q'"):
        ng.from_graphml(graphml(tmp_path, [("p", "q", 1), ("q", "r", 1), ("r", "q", 1)]), ["p"], ["r"])
    with pytest.raises(ng.InvalidValueError, match="undirected"):
        ng.from_graphml(graphml(tmp_path, [("p", "q", 1)], directed="undirected"), ["p"], ["q"])
    with pytest.raises(FileNotFoundError, match="absent"):
        ng.from_graphml(tmp_path / "absent.graphml")
    (tmp_path / "bad.graphml").write_text("<graphml><graph>")
    with pytest.raises(ng.FileFormatError, match="bad.graphml"):
        ng.from_graphml(tmp_path / "bad.graphml")
