"""Distillation: its value and gradient against PyTorch and finite differences, its teachers, and what it refuses."""

import re

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import neurograph as ng
from neurograph.functions import losses

pytestmark = pytest.mark.nojit


def numbers(shape, seed=0, scale=3.0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def student(n_outputs=4, seed=0, **options):
    return ng.topologies.layered([5, 6, n_outputs], seed=seed, dtype="float64", **options)


# -- the formula -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft_labels", [False, True])
@given(
    temperature=st.floats(0.3, 30), alpha=st.floats(0, 1), seed=st.integers(0, 99), batch=st.integers(1, 7)
)  # fmt: skip
def test_value_and_gradient_are_those_of_pytorch(soft_labels, temperature, alpha, seed, batch):
    torch = pytest.importorskip("torch")
    z, v = numbers((batch, 4), seed), numbers((batch, 4), seed + 1)
    labels = np.random.default_rng(seed).integers(0, 4, batch)
    labels = np.eye(4)[labels] * 0.7 + 0.075 if soft_labels else labels
    distill = ng.Distillation(lambda X: v, temperature, alpha)
    value, gradient = distill(z, distill.targets(np.zeros(batch), labels))

    outputs = torch.tensor(z, requires_grad=True)
    soft = torch.nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(outputs / temperature, 1), torch.softmax(torch.tensor(v) / temperature, 1)
    )
    hard = torch.nn.functional.cross_entropy(outputs, torch.tensor(labels))
    expected = alpha * temperature**2 * soft + (1 - alpha) * hard
    expected.backward()

    assert value == pytest.approx(expected.item(), rel=1e-10, abs=1e-12)
    np.testing.assert_allclose(gradient, outputs.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.9), (0.5, 0.3)])
def test_gradient_of_a_network_is_that_of_finite_differences(temperature, alpha):
    net, X, labels = student(activation="tanh"), numbers((8, 5)), np.arange(8) % 4
    distill = ng.Distillation(lambda X: numbers((len(X), 4), 7), temperature, alpha)
    Y = distill.targets(X, labels)
    net.backward(X, Y, distill)
    connections = net.connections
    grads, step = connections.grad.copy(), 1e-6
    for i in range(0, len(connections), 5):
        around = []
        for sign in (1, -1):
            connections[i].weight += sign * step
            around.append(distill(net.predict(X), Y)[0])
            connections[i].weight -= sign * step
        assert grads[i] == pytest.approx((around[0] - around[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_without_the_teacher_it_is_cross_entropy_and_with_nothing_else_zero_at_the_teacher():
    z, labels = numbers((6, 4)), np.arange(6) % 4
    alone = ng.Distillation(lambda X: numbers((6, 4), 1), alpha=0.0)
    value, gradient = alone(z, alone.targets(z, labels))
    expected, expected_gradient = losses.cross_entropy(z, labels)
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)
    only = ng.Distillation(lambda X: z + 5.0, alpha=1.0)  # logits are known up to a constant
    value, gradient = only(z, only.targets(z, labels))
    assert value == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(gradient, 0, atol=1e-14)


def test_large_logits_do_not_overflow_and_the_gradient_has_the_dtype_of_the_outputs():
    z = np.array([[1e4, -1e4, 0, 5]], np.float32)
    distill = ng.Distillation(lambda X: -z, temperature=0.5)
    value, gradient = distill(z, distill.targets(z, [1]))
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert gradient.dtype == np.float32


# -- in a trainer ------------------------------------------------------------------------------------------------------


def test_the_trainer_asks_the_teacher_once_and_measures_accuracy_by_the_labels():
    X, labels = numbers((50, 5)), np.arange(50) % 4
    asked = []

    def teacher(X):
        asked.append(len(X))
        return np.eye(4)[3 - labels[: len(X)]] * 100  # a teacher that is always wrong, to tell it from the labels

    net = student()
    trainer = ng.Trainer(net, loss=ng.Distillation(teacher, alpha=1.0, batch_size=20), seed=0)
    history = trainer.fit(X, labels, epochs=3, batch_size=16, progress=False, validation_data=(X[:10], labels[:10]))
    assert asked == [20, 20, 10, 10]
    outputs = net.predict(X[:10])
    assert history["val_accuracy"][-1] == np.mean(outputs.argmax(axis=1) == labels[:10])
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "n_connections", "seconds"}
    result = trainer.evaluate(X[:10], labels[:10])
    assert result == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}


def test_a_trainer_does_what_a_loop_by_hand_does():
    X, labels = numbers((48, 5)), np.arange(48) % 4
    distill = ng.Distillation(student(seed=9))
    by_trainer, by_hand = student(seed=1), student(seed=1)
    ng.Trainer(by_trainer, loss=distill).fit(X, labels, epochs=2, batch_size=16, shuffle=False, progress=False)
    Y, optimizer = distill.targets(X, labels), ng.optim.Adam()
    for start in [0, 16, 32] * 2:
        by_hand.backward(X[start : start + 16], Y[start : start + 16], distill)
        optimizer.step(by_hand)
    np.testing.assert_array_equal(by_trainer.connections.weight, by_hand.connections.weight)


def test_targets_made_before_spare_the_teacher():
    X, labels, asked = numbers((20, 5)), np.arange(20) % 4, []
    distill = ng.Distillation(lambda X: (asked.append(1), numbers((len(X), 4)))[1])
    Y = distill.targets(X, labels)
    trainer = ng.Trainer(student(), loss=distill)
    trainer.fit(X, Y, progress=False)
    trainer.fit(X, Y, progress=False)
    assert len(asked) == 1


def test_a_student_learns_to_answer_as_its_teacher():
    teacher, net, X = student(seed=3), student(seed=4), numbers((200, 5))
    trainer = ng.Trainer(
        net, loss=ng.Distillation(teacher, alpha=1.0, temperature=2.0), optimizer=ng.optim.Adam(lr=0.02)
    )
    trainer.fit(X, np.zeros(200, int), epochs=60, progress=False)
    assert np.mean(net.predict(X).argmax(1) == teacher.predict(X).argmax(1)) > 0.95


@pytest.mark.parametrize("rewire", [None, ng.sparsity.SET(every=2)])
def test_it_goes_with_recipes_and_skip_connections(rewire):
    net = ng.topologies.random_dag(5, 12, 4, density=0.4, seed=0)
    X = numbers((30, 5))
    n_connections = net.n_connections
    trainer = ng.Trainer(net, loss=ng.Distillation(student()), rewire=rewire)
    history = trainer.fit(X, np.arange(30) % 4, epochs=5, progress=False)
    assert history["loss"][-1] < history["loss"][0] and net.n_connections == n_connections


def looped(n_outputs=3):
    net = ng.Network(seed=0, dtype="float64")
    cells = net.add_neurons(4, activation="tanh")
    net.connect(net.add_inputs(2), cells)
    net.connect(cells, cells, delay=1)
    net.connect(cells, net.add_outputs(n_outputs))
    return net


@pytest.mark.parametrize("steps", [3, 5])  # as many as outputs, too: labels are no targets then
def test_sequences_are_compared_at_every_step_or_at_the_last(steps):
    X = numbers((6, steps, 2))
    every = ng.Distillation(lambda X: np.stack([X[..., 0], X[..., 1], -X[..., 0]], axis=-1))
    net, labels = looped(), np.arange(6 * steps).reshape(6, steps) % 3
    value = net.backward(X, every.targets(X, labels), every)
    rows = net.predict(X).reshape(-1, 3)
    assert value == pytest.approx(every(rows, every.targets(X, labels).ravel())[0])
    assert 0 <= ng.Trainer(net, loss=every).fit(X, labels, progress=False)["accuracy"][0] <= 1

    last = ng.Distillation(lambda X: numbers((len(X), 3)))
    net = looped()
    value = net.backward(X, last.targets(X, labels[:, 0]), last)
    assert value == pytest.approx(last(net.predict(X)[:, -1], last.targets(X, labels[:, 0]))[0])


# -- teachers ----------------------------------------------------------------------------------------------------------


def test_a_network_teaches_by_its_outputs_and_is_not_changed():
    teacher, X = student(seed=2), numbers((10, 5))
    before = teacher.connections.weight.copy()
    ng.Trainer(student(), loss=ng.Distillation(teacher)).fit(X, np.arange(10) % 4, progress=False)
    np.testing.assert_array_equal(teacher.connections.weight, before)
    np.testing.assert_allclose(ng.Distillation(teacher, batch_size=3).logits(X), teacher.predict(X), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_pytorch_module_gets_tensors_and_answers_in_evaluation_mode(dtype):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Dropout(0.9)).eval()
    module = torch.nn.Sequential(inner, torch.nn.Dropout(0.9)).to(getattr(torch, dtype))
    module.train()
    inner.eval()
    X = numbers((7, 5))
    logits = ng.Distillation(module, batch_size=3).logits(X)
    with torch.no_grad():
        expected = inner[0](torch.tensor(X).to(getattr(torch, dtype))).to(torch.float64).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-2 if dtype == "bfloat16" else 1e-6)
    assert module.training and not inner.training
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_pytorch_module_that_fails_is_left_in_its_mode():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(3, 4).train()
    with pytest.raises(RuntimeError):
        ng.Distillation(module).logits(numbers((7, 5)))
    assert module.training


def test_a_function_may_return_tensors():
    torch = pytest.importorskip("torch")
    logits = torch.tensor(numbers((5, 4)), requires_grad=True)
    np.testing.assert_array_equal(ng.Distillation(lambda X: logits).logits(np.zeros(5)), logits.detach().numpy())


def test_a_scikit_learn_model_teaches_by_the_logarithms_of_its_probabilities():
    ensemble = pytest.importorskip("sklearn.ensemble")
    X, y = numbers((80, 5)), np.arange(80) % 4
    model = ensemble.RandomForestClassifier(n_estimators=5, random_state=0).fit(X, y)  # many probabilities are 0
    distill = ng.Distillation(model, temperature=1.0, alpha=1.0)
    logits = distill.logits(X)
    np.testing.assert_allclose(np.exp(logits), model.predict_proba(X), atol=1e-11)
    history = ng.Trainer(student(), loss=distill).fit(X, y, epochs=3, progress=False)
    assert np.isfinite(history["loss"]).all()


def test_a_scikit_learn_model_of_other_classes_is_refused():
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.LogisticRegression().fit(numbers((20, 5)), np.arange(20) % 2 + 7)
    with pytest.raises(ng.InvalidValueError, match=r"classes are \[7, 8\]"):
        ng.Distillation(model).logits(numbers((3, 5)))


def test_sparse_samples_reach_the_teacher_as_they_are():
    X, labels, kinds = scipy.sparse.random_array((30, 5), density=0.3, rng=0), np.arange(30) % 4, set()

    def teacher(X):
        kinds.add(X.format)
        return X.toarray()[:, :4]

    ng.Trainer(student(), loss=ng.Distillation(teacher, batch_size=7)).fit(X.tocsr(), labels, progress=False)
    assert kinds == {"csr"}
    np.testing.assert_allclose(ng.Distillation(student()).logits(X.tocoo()), student().predict(X.toarray()), rtol=1e-12)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": np.nan}, "temperature is nan"),
        ({"temperature": np.inf}, "temperature is inf"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"temperature": True}, "temperature is True"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"alpha": np.nan}, "alpha is nan"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"teacher": None}, "teacher is None"),
        ({"teacher": ng.Network}, "teacher is <class"),
        ({"teacher": 3.0}, "teacher is 3.0"),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises(ng.InvalidValueError, match=re.escape(text)):
        ng.Distillation(**{"teacher": lambda X: X, **options})


def nan_at(row, column):
    def teacher(X):
        logits = np.zeros((len(X), 4))
        logits[row, column] = np.nan
        return logits

    return teacher


@pytest.mark.parametrize(
    ("teacher", "text"),
    [
        (student(3), "the teacher has 3 outputs and the student 4"),
        (nan_at(5, 2), "the teacher's logit of sample 5, output 2 is nan"),
        (lambda X: np.full((len(X), 4), -np.inf), "sample 0, output 0 is -inf"),
        (lambda X: np.zeros((3, 4)), "the teacher returned shape (3, 4) for 20 samples"),
        (lambda X: np.zeros(len(X)), "the teacher returned shape (20,)"),
        (lambda X: [["a"] * 4] * len(X), "not numbers"),
        (lambda X: [[0.0] * 4] * (len(X) - 1) + [[0.0] * 3], "not a regular array"),
        (lambda X: None, "not numbers"),
        (student(4), "label 7 at row 13 is out of range"),
    ],
)
def test_a_refused_teacher_changes_nothing(teacher, text):
    net, X, labels = student(), numbers((20, 5)), np.arange(20) % 4
    if "label" in text:
        labels[13] = 7
    ng.Trainer(net).fit(X, np.arange(20) % 4, progress=False)
    before, state = net.connections.weight.copy(), net.rng.bit_generator.state
    trainer = ng.Trainer(net, loss=ng.Distillation(teacher))
    with pytest.raises(ng.InvalidValueError, match=re.escape(text)):
        trainer.fit(X, labels, progress=False)
    np.testing.assert_array_equal(net.connections.weight, before)
    assert net.rng.bit_generator.state == state and trainer.steps == 0


def test_batches_that_differ_in_width_are_refused():
    with pytest.raises(ng.InvalidValueError, match="differ in shape from batch to batch"):
        ng.Distillation(lambda X: np.zeros((len(X), len(X))), batch_size=4).logits(np.zeros(6))


def test_no_samples_are_refused():
    with pytest.raises(ng.InvalidValueError, match="X is empty"):
        ng.Distillation(lambda X: X).logits(np.zeros((0, 4)))


def test_labels_alone_are_refused_with_the_cure():
    net, X = student(), numbers((4, 5))
    with pytest.raises(ng.InvalidValueError, match=re.escape("distill.targets(X, labels)")):
        net.backward(X, [0, 1, 2, 3], ng.Distillation(student()))


@pytest.mark.parametrize("labels", [np.zeros((4, 3)), np.zeros((4, 1), int), np.zeros(3, int)])
def test_labels_of_another_shape_are_refused(labels):
    with pytest.raises(ng.InvalidValueError, match="Y has shape"):
        ng.Distillation(student()).targets(numbers((4, 5)), labels)


def test_targets_of_another_student_are_refused():
    distill, X = ng.Distillation(student(3)), numbers((6, 5))
    Y = distill.targets(X, np.zeros(6, int))
    with pytest.raises(ng.InvalidValueError, match="3 outputs and the student 4"):
        student().backward(X, Y, distill)
    with pytest.raises(ng.InvalidValueError, match="3 outputs and the student 4"):
        ng.Trainer(student(), loss=distill).fit(X, Y, progress=False)


def test_a_loss_of_ones_own_can_prepare_its_targets():
    class Weighted(losses.PreparedLoss):
        def targets(self, X, Y, n_outputs=None):
            made = np.empty(len(Y), [("label", int), ("weight", float)])
            made["label"], made["weight"] = Y, 0.0
            return made

        def __call__(self, outputs, Y):
            value, gradient = losses.cross_entropy(outputs, Y["label"])
            return value, gradient * Y["weight"][:, None]

    net, X = student(), numbers((20, 5))
    before = net.connections.weight.copy()
    history = ng.Trainer(net, loss=Weighted()).fit(X, np.arange(20) % 4, progress=False)
    np.testing.assert_array_equal(net.connections.weight, before)  # all weights of samples are 0
    assert 0 <= history["accuracy"][0] <= 1


def test_images_of_different_sizes_are_taught():
    family = ng.topologies.fully_convolutional(channels=[2], n_outputs=4, seed=0)
    rng = np.random.default_rng(0)
    images, seen = [rng.random((size, size)) for size in (4, 5, 6) * 4], []

    def teacher(X):
        seen.extend(image.shape for image in X)
        return np.stack([np.full(4, image.mean()) for image in X])

    history = ng.Trainer(family, loss=ng.Distillation(teacher, batch_size=5)).fit(
        images, np.arange(12) % 4, epochs=2, batch_size=6, progress=False
    )
    assert seen == [image.shape for image in images] and history["loss"][1] < history["loss"][0]
