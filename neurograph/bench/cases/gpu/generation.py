"""One generation on the GPU, multiplied in every way that the backend has: what the cases of products start from."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

import neurograph as ng

from ... import device, events
from ...harness import require_close
from ...layers import matrices
from ...rows import Settings
from .networks import layered, on_device

__all__ = ["Generation", "network"]

SIDE = 16  # of the backend's tiles
KEPT = 8  # networks that are made once for all batches of a sweep, with what is made of them
Step = Callable[[], object]
Way = Callable[[], tuple[Step, Callable[[], Any]]]  # makes a step, and reads what its first call computed


@lru_cache(maxsize=KEPT)
def network(width: int, density: float, block: int, backend: str) -> ng.Network:
    """As many inputs as outputs, connected at random one by one, or in whole blocks.

    Examples
    --------
    >>> network(64, 0.25, 16, "cpu").n_connections == 4 * 256
    True
    """
    if block == 1:
        return layered((width, width), density, Settings(backend=backend))
    net, rng, side = ng.Network(seed=0, backend=backend), np.random.default_rng(0), width // block
    x, y = net.add_inputs(width), net.add_outputs(width)
    chosen = rng.choice(side * side, max(round(density * side * side), 1), replace=False)
    row, column = np.divmod(np.sort(chosen), side)
    inside = np.arange(block)
    target = (row[:, None, None] * block + inside[:, None]) + np.zeros(block, np.int64)
    source = (column[:, None, None] * block + inside) + np.zeros((block, 1), np.int64)
    net.add_connections(x.ids[source.ravel()], y.ids[target.ravel()])
    return net


@lru_cache(maxsize=KEPT)
def weights(*key: Any) -> Any:
    """The weights of a network as a SciPy CSR array (targets, sources)."""
    return matrices(network(*key))[0][0]


@lru_cache(maxsize=KEPT)
def staged_weights(*key: Any) -> Any:
    """The same for the staged kernels, by target and by source."""
    from ....backends.gpu.staged_matrix import StagedMatrix

    matrix = weights(*key)
    return StagedMatrix(matrix.indptr, matrix.indices, matrix.data, matrix.shape)


@lru_cache(maxsize=KEPT)
def tiled_weights(*key: Any) -> Any:
    """The tiles that have a connection, and the neurons of each of their sides: those of the sources come first."""
    import cupy

    from ....backends.gpu.mirror import mirror_of
    from ....backends.gpu.tiles import Tiles

    net, matrix = network(*key), weights(*key).tocoo()
    sources, targets = net.plan.inputs.astype(np.int32), net.plan.outputs.astype(np.int32)
    side = -(-len(sources) // SIDE)
    members = np.full((2 * side, SIDE), -1, np.int32)
    members[:side].ravel()[: len(sources)], members[side:].ravel()[: len(targets)] = sources, targets
    pairs = np.unique((matrix.col // SIDE).astype(np.int64) * 2 * side + side + matrix.row // SIDE)
    made = Tiles(net.graph.neurons.size, members, *np.divmod(pairs, 2 * side))
    made.enter(cupy.asarray(targets), mirror_of(net.graph).incoming)
    return made


class Generation:
    """Outputs that read inputs, on the device, with random values in several sets that no cache holds together.

    Parameters
    ----------
    width : int
        Inputs, and outputs.
    density : float
    batch : int
    settings : Settings
    block : int
        Side of the blocks that are wholly connected; 1 for connections one by one.
    """

    def __init__(self, width: int, density: float, batch: int, settings: Settings, block: int = 1):
        from ....backends.gpu.mirror import mirror_of

        self.key = width, density, block, settings.backend
        self.batch, self.net = batch, network(*self.key)
        self.plan, self.graph = self.net.plan, self.net.graph
        self.mirror = mirror_of(self.graph)
        self.sources, self.targets = self.plan.inputs.astype(np.int32), self.plan.outputs.astype(np.int32)
        rng = np.random.default_rng(1)
        count = events.copies(2 * 4 * width * batch, device.cache())
        self.inputs = [rng.standard_normal((width, batch), dtype=np.float32) for _ in range(count)]

    @property
    def connections(self) -> int:
        """How many there are."""
        return self.net.n_connections

    def matrix(self) -> Any:
        """The weights as a SciPy CSR array (targets, sources)."""
        return weights(*self.key)

    def activations(self, values: list[np.ndarray] | None = None, at: np.ndarray | None = None) -> list[Any]:
        """For each set an array on the device, a row a neuron, with values in the rows of the inputs."""
        import cupy

        lead, found = -(-self.batch // 4) * 4, []
        for x in self.inputs if values is None else values:
            whole = np.zeros((self.graph.neurons.size, lead), np.float32)
            whole[self.sources if at is None else at, : self.batch] = x
            found.append(cupy.asarray(whole))
        return found

    # -- float32 -------------------------------------------------------------------------------------------------------

    def by_rows(self) -> tuple[Step, Callable[[], Any]]:
        """A warp a row; the weights are brought into the order of the rows each time."""
        return self._passed(rows_only=True)

    def by_network(self) -> tuple[Step, Callable[[], Any]]:
        """Whatever a network of this one generation runs."""
        return self._passed(rows_only=False)

    def _passed(self, rows_only: bool) -> tuple[Step, Callable[[], Any]]:
        from ....backends.gpu import passes, storage
        from ....backends.gpu.costs import ROWS
        from ....backends.gpu.staging import staging_of
        from ....plan import lower

        # A plan of its own: what another way decides stays with the other.
        plan = lower(self.graph, self.net.schedule)
        if rows_only:
            plan.layouts[storage.NAME] = storage.Storage(plan, ROWS)
            staging_of(plan, self.mirror).allowed = False
        runs = []
        for x in self.inputs:
            run = passes.Pass(plan, self.batch, 1)
            passes.begin(plan, run, on_device(np.ascontiguousarray(x.T)[:, None]))
            runs.append((run,))
        step = events.rotated(lambda run: passes.launch_forward(plan, run, False), runs)
        return step, lambda: runs[0][0].outputs[:, 0].T

    def staged(self, half: bool = False, sums: int | None = None) -> tuple[Step, Callable[[], Any]]:
        """Sources in shared memory, as float32 or as bfloat16 rows; the weights stand in the order of the layout.

        With 64 ``sums`` a thread, blocks have half the threads and as many rows.
        """
        import cupy

        from ....backends.gpu import staged

        matrix, sets = self.staged_matrix(), []
        for acts in self.activations():
            x = acts[self.sources[0] : self.sources[-1] + 1]
            x = staged.rounded(x) if half else x
            sets.append((x, cupy.zeros((len(self.targets), x.shape[1]), np.float32)))
        step = events.rotated(lambda x, out: matrix.product(x, out, sums), sets)
        return step, lambda: sets[0][1].get()[:, : self.batch]

    def staged_matrix(self) -> Any:
        """The weights for the staged kernels, by target and by source."""
        return staged_weights(*self.key)

    # -- tensor cores --------------------------------------------------------------------------------------------------

    def tiled(self, precision: str) -> tuple[Step, Callable[[], Any]]:
        """Tiles of 16 x 16 with a mask on tensor cores; activations are packed each time, weights once."""
        import cupy

        from ....backends.gpu import tiles

        made = tiled_weights(*self.key)
        side = made.groups // 2
        begun = cupy.zeros(made.groups, np.int8)
        sets = []
        for acts in self.activations():
            products = tiles.Products(made, np.dtype(np.float32), acts.shape[1], precision)
            products.load(self.mirror.connections.read("weight"), True)
            sets.append((products, acts))

        def multiply(products: Any, acts: Any) -> None:
            products.pack(0, side, acts)
            products.forward(side, 2 * side, acts, begun)

        return events.rotated(multiply, sets), lambda: sets[0][1].get()[self.targets, : self.batch]

    def dense(self, precision: str) -> tuple[Step, Callable[[], Any]]:
        """The whole generation as one dense block on cuBLAS; absent connections are zeros, filled in once."""
        import cupy

        from ....backends.gpu.dense import Block, Dense

        size = self.graph.neurons.size
        cluster, position = np.full(size, -1, np.int32), np.zeros(size, np.int32)
        for number, slots in enumerate((self.sources, self.targets)):
            cluster[slots], position[slots] = number, np.arange(len(slots))
        block = Block(self.sources, self.targets, 0, 1)
        sets = [(acts,) for acts in self.activations()]
        ends = cupy.asarray(cluster), cupy.asarray(position)
        made = Dense(*ends, np.dtype(np.float32), sets[0][0].shape[1], precision)
        made.begin(self.mirror.incoming)
        weight = self.mirror.connections.read("weight")
        step = events.rotated(lambda acts: made.forward(block, weight, acts, False), sets)
        return step, lambda: sets[0][0].get()[self.targets, : self.batch]

    # -- all of them ---------------------------------------------------------------------------------------------------

    def steps(self, ways: dict[str, Way], tolerance: float) -> dict[str, Step]:
        """Ways as steps, each of which has computed the product."""
        few = min(self.batch, 64)
        expected = self.matrix() @ self.inputs[0][:, :few]
        made = {}
        for name, make in ways.items():
            made[name], result = make()
            made[name]()  # the first call takes the first set
            require_close(name, result()[:, :few], expected, tolerance)
        return made

    def fastest(self, ways: dict[str, Way], tolerance: float) -> tuple[str, Step]:
        """The fastest of some ways, and its name."""
        steps = self.steps(ways, tolerance)
        best = events.fastest(steps)
        return best, steps[best]

    def single(self) -> dict[str, Way]:
        """The ways in float32."""
        return {
            "row kernel": self.by_rows,
            "staged kernel": self.staged,
            "staged kernel, 64 sums": lambda: self.staged(sums=64),
            "a network's choice": self.by_network,
        }

    def rounded(self) -> dict[str, Way]:
        """The ways in tf32."""
        return {"tensor tiles": lambda: self.tiled("tf32"), "dense block": lambda: self.dense("tf32")}

    def half(self) -> dict[str, Way]:
        """The ways in bfloat16."""
        return {
            "staged kernel, bf16 rows": lambda: self.staged(half=True),
            "staged kernel, bf16 rows, 64 sums": lambda: self.staged(half=True, sums=64),
            "tensor tiles": lambda: self.tiled("bf16"),
            "dense block": lambda: self.dense("bf16"),
        }
