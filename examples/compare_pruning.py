"""Several ways to a sparse network, side by side, and one of one's own.

Every method gets the same layers, data and number of training steps. A method is one function: it takes a task, builds
a network, trains it, and returns it with as many connections as the task says. `neurograph sparsity` does the same for
all the methods there are, on these digits or on MNIST, and writes a CSV as well.
"""

import neurograph as ng
from neurograph import compare

METHODS = ("dense", "static", "swap", "SET", "GradualMagnitude")


@compare.method("swap", "a tenth of the connections, drawn at random, moves elsewhere ten times")
def swap(task):
    """A method of one's own: it does not ask which connections are of any use, so SET should beat it."""
    net = task.network(task.density)
    task.train(
        net,
        ng.sparsity.Rewire("random", "random", fraction=0.1, every=max(1, task.steps // 15), stop=task.steps * 2 // 3),
    )
    return net


def main(densities=(0.02, 0.05, 0.2), seeds=3, epochs=30, picture="compare_pruning.png"):
    """Compare, print a table and draw a picture; return by how much SET is more accurate than a mask that stays."""
    setting = compare.Setting("digits", ng.datasets.load_digits(), hidden=(300, 100), epochs=epochs)
    rows = []
    for row in compare.run(setting, METHODS, densities, range(seeds)):
        rows.append(row)
        print(f"{row.method:16} {row.density:5.0%}  {row.accuracy:.1%}  {row.seconds:.1f} s")
    print(f"\n{compare.table(rows)}")
    compare.draw(rows, picture)

    accuracy = {(s.method, s.density): s.accuracy for s in compare.summary(rows)}
    return accuracy["SET", min(densities)] - accuracy["static", min(densities)]


if __name__ == "__main__":
    assert main() > 0
