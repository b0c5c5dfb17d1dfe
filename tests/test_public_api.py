"""The names of the public contract exist."""

import inspect
import types

import pytest

import neurograph as ng

pytestmark = pytest.mark.nojit

CONTRACT = """
Network Neuron Connection Connections Group Trainer NeurographError StaleError CycleError DuplicateConnectionError
QuantizedNetwork Network.quantize QuantizedNetwork.predict QuantizedNetwork.dequantize QuantizedNetwork.save
optim sparsity topologies from_networkx to_networkx from_scipy to_scipy load
from_torch to_torch from_onnx to_onnx from_sklearn from_neat
from_edges to_edges from_graphml to_graphml topologies.connectome topologies.null_model datasets.load_connectome
optim.SGD optim.Adam optim.AdamW optim.RMSprop
sparsity.prune_lowest sparsity.Rewire sparsity.SET sparsity.GradualMagnitude
sparsity.prune_neurons sparsity.prune_before_training sparsity.snip sparsity.grasp sparsity.synflow sparsity.remove
sparsity.Movement sparsity.Fisher sparsity.Taylor sparsity.Checkpoint.restore sparsity.Checkpoint.redraw
sparsity.LotteryTickets.run sparsity.Sleep sparsity.LearnedPruner.fit sparsity.LearnedPruner.score
Distillation.targets Distillation.logits sparsity.Distillation
sparsity.RigL sparsity.SparseMomentum sparsity.DeepR sparsity.pair_gradients sparsity.densities sparsity.prune_to
sparsity.uniform sparsity.erdos_renyi sparsity.erk
sparsity.block_order Network.order_blocks Network.block_places
sparsity.ADMM sparsity.ProgressiveADMM sparsity.DropBack sparsity.DynamicNetworkSurgery sparsity.HardConcrete
sparsity.WeightElimination.eliminate sparsity.Recipe
topologies.layered topologies.random_dag
Network.add_inputs Network.add_neurons Network.add_outputs Network.mark_outputs Network.connect Network.add_connections
Network.connection Network.has_connection Network.neuron Network.group Network.prune Network.remove_neurons
Network.predict Network.__call__ Network.activations Network.backward Network.save
Neuron.remove Connection.remove Connections.remove Group.add Group.discard Trainer.fit Trainer.evaluate
optim.Adam.step
"""

ATTRIBUTES = {
    "Network": "groups neurons inputs outputs connections schedule plan "
    "n_neurons n_inputs n_outputs n_connections n_parameters nbytes",
    "Neuron": "id bias activation aggregation fan_in fan_out inputs outputs predecessors successors groups "
    "output error bias_grad",
    "Connection": "id source target weight grad delay parameter",
    "Connections": "id source target weight grad delay parameter",
    "Group": "ids bias bias_grad activation aggregation fan_in fan_out incoming outgoing shape name",
}


@pytest.mark.parametrize("name", CONTRACT.split())
def test_name_exists(name):
    """Every name of the contract that is built."""
    thing = ng
    for part in name.split("."):
        thing = getattr(thing, part)
    assert thing is not None


def test_attributes_exist():
    """Read on living objects: an attribute that fails is as good as none."""
    net = ng.Network(seed=0, dtype="float32", backend="auto")
    net.connect(net.add_inputs(2, name="x"), net.add_outputs(1, name="y"))
    net.backward([[1.0, 2.0]], [[0.0]], loss="mse")
    things = {
        "Network": net,
        "Neuron": net.neuron(2),
        "Connection": net.connections[0],
        "Connections": net.connections,
        "Group": net.groups["y"],
    }
    for kind, names in ATTRIBUTES.items():
        assert isinstance(things[kind], getattr(ng, kind))
        for name in names.split():
            assert getattr(things[kind], name) is not None, f"{kind}.{name}"
    assert net.schedule.depth == 2 and len(net.schedule.generations) == 2
    assert net.plan.nbytes > 0 and "generation" in str(net.plan).lower()
    assert "neuron" in repr(net).lower() or "connection" in repr(net).lower()


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "Network": "seed dtype backend",
        "Network.predict": "X batch_size",
        "Network.backward": "X Y loss",
        "Network.quantize": "format per",
        "QuantizedNetwork.predict": "X batch_size",
        "Network.add_connections": "weight delay parameter",
        "Network.connect": "density weight",
        "Network.add_neurons": "activation aggregation bias name",
        "Network.add_outputs": "activation aggregation bias name",
        "Trainer": "loss optimizer rewire callbacks",
        "Trainer.fit": "X Y epochs batch_size validation_data progress",
        "topologies.layered": "density activation seed",
        "topologies.random_dag": "n_inputs n_hidden n_outputs density seed",
        "sparsity.prune_lowest": "score fraction scope",
        "sparsity.Rewire": "drop grow fraction every",
        "sparsity.SET": "fraction every",
        "Distillation": "teacher temperature alpha",
        "optim.SGD": "lr momentum nesterov",
        "from_torch": "module input_shape",
        "from_onnx": "path",
        "to_onnx": "net path",
        "from_neat": "genome config",
        "from_networkx": "inputs outputs on_cycle",
        "from_scipy": "matrix inputs outputs on_cycle",
        "from_edges": "table source target weight inputs outputs on_cycle",
    }.items(),
)
def test_parameters_have_the_documented_names(name, expected):
    """Keyword arguments are part of the contract."""
    thing = ng
    for part in name.split("."):
        thing = getattr(thing, part)
    parameters = inspect.signature(thing).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        pytest.skip(f"{name} takes any keyword")
    assert set(expected.split()) <= set(parameters), name


def test_all_equals_the_public_names():
    """`__all__` is sorted and complete: every public name that is no submodule by accident."""
    assert all(hasattr(ng, name) for name in ng.__all__)  # bridges are read when first asked for
    assert list(ng.__all__) == sorted(ng.__all__)
    public = {
        name
        for name, value in vars(ng).items()
        if not name.startswith("_") and (name in ng.__all__ or not isinstance(value, types.ModuleType))
    }
    assert set(ng.__all__) - {"__version__"} == public
    assert all(hasattr(ng, name) for name in ng.__all__)
    assert isinstance(ng.__version__, str)


def test_public_names_are_documented():
    """Every public class, function and method has a docstring, and public ones an example."""
    bare, without_example = [], []
    for name in ng.__all__:
        thing = getattr(ng, name)
        if not callable(thing):
            continue
        if not inspect.getdoc(thing):
            bare.append(name)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for attribute, value in vars(thing).items():
                if not attribute.startswith("_") and callable(value) and not inspect.getdoc(value):
                    bare.append(f"{name}.{attribute}")
            if ">>>" not in (inspect.getdoc(thing) or ""):
                without_example.append(name)
        elif inspect.isfunction(thing) and ">>>" not in (inspect.getdoc(thing) or ""):
            without_example.append(name)
    assert not bare and not without_example
