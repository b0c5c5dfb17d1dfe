# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first network, neuron by neuron
#
# In neurograph a network is a graph. Every neuron and every connection is an object that you can look at, change and
# remove, also while the network trains. This notebook wires a small network by hand, looks at how it will run, follows
# one backward pass by hand, trains, cuts one connection and grows another between two updates, and trains on.
#
# The task is XOR with real numbers: a point (a, b) of the square from -1 to 1 belongs to class 1 if exactly one of its
# coordinates is positive. No straight line separates the two classes.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import neurograph as ng

rng = np.random.default_rng(0)


def points(count):
    """Points of the square and their classes, one column each as the network wants them."""
    X = rng.uniform(-1, 1, (count, 2)).astype("float32")
    return X, (X[:, :1] * X[:, 1:] < 0).astype("float32")


X, Y = points(400)
X_test, Y_test = points(1000)

# %% [markdown]
# ## Neurons and connections
#
# Two inputs, six hidden neurons with activations of their own, one output. `add_...` returns a group, and a group can
# be unpacked into its neurons. We then draw every connection ourselves. Nothing has to be a layer: `a -> s` and
# `b -> out` skip neurons, and `s -> t` connects two neurons that were added together.

# %%
net = ng.Network(seed=2)
a, b = net.add_inputs(2, name="inputs")
p, q, r = net.add_neurons(3, activation=["tanh", "tanh", "relu"], name="first")
s, t, u = net.add_neurons(3, activation=["sigmoid", "tanh", "gauss"], name="second")
(out,) = net.add_outputs(1, name="outputs")

wires = [
    (a, p), (b, p), (a, q), (b, q), (b, r),
    (p, s), (q, s), (a, s), (q, t), (s, t), (r, u), (p, u),
    (t, out), (u, out), (p, out), (b, out),
]  # fmt: skip
for source, target in wires:
    net.connect(source, target)
net

# %% [markdown]
# ## The objects
#
# They are views: they hold no numbers of their own, but read and write the network's tables. A neuron knows its
# neighbours, a connection knows its ends, and a group gives whole columns as arrays.

# %%
print(t, "listens to", t.predecessors, "and feeds", t.successors)
t.bias = 0.1

c = net.connection(s, t)
c.weight = 0.5
print(c, "has the source", c.source, "and the target", c.target)

first, second = net.groups["first"], net.groups["second"]
print(second, "with biases", second.bias, "and fan-ins", second.fan_in)

# %% [markdown]
# Groups are sets. They may overlap and have any shape, and a mask picks some of their members. `net.connections` can be
# picked from in the same way.

# %%
hidden = first | second
skipping = net.group([a, b, p], name="skipping")  # each has a connection that skips a generation or more
print(hidden & skipping, hidden - skipping, hidden[hidden.fan_in == 2], sep="\n")

strong = net.connections[abs(net.connections.weight) > 0.8]
print(f"{len(strong)} of {net.n_connections} connections are strong; their targets are the neurons {strong.target}")

# %% [markdown]
# ## When it runs: the schedule
#
# A neuron can run as soon as everything that it listens to has run. Its *generation* is the longest path that leads to
# it. Neurons of one generation do not depend on one another, so they run together. For a layered network the
# generations are the layers; here they are what our wiring makes of them, and `t` comes later than its siblings,
# because it listens to `s`.

# %%
for number, ids in enumerate(net.schedule.generations):
    print(f"generation {number}: neurons {ids}")

# %% [markdown]
# ## How it runs: the plan
#
# In the order of the schedule the whole network is one sparse matrix, and the plan is that matrix, ready to run. The
# inputs compute nothing, so the plan counts the generations that do from 0.

# %%
print(net.plan)

# %% [markdown]
# The picture has one column for each generation of the schedule, the inputs first.

# %%
fig, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
ng.plot.network(net, ax)
plt.show()

# %% [markdown]
# ## One backward pass, checked by hand
#
# `net.backward` runs some samples forward, compares with the targets, and goes back through the graph. Afterwards each
# neuron knows its `output` and its `error`, the derivative of the loss by what goes into its activation. There is one
# number for each sample. Two rules make all of them:
#
# - the error of a hidden neuron is the slope of its activation times the sum, over the connections that leave it, of
#   weight times the error of the target;
# - the gradient of a connection is the output of its source times the error of its target, summed over the samples.
#
# We check both at `p`, a tanh neuron (slope: 1 - output squared) with three connections going out.

# %%
net.compile()  # the kernels: a wait the first time on a machine, then they are kept on disk
loss = net.backward(X[:4], Y[:4], loss="binary_cross_entropy")
print(f"loss of four samples: {loss:.4f}\n")

incoming_error = sum(c.weight * c.target.error for c in p.outputs)
print("error of p by hand:  ", (1 - p.output**2) * incoming_error)
print("error of p:          ", p.error)

c = net.connection(a, p)
print("gradient by hand:    ", np.sum(a.output * p.error))
print("gradient of a -> p:  ", c.grad)

# %% [markdown]
# A third way needs no rule at all: change the weight a little both ways and see how the loss changes.

# %%
weight, step = c.weight, 1e-2
losses = []
for moved in (weight + step, weight - step):
    c.weight = moved
    losses.append(net.backward(X[:4], Y[:4], loss="binary_cross_entropy"))
c.weight = weight
print("gradient by finite differences:", (losses[0] - losses[1]) / (2 * step))

# %% [markdown]
# ## Train, cut, grow, train on
#
# Adam keeps two running means for each connection. They live in the network, beside the weights, so an edit between two
# updates leaves them where they are. First some epochs of training:

# %% nbmake={"mock": {"epochs": 4}}
epochs = 60  # before the edit, and again after it

# %%
trainer = ng.Trainer(net, loss="binary_cross_entropy", optimizer=ng.optim.Adam(lr=0.02))
before = trainer.fit(X, Y, epochs=epochs, batch_size=32, validation_data=(X_test, Y_test), progress=False)
print("on the test points:", trainer.evaluate(X_test, Y_test))

# %% [markdown]
# Now we remove the weakest connection and grow one from the output of `u` to `t`. The new one starts with weight 0, so
# it changes nothing that the network computes, and with a fresh optimizer state. Everyone else keeps theirs.

# %%
connections = net.connections
weakest = connections[np.argmin(abs(connections.weight))]
others = connections[connections.id != weakest.id]
weights, means = others.weight, others.state("adam_m")

print("remove", weakest)
weakest.remove()
new = net.connect(u, t, weight=0.0)
print("grow  ", new)

print("weights of the others unchanged:        ", np.array_equal(others.weight, weights))
print("optimizer state of the others unchanged:", np.array_equal(others.state("adam_m"), means))
print("optimizer state of the new one:         ", net.connections[net.connections.id == new.id].state("adam_m"))
print("generations now:", [ids.tolist() for ids in net.schedule.generations])

# %% [markdown]
# Whoever still holds the removed connection is told so, and an edit that would close a cycle is refused. Both leave the
# network as it was.

# %%
for edit in (lambda: weakest.weight, lambda: net.connect(out, p)):
    try:
        edit()
    except ng.NeurographError as error:
        print(f"{type(error).__name__}: {error}")

# %% [markdown]
# The same trainer goes on.

# %%
after = trainer.fit(X, Y, epochs=epochs, batch_size=32, validation_data=(X_test, Y_test), progress=False)
print("on the test points:", trainer.evaluate(X_test, Y_test))
print("the new connection learned too:", new)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")

ng.plot.history({"test points": {key: before[key] + after[key] for key in before}}, left, key="val_accuracy")
left.axvline(epochs + 0.5, color="grey", linestyle=":")
left.annotate(" cut and grow", (epochs + 0.5, 0.02), xycoords=("data", "axes fraction"), color="grey")
left.set_title("accuracy")

axis = np.linspace(-1, 1, 101, dtype="float32")
grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
probability = 1 / (1 + np.exp(-net.predict(grid).reshape(101, 101)))
image = right.contourf(axis, axis, probability, levels=np.linspace(0, 1, 11), cmap="PuOr")
right.scatter(*X.T, c=Y[:, 0], cmap="PuOr", vmin=-0.3, vmax=1.3, s=9, edgecolors="black", linewidths=0.3)
fig.colorbar(image, ax=right, label="probability of class 1")
right.set(xlabel="a", ylabel="b", aspect="equal", title="what the network says")
plt.show()

# %% [markdown]
# ## Save and load
#
# The file holds the graph, the weights, the groups, the optimizer state and the state of the random generator. So the
# copy computes the same, and goes on training as the original does.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "first.ng"
    net.save(path)
    copy = ng.load(path)
    print(f"{path.stat().st_size:,} bytes on disk: {copy}, groups {list(copy.groups)}")

print("same outputs:", np.array_equal(copy.predict(X_test), net.predict(X_test)))

optimizer = ng.optim.Adam(lr=0.02)
for network in (net, copy):
    network.backward(X, Y, loss="binary_cross_entropy")
    optimizer.step(network)
print("same outputs after one more update:", np.array_equal(copy.predict(X_test), net.predict(X_test)))
