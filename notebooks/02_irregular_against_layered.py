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
# # Irregular against layered
#
# What does a network gain or lose when its connections are free? We give four networks the same handwritten digits and
# exactly the same number of connections:
#
# - **neurograph, irregular**: several times as many hidden neurons, sparsely wired, with connections that skip, and
#   rewired while it trains (SET, [Mocanu et al. 2018](https://doi.org/10.1038/s41467-018-04316-3));
# - **neurograph, layered**: one full hidden layer in the same engine, to tell the wiring from the engine;
# - **scikit-learn**: the same full hidden layer as an `MLPClassifier`;
# - **PyTorch**: the same again as `torch.nn.Linear` layers.
#
# We compare accuracy, seconds and bytes, and then look at how the time of one training step grows with the network.

# %%
import os
import platform
import time

import matplotlib.pyplot as plt
import numba
import numpy as np
import sklearn
import threadpoolctl
import torch
from sklearn.neural_network import MLPClassifier

import neurograph as ng

# Two threads for everybody: neurograph's kernels, PyTorch's, and the BLAS that scikit-learn calls.
threads = min(2, numba.config.NUMBA_NUM_THREADS)
numba.set_num_threads(threads)
torch.set_num_threads(threads)
threadpoolctl.threadpool_limits(threads)

print(f"{threads} threads of {os.cpu_count()} on {platform.machine()}, Python {platform.python_version()}")
for library in (ng, np, numba, sklearn, torch):
    print(library.__name__, library.__version__)

# %% [markdown]
# ## The data and the settings
#
# The UCI digits are 8 x 8 pixels, with a fixed division into training and test images. All four networks learn with
# Adam at one and the same learning rate and batch size, without weight decay, and see the images equally often. The
# accuracy is that after the last epoch; no epoch is chosen by its test accuracy. Nothing was tuned for one of the four
# alone: each of them might do a little better with settings of its own.

# %% nbmake={"mock": {"epochs": 2, "seeds": [0, 1]}}
epochs = 40
seeds = range(8)
batch_size = 32
learning_rate = 3e-3
n_layer = 32  # hidden neurons of the layered networks
n_early, n_late = 80, 40  # hidden neurons of the irregular network

# %%
x_train, y_train, x_test, y_test = ng.datasets.load_digits()
n_pixels, n_classes = x_train.shape[1], 10
n_connections = n_layer * (n_pixels + n_classes)
print(f"{len(x_train)} training images, {len(x_test)} test images, {n_connections} connections for each network")

# %% [markdown]
# ## The irregular network
#
# It has two groups of hidden neurons. The early ones see pixels, the late ones pixels and early neurons, and the
# outputs all of these. `grow` draws as many connections between two sets of neurons as it is told to.


# %%
def irregular(seed):
    net = ng.Network(seed=seed)
    pixels = net.add_inputs(n_pixels, name="pixels")
    early = net.add_neurons(n_early, activation="relu", name="early")
    late = net.add_neurons(n_late, activation="relu", name="late")
    digits = net.add_outputs(n_classes, name="digits")
    net.grow(pixels, early, round(0.55 * n_connections))
    net.grow(pixels | early, late, round(0.25 * n_connections))
    net.grow(pixels | early | late, digits, n_connections - net.n_connections)
    net.initialize(weight="he")  # by the fan-in that each neuron ended up with
    return net


sample = irregular(seed=0)
print(sample.plan)

fig, ax = plt.subplots(figsize=(9, 5), layout="constrained")
ng.plot.network(sample, ax, max_connections=700)
plt.show()

# %% [markdown]
# While it trains, SET cuts the weakest connections of each pair of groups and grows as many new ones between the same
# groups, at random places. In the last quarter of the training the wiring rests.
#
# ## Four networks, one interface
#
# Each class below trains one network for one epoch, and predicts. So all can be trained and timed by the same loop.
# `kept` counts the bytes that training leaves in memory between two steps.


# %%
class Neurograph:
    """A network of any shape, rewired by a rule or not at all."""

    def __init__(self, net, rewire=None):
        self.net = net
        self.trainer = ng.Trainer(net, optimizer=ng.optim.Adam(lr=learning_rate), rewire=rewire)

    def train_epoch(self):
        self.trainer.fit(x_train, y_train, epochs=1, batch_size=batch_size, progress=False)

    def outputs(self, X):
        return self.net.predict(X)

    def kept(self):
        values = self.net.n_parameters * self.net.dtype.itemsize
        return {"parameters": values, "moments": 2 * values, "all": self.net.nbytes}


class ScikitLearn:
    """The same layers as an MLPClassifier; `partial_fit` is one epoch."""

    def __init__(self, seed):
        self.mlp = MLPClassifier(
            (n_layer,), alpha=0, learning_rate_init=learning_rate, batch_size=batch_size, random_state=seed
        )

    def train_epoch(self):
        self.mlp.partial_fit(x_train, y_train, classes=range(n_classes))

    def outputs(self, X):
        return np.log(self.mlp.predict_proba(X) + 1e-12)

    def kept(self):
        values = sum(array.nbytes for array in self.mlp.coefs_ + self.mlp.intercepts_)
        moments = sum(array.nbytes for array in self.mlp._optimizer.ms + self.mlp._optimizer.vs)
        return {"parameters": values, "moments": moments, "all": values + moments}


class PyTorch:
    """The same layers in PyTorch, with the usual training loop."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        self.module = torch.nn.Sequential(
            torch.nn.Linear(n_pixels, n_layer), torch.nn.ReLU(), torch.nn.Linear(n_layer, n_classes)
        )
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=learning_rate)
        self.X, self.y = torch.from_numpy(x_train), torch.from_numpy(y_train)

    def train_epoch(self):
        for batch in torch.randperm(len(self.X)).split(batch_size):
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.module(self.X[batch]), self.y[batch]).backward()
            self.optimizer.step()

    def outputs(self, X):
        with torch.no_grad():
            return self.module(torch.from_numpy(X)).numpy()

    def kept(self):
        parameters = list(self.module.parameters())
        state = [tensor for entry in self.optimizer.state.values() for tensor in entry.values()]
        values, gradients, moments = (
            sum(tensor.nbytes for tensor in tensors)
            for tensors in (parameters, [parameter.grad for parameter in parameters], state)
        )
        return {"parameters": values, "moments": moments, "all": values + gradients + moments}


def rewired(seed):
    steps = epochs * -(-len(x_train) // batch_size)
    return Neurograph(irregular(seed), ng.sparsity.SET(fraction=0.3, every=max(1, steps // 20), stop=3 * steps // 4))


def layered(seed):
    net = ng.topologies.layered([n_pixels, n_layer, n_classes], seed=seed)
    assert net.n_connections == n_connections
    return Neurograph(net)


networks = {
    "neurograph, irregular": rewired,
    "neurograph, layered": layered,
    "scikit-learn": ScikitLearn,
    "PyTorch": PyTorch,
}

# %% [markdown]
# ## Train
#
# The clock runs while a network trains and stands still while it is evaluated. A few epochs of networks that are thrown
# away come first, so that no one pays for compiling kernels or for starting threads. The networks take turns, seed by
# seed, so that a busy moment of the machine does not hit one of them alone.


# %%
def loss_and_accuracy(outputs, labels):
    """Mean cross-entropy and share of right answers; the same for all networks."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_probability[np.arange(len(labels)), labels].mean(), np.mean(outputs.argmax(axis=1) == labels)


def learn(make, seed):
    """Train one network and return its curves, its seconds after each epoch, and what it keeps in memory."""
    network, seconds, curves = make(seed), 0.0, {"loss": [], "val_accuracy": [], "seconds": []}
    for _ in range(epochs):
        start = time.perf_counter()
        network.train_epoch()
        seconds += time.perf_counter() - start
        curves["loss"].append(loss_and_accuracy(network.outputs(x_train), y_train)[0])
        curves["val_accuracy"].append(loss_and_accuracy(network.outputs(x_test), y_test)[1])
        curves["seconds"].append(seconds)
    return curves, network.kept()


for make in networks.values():
    network = make(0)
    for _ in range(3):
        network.train_epoch()
runs = {name: [] for name in networks}
for seed in seeds:
    for name, make in networks.items():
        runs[name].append(learn(make, seed))

# %% [markdown]
# ## Accuracy, seconds, bytes
#
# Three ways to count bytes. *Parameters*: weights and biases. *With Adam*: these, and the two running means that Adam
# keeps for each of them. *All*: whatever stays in memory between two steps. For neurograph that is the whole network
# with ids, both ends of each connection, gradients, the rows by target and by source, and the plan; for PyTorch the
# tensors with their gradients; for scikit-learn its arrays (it makes its gradients anew in each epoch, and we do not
# count them). The activations of a batch and the code of the libraries themselves count nowhere.
#
# The irregular network has a few more parameters than the layered ones: its connections are as many, its neurons and
# so its biases are more. Of the seconds, the fastest run is the one that the rest of the machine disturbed least.

# %%
print(f"{'':24}{'test accuracy':>20}{'training loss':>15}{'seconds':>20}{'bytes of':>14}{'with':>10}{'':>10}")
print(f"{'':24}{'mean and spread':>20}{'mean':>15}{'fastest, median':>20}{'parameters':>14}{'Adam':>10}{'all':>10}")
accuracy, seconds = {}, {}
for name, results in runs.items():
    accuracy[name] = np.array([curves["val_accuracy"][-1] for curves, _ in results])
    seconds[name] = np.array([curves["seconds"][-1] for curves, _ in results])
    loss = np.mean([curves["loss"][-1] for curves, _ in results])
    kept = results[0][1]
    print(
        f"{name:24}{accuracy[name].mean():>12.2%} ± {accuracy[name].std():>5.2%}{loss:>15.4f}"
        f"{seconds[name].min():>12.2f}, {np.median(seconds[name]):>6.2f}"
        f"{kept['parameters']:>14,}{kept['parameters'] + kept['moments']:>10,}{kept['all']:>10,}"
    )
print(f"\n{len(seeds)} seeds, {epochs} epochs; the spread is the standard deviation over the seeds")

# %% [markdown]
# ## Learning curves
#
# Lines are medians over the seeds, bands reach from the lowest seed to the highest. The teeth in the curves of the
# irregular network are SET's: each time it cuts, the network loses some of what it knew, and learns it again within an
# epoch or two. Once the wiring rests, the teeth are gone.

# %%
fig, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
for ax, key in zip(axes, ("val_accuracy", "loss", "seconds"), strict=True):
    columns = {name: np.array([curves[key] for curves, _ in results]) for name, results in runs.items()}
    ng.plot.history({name: {key: np.median(column, axis=0)} for name, column in columns.items()}, ax, key=key)
    for column, line in zip(columns.values(), ax.lines, strict=True):
        low, high = column.min(axis=0), column.max(axis=0)
        ax.fill_between(np.arange(1, epochs + 1), low, high, color=line.get_color(), alpha=0.15, linewidth=0)

axes[0].set(title="test accuracy", ylabel="", ylim=(0.85 if epochs > 5 else 0, 1))
axes[1].set(title="training loss", ylabel="", yscale="log")
axes[2].set(title="training time so far", ylabel="seconds")
for ax in axes[1:]:
    ax.get_legend().remove()
plt.show()

# %% [markdown]
# ## One training step, from small to large
#
# The digits are a small task. How does the time grow? A neurograph network of 784 inputs, two hidden groups of n
# neurons and 10 outputs gets a tenth of the connections that full layers would have, and some of these skip. Against it
# stand two PyTorch networks of full layers: one with the same *neurons* (so ten times the connections; this is also
# what a network pruned by masks costs there), and one with the same number of *connections* (so fewer neurons). One
# step is forward, backward and Adam on 128 samples; the best of several is counted.

# %% nbmake={"mock": {"sizes": [32], "repeats": 2}}
sizes = [16, 64, 256, 1024]
repeats = 100

# %%
X = np.random.default_rng(0).normal(size=(128, 784)).astype("float32")
y = np.random.default_rng(1).integers(0, 10, 128)


def best(step):
    """Shortest time of a step, in milliseconds, once it is warm."""
    times = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[3:])


def sparse_step(n, count):
    net, optimizer = ng.Network(seed=0), ng.optim.Adam()
    x, h1, h2, o = net.add_inputs(784), net.add_neurons(n), net.add_neurons(n), net.add_outputs(10)
    net.grow(x, h1, round(0.8 * count * 784 / (784 + n + 10)))
    net.grow(h1, h2, round(0.8 * count * n / (784 + n + 10)))
    net.grow(h2, o, round(0.8 * count * 10 / (784 + n + 10)))
    net.grow(x | h1, h2 | o, count - net.n_connections)  # the rest may skip
    net.initialize()

    def step():
        net.backward(X, y, loss="cross_entropy")
        optimizer.step(net)

    return step, net.n_connections


def dense_step(n):
    module = torch.nn.Sequential(
        torch.nn.Linear(784, n), torch.nn.ReLU(), torch.nn.Linear(n, n), torch.nn.ReLU(), torch.nn.Linear(n, 10)
    )
    optimizer = torch.optim.Adam(module.parameters())
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(inputs), labels).backward()
        optimizer.step()

    return step


times = []
print(
    f"{'neurons':>9}{'connections':>13}{'neurograph':>13}{'PyTorch, same neurons':>24}{'PyTorch, same connections':>28}"
)
for n in sizes:
    full = 784 * n + n * n + 10 * n
    step, count = sparse_step(n, full // 10)
    # m full neurons a layer have as many connections: m * m + 794 * m = count
    m = round(np.sqrt(397**2 + count) - 397)
    times.append((count, best(step), best(dense_step(n)), best(dense_step(m))))
    print(f"{2 * n:>9}{count:>13,}{times[-1][1]:>10.3f} ms{times[-1][2]:>21.3f} ms{times[-1][3]:>25.3f} ms")

# %%
fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
counts, sparse, same_neurons, same_connections = np.transpose(times)
for column, label, style in (
    (sparse, "neurograph, a tenth of the connections, any wiring", "o-"),
    (same_neurons, "PyTorch, full layers, same neurons", "s--"),
    (same_connections, "PyTorch, full layers, same connections", "^:"),
):
    ax.plot(counts, column, style, label=label)
ax.set(xscale="log", yscale="log", xlabel="connections of the sparse network", ylabel="ms a training step")
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Conclusion
#
# The code below puts the comparison into words, so that they always fit the figures above.

# %%
ranked = sorted(accuracy, key=lambda name: accuracy[name].mean(), reverse=True)
best_name, last_name = ranked[0], ranked[-1]
gap = accuracy[best_name].mean() - accuracy[last_name].mean()
noise = max(values.std() for values in accuracy.values())
print(f"Accuracy: best on average is {best_name!r}, last {last_name!r}, {gap:.2%} apart;")
print(f"  one seed differs from another by {noise:.2%} (standard deviation, of the network where it is largest).")

ours = "neurograph, irregular"
for name in networks:
    if name != ours:
        gain = accuracy[ours] - accuracy[name]
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        verdict = "beyond" if abs(gain.mean()) > 2 * error else "within"
        images = f"{gain.mean() * len(x_test):+.1f} of {len(x_test)} images"
        print(f"  irregular minus {name!r}: {gain.mean():+.2%} ± {error:.2%}, {verdict} the chance of seeds; {images}.")

fastest = min(seconds, key=lambda name: seconds[name].min())
print(f"\nSeconds on the digits, fastest run of each: the shortest is that of {fastest!r};")
for name in networks:
    if name != fastest:
        print(f"  {name!r} takes {seconds[name].min() / seconds[fastest].min():.1f} times as long.")

kept = {name: results[0][1] for name, results in runs.items()}
least = min(kept, key=lambda name: kept[name]["all"])
print(f"\nBytes: {least!r} keeps the least in memory;")
for name in networks:
    if name != least:
        print(f"  {name!r} keeps {kept[name]['all'] / kept[least]['all']:.1f} times as much.")

print("\nOne step, PyTorch's time divided by neurograph's (above 1: neurograph is faster):")
for count, our_time, neurons_time, connections_time in times:
    print(
        f"  {count:>9,} connections: {neurons_time / our_time:5.2f} against the same neurons, "
        f"{connections_time / our_time:5.2f} against the same connections."
    )

# %% [markdown]
# What to take from it:
#
# - On a task as easy as this one, the wiring hardly matters. Every network of this size gets nearly all digits right,
#   and what differs between them is an image or so, as much as between two seeds. The test images are few, and others
#   could turn the ranking round. Free wiring is no miracle; it is a freedom.
# - Full layers have the cheapest description: two sizes and a matrix. A connection that is an object has to be written
#   down with both its ends, its place in the rows by target and by source, and an id. So for *the same number of
#   connections* the layered libraries need several times fewer bytes, and they should be your choice when full layers
#   of moderate size are what you want.
# - The arithmetic of a connection is cheapest in a full matrix as well. Where PyTorch may use the same number of
#   connections in full layers, it catches up and passes as networks grow: the last column above shows where.
# - Small networks spend most of a step on calls between Python and compiled code, whichever library it is. There the
#   ranking is one of overheads and says nothing about wiring.
# - The gain of sparse wiring is against the *same neurons*: a wide network with a tenth of the connections, which other
#   libraries run as a full matrix with zeros in it. The larger networks gain more by it than the small ones.
# - And single connections can be cut and grown while the network trains, as SET did here a number of times without
#   compiling anything anew or losing any optimizer state.
