"""Trainer, History and the callbacks."""

import csv
import os
import signal
import threading

import numpy as np
import pytest

from neurograph import callbacks, optim, sparsity, topologies
from neurograph.errors import DivergedError, InvalidValueError, UnknownNameError
from neurograph.functions import losses
from neurograph.network import Network, load
from neurograph.train import History, Trainer

X_XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
Y_XOR = np.array([[0], [1], [1], [0]], np.float64)


def make_net(n_inputs=2, n_hidden=8, n_outputs=1, seed=0, dtype="float64", backend="reference", activation="tanh"):
    """A net with a hidden group and skip connections."""
    net = Network(seed=seed, dtype=dtype, backend=backend)
    x = net.add_inputs(n_inputs, name="x")
    h = net.add_neurons(n_hidden, activation=activation, name="h")
    y = net.add_outputs(n_outputs, name="y")
    net.connect(x, h)
    net.connect(x | h, y)
    return net


def blobs(rng, n=90, n_classes=3):
    """Classes that a line separates, and their labels."""
    labels = np.arange(n) % n_classes
    centres = 4 * np.stack([np.cos(2 * np.pi * np.arange(n_classes) / n_classes),
                            np.sin(2 * np.pi * np.arange(n_classes) / n_classes)], axis=1)  # fmt: skip
    return centres[labels] + 0.5 * rng.standard_normal((n, 2)), labels


class Recorder(callbacks.Callback):
    """Writes down every call."""

    def __init__(self):
        self.calls = []

    def on_fit_start(self, trainer):
        self.calls.append("start")

    def on_step_end(self, trainer, step, loss):
        self.calls.append(("step", step, loss))

    def on_epoch_end(self, trainer, epoch, record):
        self.calls.append(("epoch", epoch, dict(record)))

    def on_fit_end(self, trainer, history):
        self.calls.append(("end", history))


class At(callbacks.Callback):
    """Runs an action after one step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, trainer, step, loss):
        if step == self.step:
            self.action()


class Figures(callbacks.Callback):
    """Overwrites what the history and later callbacks see, to test those on known figures."""

    def __init__(self, **figures):
        self.figures = figures

    def on_epoch_end(self, trainer, epoch, record):
        record |= {name: values[epoch - 1] for name, values in self.figures.items()}


def fit_xor(net=None, trainer_options=None, **options):
    """A short, silent training of the four XOR samples, two steps an epoch."""
    trainer = Trainer(net or make_net(), loss="mse", **(trainer_options or {}))
    return trainer, trainer.fit(X_XOR, Y_XOR, **dict(epochs=3, batch_size=2, progress=False) | options)


@pytest.mark.nojit
def test_learns_xor(backend):
    net = make_net(backend=backend, dtype="float32")
    trainer = Trainer(net, loss="binary_cross_entropy", optimizer=optim.Adam(lr=0.05))
    history = trainer.fit(X_XOR, Y_XOR, epochs=200, batch_size=4, progress=False)

    assert history["accuracy"][-1] == 1.0
    assert history["loss"][-1] < 0.05 < history["loss"][0]
    np.testing.assert_array_equal(net.predict(X_XOR) > 0, Y_XOR > 0.5)


def test_one_epoch_is_plain_gradient_descent_over_the_batches():
    """Without shuffling, fit does what the three calls of the contract do by hand, the smaller last batch included."""
    by_hand, net = make_net(), make_net()
    optimizer = optim.SGD(lr=0.1, momentum=0.9)
    values, sizes = [], []
    for batch in (slice(0, 3), slice(3, 4)):
        values.append(by_hand.backward(X_XOR[batch], Y_XOR[batch], "mse"))
        sizes.append(len(X_XOR[batch]))
        optimizer.step(by_hand)
    trainer = Trainer(net, loss="mse", optimizer=optimizer)
    history = trainer.fit(X_XOR, Y_XOR, batch_size=3, shuffle=False, progress=False)

    np.testing.assert_array_equal(net.connections.weight, by_hand.connections.weight)
    np.testing.assert_array_equal(net.neurons.bias, by_hand.neurons.bias)
    assert history["loss"] == [pytest.approx(np.average(values, weights=sizes), rel=1e-14)]
    assert (trainer.steps, trainer.epoch) == (2, 1)


def test_history_of_a_classification(rng):
    X, labels = blobs(rng)
    net = make_net(n_outputs=3)
    trainer = Trainer(net, optimizer=optim.Adam(lr=0.01))
    history = trainer.fit(X[:60], labels[:60], epochs=4, batch_size=8, validation_data=(X[60:], labels[60:]),
                          progress=False)  # fmt: skip

    assert isinstance(history, dict) and isinstance(history, History)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "n_connections", "seconds"]
    assert {len(values) for values in history.values()} == {4}
    assert history["n_connections"] == [net.n_connections] * 4
    assert min(history["seconds"]) > 0
    assert not history.interrupted
    outputs = net.predict(X[60:])
    assert history["val_accuracy"][-1] == np.mean(outputs.argmax(axis=1) == labels[60:])
    assert history["val_loss"][-1] == losses.cross_entropy(outputs, labels[60:])[0]
    assert history["accuracy"][0] < history["accuracy"][-1]


def test_training_accuracy_is_measured_before_each_update(rng):
    X, labels = blobs(rng, n=12)
    twin, net = make_net(n_outputs=3), make_net(n_outputs=3)
    before = np.mean(twin.predict(X).argmax(axis=1) == labels)
    history = Trainer(net, optimizer=optim.SGD(lr=10.0)).fit(X, labels, batch_size=12, progress=False)

    assert history["accuracy"] == [before]


def test_losses_that_are_no_classification_have_no_accuracy():
    def half(outputs, Y):
        return ((outputs - Y) ** 2).sum() / 2, outputs - Y

    for loss in ("mse", half):
        trainer = Trainer(make_net(), loss=loss)
        history = trainer.fit(X_XOR, Y_XOR, validation_data=(X_XOR, Y_XOR), progress=False)

        assert list(history) == ["loss", "val_loss", "n_connections", "seconds"]
        assert trainer.evaluate(X_XOR, Y_XOR).keys() == {"loss"}


def test_evaluate_equals_the_loss_of_the_predictions(rng):
    X, labels = blobs(rng)
    net = make_net(n_outputs=3)
    trainer = Trainer(net)
    outputs = net.predict(X)
    expected = {"loss": losses.cross_entropy(outputs, labels)[0],
                "accuracy": np.mean(outputs.argmax(axis=1) == labels)}  # fmt: skip

    assert trainer.evaluate(X, labels) == pytest.approx(expected, rel=1e-12)
    assert trainer.evaluate(X, labels, batch_size=7) == pytest.approx(expected, rel=1e-12)
    assert trainer.steps == 0


def test_same_seed_same_weights(backend):
    def weights(net_seed, seed):
        net = make_net(seed=net_seed, backend=backend)
        Trainer(net, loss="mse", seed=seed).fit(X_XOR, Y_XOR, epochs=5, batch_size=1, progress=False)
        return net.connections.weight

    np.testing.assert_array_equal(weights(0, None), weights(0, None))
    np.testing.assert_array_equal(weights(0, 1), weights(0, 1))
    assert not np.array_equal(weights(0, 1), weights(0, 2))
    assert not np.array_equal(weights(0, 1), weights(0, None))


def test_two_fits_equal_one_long_fit():
    long, net = make_net(), make_net()
    Trainer(long, loss="mse").fit(X_XOR, Y_XOR, epochs=5, batch_size=2, progress=False)
    trainer = Trainer(net, loss="mse")
    first = trainer.fit(X_XOR, Y_XOR, epochs=2, batch_size=2, progress=False)
    second = trainer.fit(X_XOR, Y_XOR, epochs=3, batch_size=2, progress=False)

    assert (len(first["loss"]), len(second["loss"])) == (2, 3)
    assert (trainer.steps, trainer.epoch) == (10, 5)
    np.testing.assert_array_equal(net.connections.weight, long.connections.weight)


def test_no_epochs_change_nothing():
    net = make_net()
    before = net.connections.weight.copy()
    trainer, history = fit_xor(net, epochs=0)

    assert history == {"loss": [], "n_connections": [], "seconds": []}
    np.testing.assert_array_equal(net.connections.weight, before)


def test_every_sample_is_seen_once_an_epoch():
    seen = []

    def loss(outputs, Y):
        seen.extend(Y[:, 0])
        return 0.0, np.zeros_like(outputs)

    trainer = Trainer(make_net(n_inputs=1), loss=loss)
    samples = np.arange(10.0)[:, None]
    trainer.fit(samples, samples, epochs=2, batch_size=3, progress=False)

    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:] != list(range(10))


def test_rewire_is_called_after_every_update():
    class Rewire:
        calls = []

        def step(self, net, step):
            self.calls.append((step, net.counters["adam"]))
            net.prune(net.connections[:1])

    net = make_net()
    before = net.n_connections
    trainer, history = fit_xor(net, {"rewire": Rewire()})

    assert Rewire.calls == [(step, step) for step in range(1, 7)]
    assert history["n_connections"] == [before - 2, before - 4, before - 6]


def test_callbacks_are_called_in_order_with_what_they_need():
    recorder = Recorder()
    _, history = fit_xor(trainer_options={"callbacks": [recorder]}, epochs=2)

    kinds = [call if isinstance(call, str) else call[:2] for call in recorder.calls]
    assert kinds == ["start", ("step", 1), ("step", 2), ("epoch", 1), ("step", 3), ("step", 4), ("epoch", 2),
                     ("end", history)]  # fmt: skip
    steps = [call[2] for call in recorder.calls if call[0] == "step"]
    records = [call[2] for call in recorder.calls if call[0] == "epoch"]
    assert [record["loss"] for record in records] == history["loss"]
    assert history["loss"] == pytest.approx([np.mean(steps[:2]), np.mean(steps[2:])])


def test_a_callback_can_stop_in_the_midst_of_an_epoch():
    trainer = Trainer(make_net(), loss="mse", callbacks=[At(3, lambda: setattr(trainer, "stop", True))])
    history = trainer.fit(X_XOR, Y_XOR, epochs=5, batch_size=2, validation_data=(X_XOR, Y_XOR), progress=False)

    assert trainer.steps == 3
    assert len(history["loss"]) == 2
    assert np.isfinite(history["val_loss"]).all()
    assert not history.interrupted
    assert len(trainer.fit(X_XOR, Y_XOR, epochs=2, progress=False)["loss"]) == 2  # a new fit starts unstopped


def raise_interrupt():
    raise KeyboardInterrupt


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("interrupt", [raise_interrupt, press_ctrl_c])
def test_ctrl_c_returns_what_was_learned(interrupt, capsys):
    recorder = Recorder()
    net, twin = make_net(), make_net()
    Trainer(twin, loss="mse").fit(X_XOR, Y_XOR, epochs=1, batch_size=1, progress=False)
    trainer = Trainer(net, loss="mse", callbacks=[recorder, At(7, interrupt)])
    history = trainer.fit(X_XOR, Y_XOR, epochs=5, batch_size=1, validation_data=(X_XOR, Y_XOR), progress=False)

    assert history.interrupted
    assert trainer.steps == net.counters["adam"] == 7
    losses_seen = [call[2] for call in recorder.calls if call[0] == "step"]
    assert history["loss"] == pytest.approx([np.mean(losses_seen[:4]), np.mean(losses_seen[4:])])
    assert np.isfinite(history["val_loss"][0]) and np.isnan(history["val_loss"][1])
    assert {len(values) for values in history.values()} == {2}
    assert recorder.calls[-1] == ("end", history)
    assert "interrupted after step 7" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(trainer.fit(X_XOR, Y_XOR, epochs=1, progress=False)["loss"]) == 1


def test_ctrl_c_waits_for_the_step_to_be_whole():
    """The signal comes in the midst of an update; weights and biases are updated all the same."""

    class Press:
        def step(self, net):
            press_ctrl_c()
            optim.SGD(lr=0.1).step(net)

    net = make_net()
    trainer, history = fit_xor(net, {"optimizer": Press()})

    assert history.interrupted
    assert trainer.steps == net.counters["sgd"] == 1
    assert len(history["loss"]) == 1


def test_a_second_ctrl_c_does_not_wait():
    class Press:
        def step(self, net):
            press_ctrl_c()
            press_ctrl_c()
            pytest.fail("the second Ctrl-C was held back")

    trainer, history = fit_xor(trainer_options={"optimizer": Press()})

    assert history.interrupted
    assert trainer.steps == 0
    assert history["loss"] == []


def test_trains_outside_the_main_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit_xor()[1]))
    thread.start()
    thread.join()

    assert len(results[0]["loss"]) == 3


@pytest.mark.nojit
def test_divergence_names_epoch_step_and_neuron(backend):
    net = make_net(backend=backend, activation="square")
    net.groups["h"][3].bias = 1e200
    before = net.connections.weight.copy()
    trainer = Trainer(net, loss="mse")
    with pytest.raises(DivergedError) as caught:
        trainer.fit(X_XOR, Y_XOR, batch_size=2, progress=False)

    message = str(caught.value)
    for part in ("epoch 1", "step 1", f"neuron {net.groups['h'][3].id} ", "group 'h'", "learning rate"):
        assert part in message
    np.testing.assert_array_equal(net.connections.weight, before)
    assert net.counters == {}
    assert isinstance(caught.value, ArithmeticError)


def test_divergence_later_on():
    net = make_net()
    recorder = Recorder()
    trainer = Trainer(net, loss="mse", optimizer=optim.SGD(lr=1e30), callbacks=[recorder])
    with pytest.raises(DivergedError) as caught:
        trainer.fit(X_XOR, Y_XOR, epochs=50, batch_size=2, progress=False)

    assert trainer.steps == net.counters["sgd"] > 0
    assert f"epoch {trainer.epoch + 1}, step {trainer.steps + 1}" in str(caught.value)
    assert np.isfinite(net.connections.weight).all()
    assert recorder.calls[-1][0] == "end"


def test_divergence_of_the_loss_function_alone():
    trainer = Trainer(make_net(), loss=lambda outputs, Y: (np.nan, np.zeros_like(outputs)))
    with pytest.raises(DivergedError, match="loss function"):
        trainer.fit(X_XOR, Y_XOR, progress=False)


NAN = np.where(np.arange(8).reshape(4, 2) == 5, np.nan, 0.0)
BAD_FITS = [
    (dict(epochs=-1), "epochs"),
    (dict(epochs=1.5), "epochs"),
    (dict(epochs=True), "epochs"),
    (dict(batch_size=0), "batch_size"),
    (dict(batch_size="all"), "batch_size"),
    (dict(X=X_XOR[:3]), "3 rows"),
    (dict(X=X_XOR[:0], Y=Y_XOR[:0]), "empty"),
    (dict(X=X_XOR[:, :1]), "2 inputs"),
    (dict(X=NAN), "row 2, column 1"),
    (dict(Y=np.zeros((4, 2))), r"\(4, 2\)"),
    (dict(Y=[[0], [1], [np.nan], [0]]), "row 2"),
    (dict(Y=[[0], [1, 1], [1], [0]]), "Y"),
    (dict(Y=1.0), "Y"),
    (dict(validation_data=X_XOR), "pair"),
    (dict(validation_data=(X_XOR,)), "pair"),
    (dict(validation_data=(X_XOR, Y_XOR[:2])), "validation"),
    (dict(validation_data=(NAN, Y_XOR)), "validation.*row 2, column 1"),
]


@pytest.mark.parametrize(("options", "word"), BAD_FITS, ids=str)
def test_bad_fits_change_nothing(options, word):
    net, recorder = make_net(), Recorder()
    before, state = net.connections.weight.copy(), net.rng.bit_generator.state
    trainer = Trainer(net, loss="mse", callbacks=[recorder])
    with pytest.raises(InvalidValueError, match=word):
        trainer.fit(**dict(X=X_XOR, Y=Y_XOR, progress=False) | options)

    assert recorder.calls == []
    assert (trainer.steps, trainer.epoch, net.counters) == (0, 0, {})
    assert net.rng.bit_generator.state == state
    np.testing.assert_array_equal(net.connections.weight, before)


def test_a_bad_label_anywhere_is_found_before_the_first_step(rng, monkeypatch):
    X, labels = blobs(rng)
    labels[77] = 3
    trainer = Trainer(make_net(n_outputs=3))
    with pytest.raises(InvalidValueError, match="label 3 at row 77"):
        trainer.fit(X, labels, batch_size=1, progress=False)
    monkeypatch.setattr("neurograph.train._CHECK_ENTRIES", 30)
    with pytest.raises(InvalidValueError, match="label 3 at row 7 .*from row 70"):
        trainer.fit(X, labels, batch_size=1, progress=False)

    assert trainer.steps == 0


def test_a_network_without_outputs_is_refused():
    net = Network(backend="reference")
    net.add_inputs(2)
    with pytest.raises(InvalidValueError, match="outputs"):
        Trainer(net, loss="mse").fit(X_XOR, Y_XOR, progress=False)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (dict(optimizer="adam"), "optimizer"),
        (dict(optimizer=optim.Adam), "optimizer"),
        (dict(rewire=0.3), "rewire"),
        (dict(callbacks=[print]), "callback"),
        (dict(seed="one"), "seed"),
        (dict(seed=-1), "seed"),
        (dict(loss=3), "loss"),
    ],
    ids=str,
)
def test_bad_trainers_are_refused(options, word):
    with pytest.raises(InvalidValueError, match=word):
        Trainer(make_net(), **options)


def test_unknown_loss_lists_the_known():
    with pytest.raises(UnknownNameError, match="cross_entropy"):
        Trainer(make_net(), loss="hinge")


def test_progress_shows_a_bar_and_a_line_an_epoch(capsys):
    trainer = Trainer(make_net(), loss="mse", callbacks=[callbacks.ProgressBar(interval=0)])
    trainer.fit(X_XOR, Y_XOR, epochs=3, batch_size=1, validation_data=(X_XOR, Y_XOR), progress=False)
    shown = capsys.readouterr()

    lines = shown.out.split("\n")
    assert [line.split("  ")[0] for line in lines if line] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(f"  {name} " in lines[0] for name in ("loss", "val_loss", "n_connections", "seconds"))
    assert "12/12" in shown.err


def test_progress_writes_the_last_line_of_many_fast_epochs(capsys):
    fit_xor(epochs=40, progress=True)
    lines = [line for line in capsys.readouterr().out.split("\n") if line]

    assert lines[0].startswith("epoch 1/40")
    assert lines[-1].startswith("epoch 40/40")
    assert len(lines) < 40


def test_without_progress_it_is_silent(capsys):
    fit_xor()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("monitor", "mode", "figures", "epochs"),
    [
        ("val_loss", "auto", [5, 4, 4, 3, 3.5, 3, 9, 1, 1, 1], 6),
        ("val_accuracy", "auto", [0.1, 0.2, 0.3, 0.3, 0.2, 0.9], 5),
        ("val_accuracy", "min", [0.1, 0.2, 0.3, 0.05], 3),
        ("val_loss", "max", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 10),
        ("val_loss", "auto", [np.nan, 5, np.nan, np.nan, 4], 4),
    ],
)
def test_early_stopping(monitor, mode, figures, epochs):
    stopping = callbacks.EarlyStopping(monitor, patience=2, mode=mode)
    trainer = Trainer(make_net(), loss="binary_cross_entropy", callbacks=[Figures(**{monitor: figures}), stopping])
    history = trainer.fit(X_XOR, Y_XOR, epochs=len(figures), validation_data=(X_XOR, Y_XOR), progress=False)

    assert len(history["loss"]) == trainer.epoch == epochs


def test_early_stopping_ignores_small_improvements():
    stopping = callbacks.EarlyStopping("loss", patience=2, min_delta=0.5)
    trainer = Trainer(
        make_net(), loss="mse", callbacks=[Figures(loss=[9, 8.625, 8.375, 8.0, 7.875, 7.8, 7.7]), stopping]
    )
    trainer.fit(X_XOR, Y_XOR, epochs=7, progress=False)

    # 9, then 8.375; the next two are not more than 0.5 below it
    assert trainer.epoch == 5
    assert stopping.best == 8.375


@pytest.mark.parametrize("make", [callbacks.EarlyStopping, lambda monitor: callbacks.Checkpoint("net", monitor)])
def test_a_figure_that_is_not_recorded_is_refused_before_training(make):
    trainer = Trainer(make_net(), loss="mse", callbacks=[make("val_loss")])
    with pytest.raises(InvalidValueError, match="validation_data.*recorded are loss, n_connections, seconds"):
        trainer.fit(X_XOR, Y_XOR, progress=False)
    assert trainer.steps == 0


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: callbacks.EarlyStopping(patience=0), "patience"),
        (lambda: callbacks.EarlyStopping(patience=1.5), "patience"),
        (lambda: callbacks.EarlyStopping(min_delta=-1), "min_delta"),
        (lambda: callbacks.EarlyStopping(min_delta=np.nan), "min_delta"),
        (lambda: callbacks.EarlyStopping(mode="best"), "mode"),
        (lambda: callbacks.Checkpoint("net", every=0), "every"),
        (lambda: callbacks.Checkpoint("net-{loss}"), "braces"),
        (lambda: callbacks.Checkpoint("net-{"), "braces"),
        (lambda: callbacks.Checkpoint("net", mode="up"), "mode"),
    ],
)
def test_bad_callbacks_are_refused(make, word):
    with pytest.raises(InvalidValueError, match=word):
        make()


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_log_holds_the_history(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("what an earlier run left")
    trainer, history = fit_xor(trainer_options={"callbacks": [callbacks.CSVLog(path)]})

    rows = read_csv(path)
    assert list(rows[0]) == ["epoch", *history]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for name, values in history.items():
        assert [float(row[name]) for row in rows] == values


def test_csv_log_goes_on_in_a_second_fit_also_with_new_columns(tmp_path):
    path = tmp_path / "log.csv"
    trainer = Trainer(make_net(), loss="mse", callbacks=[callbacks.CSVLog(path)])
    first = trainer.fit(X_XOR, Y_XOR, epochs=2, progress=False)
    second = trainer.fit(X_XOR, Y_XOR, epochs=1, validation_data=(X_XOR, Y_XOR), progress=False)
    third = trainer.fit(X_XOR, Y_XOR, epochs=1, progress=False)

    rows = read_csv(path)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["loss"]) for row in rows] == first["loss"] + second["loss"] + third["loss"]
    assert [row["val_loss"] for row in rows] == ["", "", str(second["val_loss"][0]), ""]


def test_csv_log_that_cannot_be_written_fails_before_training(tmp_path):
    trainer = Trainer(make_net(), loss="mse", callbacks=[callbacks.CSVLog(tmp_path / "missing" / "log.csv")])
    with pytest.raises(OSError, match="missing"):
        trainer.fit(X_XOR, Y_XOR, progress=False)
    assert trainer.steps == 0


def test_checkpoints_are_saved_every_so_often(tmp_path):
    net = make_net()
    checkpoint = callbacks.Checkpoint(tmp_path / "net-{epoch:02d}.ng", every=2)
    fit_xor(net, {"callbacks": [checkpoint]}, epochs=4)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["net-02.ng", "net-04.ng"]
    saved = load(tmp_path / "net-04.ng")
    np.testing.assert_array_equal(saved.predict(X_XOR), net.predict(X_XOR))


def test_checkpoint_keeps_the_best(tmp_path):
    figures = Figures(loss=[3.0, 2.0, 4.0, 1.0, 1.0])
    checkpoint = callbacks.Checkpoint(tmp_path / "{epoch}", monitor="loss")
    fit_xor(trainer_options={"callbacks": [figures, checkpoint]}, epochs=5)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["1", "2", "4"]


def test_training_goes_on_after_load_as_if_nothing_had_happened(tmp_path):
    """The optimizer's state and the random state are in the file."""
    net = make_net()
    fit_xor(net)
    net.save(tmp_path / "net.ng")
    copy = load(tmp_path / "net.ng")
    fit_xor(net)
    fit_xor(copy)

    np.testing.assert_array_equal(copy.predict(X_XOR), net.predict(X_XOR))
    assert copy.counters == net.counters


# -- recipes -----------------------------------------------------------------------------------------------------------


class Noting(sparsity.Recipe):
    """Writes down what happens, and what it sees of the gradient and of the weight."""

    def __init__(self, name, notes):
        self.name, self.notes = name, notes

    def before_backward(self, net, step):
        self.notes.append((self.name, "before_backward", step, net.connections.weight.copy()))

    def before_update(self, net, step):
        self.notes.append((self.name, "before_update", step, net.connections.grad.copy()))
        net.connections.grad += 1.0

    def step(self, net, step):
        self.notes.append((self.name, "step", step, net.connections.weight.copy()))


def test_recipes_are_called_around_every_update(rng):
    """In their order, with the number of the step; what one adds to the gradient the next and the update see."""
    net, notes = topologies.layered([3, 2], seed=0), []
    trainer = Trainer(net, "mse", optim.SGD(lr=0.5), rewire=[Noting("a", notes), Noting("b", notes)])
    trainer.fit(rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), batch_size=4, progress=False)
    hooks = ("before_backward", "before_update", "step")
    assert [note[:3] for note in notes] == [(name, hook, step) for step in (1, 2) for hook in hooks for name in "ab"]
    weight, grad = notes[0][3], notes[2][3]
    np.testing.assert_array_equal(notes[3][3], grad + 1)
    np.testing.assert_allclose(notes[4][3], weight - 0.5 * (grad + 2), rtol=1e-6)
    np.testing.assert_array_equal(notes[6][3], notes[5][3])


def test_each_recipe_of_a_sequence_must_have_a_step():
    net = topologies.layered([3, 2])
    with pytest.raises(InvalidValueError, match="rewire must be an object with a method step, not 3"):
        Trainer(net, rewire=[sparsity.SET(), 3])
