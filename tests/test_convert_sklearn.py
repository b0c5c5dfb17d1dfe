"""scikit-learn's perceptrons: the network computes what `predict` and `predict_proba` do."""

import re
import sys
import warnings

import numpy as np
import pytest
from scipy.special import expit, softmax

import neurograph as ng

pytest.importorskip("sklearn")
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402

ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]


def fitted(estimator, Y, X, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator(max_iter=5, random_state=0, **options).fit(X, Y)


@pytest.fixture
def X(rng):
    return rng.normal(size=(60, 5))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regressor_predicts_the_same(X, activation, n_outputs):
    Y = np.squeeze(np.sin(X[:, :n_outputs] * 3))
    mlp = fitted(MLPRegressor, Y, X, activation=activation, hidden_layer_sizes=(7, 4))
    net = ng.from_sklearn(mlp)
    np.testing.assert_allclose(net.predict(X), mlp.predict(X).reshape(len(X), n_outputs), atol=1e-5)
    assert [len(net.groups[name]) for name in ("inputs", "hidden 1", "hidden 2", "outputs")] == [5, 7, 4, n_outputs]


def test_poisson_regressor_predicts_the_same(X):
    pytest.importorskip("sklearn", minversion="1.7")
    mlp = fitted(MLPRegressor, np.exp(X[:, 0]), X, loss="poisson", hidden_layer_sizes=(6,))
    np.testing.assert_allclose(ng.from_sklearn(mlp).predict(X)[:, 0], mlp.predict(X), rtol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_binary_classifier(X, activation):
    mlp = fitted(MLPClassifier, np.where(X[:, 0] > 0, "yes", "no"), X, activation=activation, hidden_layer_sizes=(6,))
    positive = mlp.predict_proba(X)[:, 1:]
    np.testing.assert_allclose(ng.from_sklearn(mlp, output="probability").predict(X), positive, atol=1e-6)
    np.testing.assert_allclose(expit(ng.from_sklearn(mlp).predict(X)), positive, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_multiclass_classifier(X, activation):
    mlp = fitted(MLPClassifier, np.digitize(X[:, 0], [-0.5, 0.5]), X, activation=activation, hidden_layer_sizes=(6, 6))
    net = ng.from_sklearn(mlp)
    np.testing.assert_allclose(softmax(net.predict(X), axis=1), mlp.predict_proba(X), atol=1e-6)
    with pytest.raises(ng.NotSupportedError, match="softmax"):
        ng.from_sklearn(mlp, output="probability")


def test_multilabel_classifier(X):
    mlp = fitted(MLPClassifier, (X[:, :3] > 0).astype(int), X, hidden_layer_sizes=(6,))
    np.testing.assert_allclose(ng.from_sklearn(mlp, "probability").predict(X), mlp.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(expit(ng.from_sklearn(mlp).predict(X)), mlp.predict_proba(X), atol=1e-6)


def test_inputs_keep_the_names_of_the_features(X):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["a", "b", "c", "d", "e"])
    net = ng.from_sklearn(fitted(MLPRegressor, X[:, 0], table, hidden_layer_sizes=(3,)))
    assert net.inputs.names.tolist() == ["a", "b", "c", "d", "e"]


def test_it_trains_on_where_scikit_learn_stopped(X):
    """One step of plain gradient descent in both: the same loss, the same weights."""
    Y = X[:, :2] ** 2
    options = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1, "alpha": 0.0, "batch_size": len(X)}
    mlp = fitted(MLPRegressor, Y, X, hidden_layer_sizes=(4,), activation="tanh", shuffle=False, **options)
    net = ng.from_sklearn(mlp, dtype="float64")
    mlp.partial_fit(X, Y)
    net.backward(X, Y, loss="mse")
    # scikit-learn's gradient is that of half the squared error summed over the two outputs: our mean over them.
    ng.optim.SGD(lr=0.1).step(net)
    again = ng.from_sklearn(mlp, dtype="float64")
    np.testing.assert_allclose(net.connections.weight, again.connections.weight, atol=1e-10)
    np.testing.assert_allclose(net.neurons.bias, again.neurons.bias, atol=1e-10)


def test_refusals(X, monkeypatch):
    with pytest.raises(ng.InvalidValueError, match="not fitted"):
        ng.from_sklearn(MLPClassifier())
    with pytest.raises(ng.NotSupportedError, match="LogisticRegression"):
        ng.from_sklearn(LogisticRegression())
    with pytest.raises(ng.NotSupportedError, match="estimator inside"):
        ng.from_sklearn(make_pipeline(MLPClassifier()))
    mlp = fitted(MLPRegressor, X[:, 0], X, hidden_layer_sizes=(3,))
    with pytest.raises(ng.InvalidValueError, match="odds"):
        ng.from_sklearn(mlp, output="odds")
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(ng.MissingDependencyError, match=re.escape('pip install "neurograph[sklearn]"')):
        ng.from_sklearn(mlp)
