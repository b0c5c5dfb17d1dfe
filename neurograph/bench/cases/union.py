"""Many small evolved networks at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare, require_close
from ..rows import Bound, Row, Settings

__all__ = ["union"]

CONFIG = Path(__file__).with_name("neat.cfg")


def union(n_networks: int = 1000, n_neurons: int = 20, batch: int = 64, share: int = 10) -> list[Row]:
    """Evolved networks in one call of their union, against one after another and against neat-python, sample by sample.

    neat-python runs one network in ``share``, and its time is multiplied.
    """
    size = f"union of {n_networks:,} evolved networks of {n_neurons} neurons, batch {batch}"

    def measure(settings: Settings, by_neat: bool) -> dict[str, Any]:
        nets, genomes, config = evolved(n_networks, n_neurons)
        X = np.random.default_rng(0).normal(size=(batch, nets[0].n_inputs)).astype(np.float32)
        costs: dict[str, Any] = {}
        together = []

        def ours() -> Callable[[], object]:
            start = time.perf_counter()
            big = ng.union(nets, share_inputs=True)
            costs.update(union_s=time.perf_counter() - start, connections=big.n_connections)
            together.append(big.predict(X))
            return lambda: big.predict(X)

        def one_by_one() -> Callable[[], object]:
            require_close("outputs", together[0], np.concatenate([net.predict(X) for net in nets], axis=1), 1e-5)
            return lambda: [net.predict(X) for net in nets]

        def neat_python() -> Callable[[], object]:
            import neat

            samples = X.tolist()
            peers = [neat.nn.FeedForwardNetwork.create(genome, config) for genome in genomes[::share]]

            def step() -> list:
                return [[peer.activate(sample) for sample in samples] for peer in peers]

            some = together[0].reshape(batch, n_networks, -1)[:, ::share].swapaxes(0, 1)
            require_close("outputs", some, step(), 1e-4)
            return step

        if by_neat:
            return compare(ours, neat_python, settings, scale=n_networks / len(genomes[::share])) | costs
        return compare(ours, one_by_one, settings) | costs

    return [
        Row(size, "one by one", lambda settings: measure(settings, False), ("neat",), (Bound("ratio", 50),)),
        Row(
            size,
            f"neat-python, sample by sample (1 network in {share}, times {share})",
            lambda settings: measure(settings, True),
            ("neat",),
            (Bound("ratio", 500),),
        ),
    ]


def evolved(count: int, n_neurons: int) -> tuple[list[ng.Network], list[Any], Any]:
    """Networks of one size from genomes that neat-python mutated until they had it; the genomes; the configuration."""
    import neat

    # Functions without those that become two neurons here, and those that leave the numbers a float32 has.
    parts = neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet, neat.DefaultStagnation
    config = neat.Config(*parts, str(CONFIG))
    kind = config.genome_config
    kind.innovation_tracker = neat.innovation.InnovationTracker()
    wanted = n_neurons - len(kind.input_keys)
    random.seed(0)
    nets: list[ng.Network] = []
    genomes: list[Any] = []
    while len(nets) < count:
        genome = neat.DefaultGenome(len(nets))
        genome.configure_new(kind)
        while len(genome.nodes) < wanted:
            genome.mutate(kind)
        # Deleted connections leave nodes that nothing reaches any more, and neat-python runs without them.
        while len(neat.nn.FeedForwardNetwork.create(genome, config).node_evals) < wanted:
            genome.mutate(kind)
        net = ng.from_neat(genome, config)
        if net.n_neurons == n_neurons:
            nets.append(net)
            genomes.append(genome)
    return nets, genomes, config
