"""Methods side by side: what they are given, what is measured, the CSV, the picture and the command."""

import csv
import re
import warnings

import numpy as np
import pytest

import neurograph as ng
from neurograph import cli, compare
from neurograph.compare import data, methods
from neurograph.compare.task import Task

SPARSE = [name for name, method in compare.METHODS.items() if method.any_density]
ROUNDED = {"ADMM", "DeepR", "RigL", "SparseMomentum", "LotteryTickets", "Sleep", "SET", "distilled", "static", "blocks"}
QUICK = ["--samples", "200", "--epochs", "2", "--hidden", "20"]


@pytest.fixture(scope="module")
def digits():
    return ng.datasets.load_digits()


@pytest.fixture
def setting(digits):
    few = type(digits)(*(part[:200] for part in digits))
    return compare.Setting("digits", few, hidden=(20, 40), epochs=4, batch_size=8)


@pytest.fixture
def own():
    """Forgets the methods that a test adds."""
    before = dict(methods.METHODS)
    yield
    methods.METHODS.clear()
    methods.METHODS.update(before)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- the methods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPARSE)
def test_every_method_ends_at_its_density_and_trains(setting, name):
    (row,) = compare.run(setting, [name], [0.3], [0])
    task = setting.task(0.3, 0)
    assert not row.note
    # Some round in each pair of layers and in each round, and blocks are whole; the others are exact.
    assert abs(row.connections - task.n_connections) <= (0.04 * task.n_connections if name in ROUNDED else 0)
    assert row.reached == row.connections / task.dense_connections
    assert row.parameters == row.connections + 70  # and a bias for every neuron that is no input
    assert row.bytes > 20 * row.connections and row.seconds > 0
    assert row.steps == task.steps or (row.steps > task.steps and "long" in compare.METHODS[name].about)
    assert row.accuracy > 0.15  # of ten classes


@pytest.mark.parametrize("name", compare.METHODS)
def test_the_same_seed_gives_the_same_network(setting, name):
    nets = [compare.METHODS[name].run(setting.task(0.3, seed)) for seed in (1, 1, 2)]
    one, two, other = ((n.connections.source, n.connections.target, n.connections.weight) for n in nets)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(one[2]) != len(other[2]) or not np.array_equal(one[2], other[2])


def test_a_dense_network_is_measured_once_a_seed(setting):
    rows = list(compare.run(setting, ["dense", "static"], [0.5, 0.2], [0, 1]))
    assert [(row.method, row.density, row.seed) for row in rows] == [
        ("dense", 1.0, 0), ("static", 0.5, 0), ("static", 0.2, 0),
        ("dense", 1.0, 1), ("static", 0.5, 1), ("static", 0.2, 1),
    ]  # fmt: skip
    assert rows[0].connections == setting.task(1.0, 0).dense_connections


def test_a_new_method_is_one_function(setting, own):
    @compare.method("halves", "as many random connections, half of the training")
    def halves(task):
        net = task.network(task.density)
        task.train(net, epochs=task.epochs // 2)
        return net

    (row,) = compare.run(setting, ["Halves"], [0.5], [0])
    assert row.method == "halves" and row.steps == setting.task(0.5, 0).steps // 2
    with pytest.raises(ng.InvalidValueError, match="there is a method 'HALVES' already"):
        compare.method("HALVES", "again")


def test_a_method_that_cannot_do_it_does_not_stop_the_others(setting, own):
    @compare.method("broken", "refuses")
    def broken(task):
        task.train(task.network(task.density), epochs=1)
        raise ng.InvalidValueError("cannot\ndo this")

    broken_row, static = compare.run(setting, ["broken", "static"], [0.5], [0])
    assert broken_row.note == "cannot do this" and np.isnan(broken_row.accuracy) and broken_row.failed
    assert broken_row.steps == setting.task(0.5, 0).steps_of(1)
    assert static.accuracy > 0


def test_what_a_method_warns_of_is_noted(setting, own):
    @compare.method("loud", "warns")
    def loud(task):
        for _ in range(2):
            warnings.warn("nothing is\nleft", stacklevel=1)
        return task.network(task.density)

    (found,) = compare.run(setting, ["loud"], [0.5], [0])
    assert found.note == "nothing is left" and not found.failed and found.accuracy >= 0


def test_the_learning_rate_starts_anew_in_every_training(digits):
    task, rates = Task(digits, 0.5, 0, hidden=(5,), epochs=2, batch_size=500, lr=0.1), []

    class Noted(ng.optim.Adam):
        def _learning_rate(self, step):
            rates.append(super()._learning_rate(step))
            return rates[-1]

    net = task.network()
    task.train(net, optimizer=Noted)
    task.train(net, epochs=1, optimizer=Noted)
    assert task.steps_made == 9
    assert rates[0] == rates[6] == 0.1 and rates[3] == pytest.approx(0.05)
    assert rates[5] < 0.01 and rates[8] == pytest.approx(0.025)


def test_ctrl_c_leaves_no_half_trained_network(digits, monkeypatch):
    task = Task(digits, 0.5, 0, hidden=(5,), epochs=2)

    def interrupted(*_, **__):
        history = ng.History()
        history.interrupted = True
        return history

    monkeypatch.setattr(ng.Trainer, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        task.train(task.network())


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0, -0.1, 1.5, np.nan, np.inf, "half", True])
def test_densities_out_of_range(setting, density):
    with pytest.raises(ng.InvalidValueError, match="above 0, up to 1"):
        compare.run(setting, ["SET"], [0.5, density], [0])


def test_unknown_methods_are_refused_before_anything_runs(setting):
    with pytest.raises(ng.UnknownNameError, match="'magic'. Known methods: dense, static"):
        compare.run(setting, ["SET", "magic"], [0.5], [0])


@pytest.mark.parametrize(
    "options", [{"hidden": (0,)}, {"hidden": (2.5,)}, {"epochs": 0}, {"batch_size": 0}, {"lr": 0}, {"lr": np.nan}]
)
def test_settings_out_of_range(digits, options):
    with pytest.raises(ng.InvalidValueError, match=next(iter(options)).split("_")[0]):
        compare.Setting("digits", digits, **options)


# -- sums, table, file -------------------------------------------------------------------------------------------------


def row(method="SET", density=0.1, seed=0, accuracy=0.9, **figures):
    figures = {
        "reached": density,
        "connections": 64,
        "parameters": 74,
        "bytes": 3000,
        "seconds": 1.0,
        "steps": 46,
    } | figures
    return compare.Row("digits", "64-10", method, density, seed, accuracy, **figures)


def test_means_and_spread_are_over_the_seeds_of_a_method_and_density():
    accuracies = [0.8, 0.9, 0.85]
    rows = [row(seed=seed, accuracy=a, seconds=seed) for seed, a in enumerate(accuracies)]
    rows += [
        row(density=0.05, accuracy=0.7),
        compare.Row("digits", "64-10", "SET", 0.1, 3, note="failed"),
        row("static"),
    ]
    sums = compare.summary(rows)
    assert [(s.method, s.density, s.runs) for s in sums] == [("SET", 0.05, 1), ("SET", 0.1, 3), ("static", 0.1, 1)]
    assert sums[1].accuracy == pytest.approx(0.85) and sums[1].seconds == 1
    assert sums[1].spread == pytest.approx(np.std(accuracies, ddof=1))
    assert sums[0].spread == 0
    assert "85.0 +- 5.0" in compare.table(rows)


def test_the_csv_is_read_back_as_it_was(tmp_path):
    rows = [row(accuracy=0.123456789), compare.Row("digits", "64-10", "SET", 0.1, 1, note='says "no", twice')]
    compare.write(rows, tmp_path / "rows.csv")
    first, second = rows_of(tmp_path / "rows.csv")
    assert tuple(first) == compare.COLUMNS
    assert float(first["accuracy"]) == pytest.approx(0.123456789, abs=1e-6) and first["bytes"] == "3000"
    assert second["accuracy"] == second["seconds"] == "" and second["note"] == 'says "no", twice'


# -- the picture -------------------------------------------------------------------------------------------------------


def test_the_picture_shows_every_method_its_own_way():
    names = [*compare.METHODS, *(f"method {i}" for i in range(25))]
    rows = [
        row(name, d, seed, 0.9 + 0.01 * seed + d / 20)
        for name in names
        for d in ((1.0,) if name == "dense" else (0.02, 0.1, 0.5))
        for seed in (0, 1, 2)
    ]
    figure = compare.draw(rows)
    accuracy, seconds, size = figure.axes
    assert [ax.get_xscale() for ax in figure.axes] == ["log"] * 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    looks = {(bars[0].get_color(), bars[0].get_marker()) for bars in accuracy.containers}
    assert len(looks) == len(names) - 1
    assert [label.get_text() for label in accuracy.get_xticklabels()] == ["2%", "10%", "50%"]
    assert "3 seeds" in accuracy.get_title(loc="left")
    bars = accuracy.containers[0]  # mean and standard deviation at the first density
    assert bars[0].get_ydata()[0] == pytest.approx(0.911)
    low, high = bars[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 0.01)
    assert seconds.get_ylabel() == "seconds" and size.get_ylabel() == "bytes"


def test_a_method_that_learned_nothing_does_not_flatten_the_others():
    rows = [row("SET", d, accuracy=0.95 + d / 10) for d in np.linspace(0.05, 0.4, 12)] + [
        row("static", 0.1, accuracy=0.1)
    ]
    accuracy = compare.draw(rows).axes[0]
    assert accuracy.get_ylim()[0] > 0.9
    assert "1 more below" in accuracy.texts[0].get_text()


def test_nothing_measured_is_nothing_to_draw():
    with pytest.raises(ng.InvalidValueError, match="nothing to draw"):
        compare.draw([compare.Row("digits", "64-10", "SET", 0.1, 0, note="failed")])


# -- the data ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mnist(tmp_path):
    """A file like MNIST's, of noise."""
    rng, file = np.random.default_rng(0), tmp_path / "mnist.npz"
    parts = {"train": 120, "test": 30}
    images = {f"x_{part}": rng.integers(0, 256, (n, 28, 28)).astype(np.uint8) for part, n in parts.items()}
    np.savez(file, **images, **{f"y_{part}": np.arange(n).astype(np.uint8) % 10 for part, n in parts.items()})
    return file


def test_mnist_comes_from_a_file_or_its_folder(mnist):
    for path in (mnist, mnist.parent, str(mnist)):
        name, split = data.load(path)
        assert name == "MNIST" and split.x_train.shape == (120, 784)
    with pytest.raises(FileNotFoundError, match="mnist.npz"):
        data.load(mnist.parent / "nowhere")


def test_mnist_comes_from_openml_as_scikit_learn_gives_it(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")

    def fetch(name, *, version, return_X_y, as_frame):
        assert (name, version, return_X_y, as_frame) == ("mnist_784", 1, True, False)
        X = np.zeros((70_000, 4))
        X[-1] = 255
        return X, np.array([str(i % 10) for i in range(70_000)], dtype=object)

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    name, split = data.load(openml=True)
    assert name == "MNIST" and split.x_train.shape == (60_000, 4) and split.x_test.shape == (10_000, 4)
    assert split.x_test[-1].tolist() == [1.0] * 4 and split.y_test[:3].tolist() == [0, 1, 2]
    with pytest.raises(ng.InvalidValueError, match="not both"):
        data.load("mnist.npz", openml=True)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_csv_and_a_picture(tmp_path, capsys):
    output = tmp_path / "result"
    arguments = ["dense", "set", "static", "--densities", "0.5", "0.1", "--seeds", "2", "--output", str(output), *QUICK]
    assert cli.main(["sparsity", *arguments]) == 0
    out = capsys.readouterr().out
    rows = rows_of(f"{output}.csv")
    assert len(rows) == 2 * (1 + 2 * 2) and len(re.findall(r"^ *\d+/10  ", out, re.MULTILINE)) == 10
    assert {(r["method"], r["density"]) for r in rows} == {
        ("dense", "1"), ("SET", "0.5"), ("SET", "0.1"), ("static", "0.5"), ("static", "0.1")
    }  # fmt: skip
    assert {r["network"] for r in rows} == {"64-20-10"} and {r["data"] for r in rows} == {"digits"}
    for r in rows:
        assert 0 <= float(r["accuracy"]) <= 1 and int(r["bytes"]) > 0 and float(r["seconds"]) > 0
        assert int(r["connections"]) == round(float(r["density"]) * 1480)
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")
    assert f"{output}.csv, {output}.png" in out


def test_the_command_reads_mnist(mnist, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["static", "--data", str(mnist.parent), "--quick", "--densities", "0.2", "--hidden", "10"]
    assert cli.main(["sparsity", *arguments]) == 0
    (found,) = rows_of("neurograph_sparsity.csv")
    assert found["data"] == "MNIST" and found["network"] == "784-10-10" and found["connections"] == "1588"


def test_the_command_lists_the_methods(capsys):
    assert cli.main(["sparsity", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(compare.METHODS)
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["magic"], "There is no method 'magic'"),
        (["--densities", "0"], "density 0.0 is out of range"),
        (["--densities", "0.5", "1.01"], "density 1.01 is out of range"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--epochs", "0"], "epochs is 0"),
        (["--samples", "0"], "--samples is 0"),
        (["--hidden", "10", "0"], "hidden size is 0"),
        (["--lr", "-1"], "lr is -1"),
        (["--data", "no/such/file.npz"], "There is no file"),
        (["--output", "no/such/folder/x"], "there is no folder"),
        (["--data", "mnist.npz", "--openml"], "not both"),
    ],
)
def test_wrong_arguments_end_with_2_and_train_nothing(capsys, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sparsity", *arguments]) == 2
    out, err = capsys.readouterr()
    assert text in err and err.count("\n") == 1 and not out
    assert not list(tmp_path.iterdir())


def test_ctrl_c_keeps_the_rows_measured_so_far(tmp_path, capsys, own):
    @compare.method("stopped", "is stopped at its second run")
    def stopped(task):
        if task.density == 0.1 and task.epochs == 2:
            raise KeyboardInterrupt
        return compare.METHODS["static"].run(task)

    output = str(tmp_path / "partial")
    assert cli.main(["sparsity", "stopped", "--densities", "0.5", "0.1", "--output", output, *QUICK]) == 130
    assert [r["density"] for r in rows_of(f"{output}.csv")] == ["0.5"]
    out, err = capsys.readouterr()
    assert "stopped after 1 of 6 runs" in err and f"{output}.png" in out
    assert (tmp_path / "partial.png").exists()


def test_a_method_that_failed_is_told_and_ends_with_1(tmp_path, capsys, own):
    @compare.method("broken", "refuses")
    def broken(task):
        raise ng.InvalidValueError("this cannot be")

    output = str(tmp_path / "x")
    assert cli.main(["sparsity", "broken", "--quick", "--output", output, *QUICK]) == 1
    assert "not possible: this cannot be" in capsys.readouterr().out
    assert rows_of(f"{output}.csv")[0]["note"] == "this cannot be" and not (tmp_path / "x.png").exists()
