"""scikit-learn's multi-layer perceptrons to networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..checks import require
from ..errors import NotSupportedError
from ..network import Network
from .libraries import library

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
# What `out_activation_` of a fitted regressor can be; "exp" belongs to loss="poisson".
REGRESSION = {"identity": "identity", "exp": "exp"}


def from_sklearn(
    mlp: MLPClassifier | MLPRegressor,
    output: str = "logits",
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "auto",
) -> Network:
    """Make a network of a fitted `MLPClassifier` or `MLPRegressor`.

    Parameters
    ----------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        A fitted estimator; the network holds a copy of its weights and biases.
    output : {"logits", "probability"}
        What the outputs of a classifier compute. "logits" is what the losses of `Network.backward` take: one column
        per class, and ``predict_proba`` is their softmax ("cross_entropy"); or one column for two classes, and one per
        label for multilabel problems, whose sigmoid is ``predict_proba``'s positive column or columns
        ("binary_cross_entropy"). "probability" puts that sigmoid on the outputs. The outputs of a regressor are those
        of ``predict`` in any case.
    seed, dtype, backend : optional
        As in `Network`.

    Returns
    -------
    Network
        Layers are the groups "inputs", "hidden 1", ..., "outputs", as `topologies.layered` names them, and the inputs
        have the names of the features, if the estimator was fitted with names. Column k of several outputs belongs to
        ``mlp.classes_[k]``; the one column of two classes speaks for ``mlp.classes_[1]``.

    Raises
    ------
    InvalidValueError
        If the estimator is not fitted, or ``output`` is something else.
    NotSupportedError
        If it is neither of the two estimators, or probabilities of several classes are asked for: a softmax joins all
        outputs and is no activation of one neuron.
    MissingDependencyError
        If scikit-learn is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> X = np.linspace(-1, 1, 20)[:, None]
    >>> mlp = MLPRegressor(hidden_layer_sizes=5, solver="lbfgs", max_iter=1000, random_state=0).fit(X, X[:, 0] ** 2)
    >>> net = from_sklearn(mlp)
    >>> bool(np.allclose(net.predict(X)[:, 0], mlp.predict(X), atol=1e-5))
    True
    """
    neural_network = library("sklearn.neural_network", "sklearn")
    is_classifier = isinstance(mlp, neural_network.MLPClassifier)
    if not is_classifier and not isinstance(mlp, neural_network.MLPRegressor):
        raise NotSupportedError(
            f"from_sklearn takes an MLPClassifier or an MLPRegressor, not {type(mlp).__name__}; "
            "of a pipeline or a search, give the estimator inside"
        )
    require(hasattr(mlp, "coefs_"), f"this {type(mlp).__name__} is not fitted; call fit(X, y) first")
    require(output in ("logits", "probability"), f'output must be "logits" or "probability", not {output!r}')
    if mlp.activation not in ACTIVATIONS:
        raise NotSupportedError(f"activation {mlp.activation!r} is not one of {', '.join(ACTIVATIONS)}")
    net = Network(seed=seed, dtype=dtype, backend=backend)
    sources = net.add_inputs(mlp.coefs_[0].shape[0], name="inputs")
    last = len(mlp.coefs_) - 1
    for number, (weights, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        if number < last:
            activation, name = ACTIVATIONS[mlp.activation], f"hidden {number + 1}"
            targets = net.add_neurons(len(bias), activation=activation, bias=bias, name=name)
        else:
            activation = _output_activation(mlp.out_activation_, is_classifier, output)
            targets = net.add_outputs(len(bias), activation=activation, bias=bias, name="outputs")
        net.connect(sources, targets, weight=weights.T.ravel())
        sources = targets
    if hasattr(mlp, "feature_names_in_"):
        net.inputs.names = [str(name) for name in mlp.feature_names_in_]
    return net


def _output_activation(name: str, is_classifier: bool, output: str) -> str:
    if not is_classifier:
        if name not in REGRESSION:
            raise NotSupportedError(f"output activation {name!r} is not one of {', '.join(REGRESSION)}")
        return REGRESSION[name]
    if output == "logits":
        return "identity"
    if name == "softmax":
        raise NotSupportedError(
            "probabilities of more than two classes are a softmax over all outputs, which is no activation of one "
            'neuron; take output="logits" and apply the softmax to the prediction (loss "cross_entropy" does so)'
        )
    return "sigmoid"
