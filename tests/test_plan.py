"""Plans: what is laid out, and how rarely."""

import numpy as np

import neurograph as ng


def test_edits_that_keep_the_generations_keep_the_plan():
    net = ng.topologies.layered([20, 30, 10], density=0.5)
    optimizer = ng.optim.Adam()
    X, Y = np.ones((4, 20)), np.zeros((4, 10))
    for _ in range(10):
        net.backward(X, Y)
        optimizer.step(net)
    assert net.plans_lowered == 1
    rebuilds = net.graph.incoming.rebuilds
    for _ in range(10):
        net.connections[0].remove()
        net.grow(net.homes[0], net.homes[1], 1)
        net.backward(X, Y)
    assert net.plans_lowered == 1 and net.graph.incoming.rebuilds == rebuilds
    net.add_neurons(1)
    net.backward(X, Y)
    assert net.plans_lowered == 2


def test_a_plan_says_what_will_run():
    net = ng.Network()
    x = net.add_inputs(3)
    h = net.add_neurons(4, activation=["relu", "tanh", "relu", "tanh"])
    y = net.add_outputs(2, aggregation="max")
    net.connect(x, h)
    net.connect(h, y)
    text = str(net.plan)
    assert "3 inputs, 6 neurons in 2 generations, 20 connections, 2 outputs" in text
    assert "relu, tanh" in text and "identity of max" in text and "3 to 3" in text


def test_a_deep_plan_is_shortened():
    net = ng.Network()
    chain = net.add_neurons(100)
    net.add_connections(chain[:-1], chain[1:])
    assert 15 < len(str(net.plan).splitlines()) < 30 and "..." in str(net.plan)


def test_an_empty_network_has_a_plan():
    net = ng.Network()
    assert net.plan.n_generations == 0 and net.schedule.generations == [] and net.schedule.depth == 0
    net.add_inputs(3)
    assert net.plan.n_generations == 0 and net.schedule.depth == 1


def test_a_plan_tells_of_delays():
    net = ng.Network()
    x, h = net.add_inputs(2), net.add_outputs(3)
    net.connect(x, h)
    net.connect(h, h, delay=2)
    assert "15 connections (9 with a delay, up to 2 steps), 3 outputs" in str(net.plan)
