"""What the device can do at best, measured before anything is compared with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from ... import events
from ...peers import torch_cuda
from ...rows import Row, Settings

__all__ = ["ceilings"]

SOURCE = Path(__file__).with_name("ceilings.cu")
THREADS = 512


def ceilings(size: int = 8192, copied: int = 1 << 32, cached: int = 1 << 24, launches: int = 2000) -> list[Row]:
    """The rates of dense products, of memory and of the L2 cache, and what a launch costs: ceilings, not targets.

    Parameters
    ----------
    size : int
        Of square matrices.
    copied, cached : int
        Bytes of an array that no cache holds, and of one that L2 holds.
    launches : int
        Kernels in a row.
    """
    return [
        *(
            Row(f"ceiling: product of {size} x {size} matrices, PyTorch {name}", "", _product(size, name), ("torch",))
            for name in torch_cuda.PRECISIONS
        ),
        Row(f"ceiling: copy of {copied / 2**30:g} GiB, read and written", "", _copy(copied), ("cupy",)),
        Row(f"ceiling: {cached / 2**20:g} MiB read again and again out of L2", "", _cached(cached), ("cupy",)),
        Row("ceiling: kernels that do nothing", "", _launches(launches), ("cupy",)),
    ]


def _kernel(name: str) -> Any:
    import cupy

    from ....backends.gpu.module import OPTIONS

    module = cupy.RawModule(code=SOURCE.read_text(), options=OPTIONS, name_expressions=(name,))
    return module.get_function(name)


def _product(size: int, precision: str) -> Any:
    def measure(settings: Settings) -> dict[str, Any]:
        torch, rng = torch_cuda.library(precision), np.random.default_rng(0)
        a, b = (
            torch_cuda.placed(rng.standard_normal((size, size), dtype=np.float32), precision) for _ in range(2)
        )  # of zeros, products are faster
        ms = events.alone(lambda: torch.mm(a, b), settings.quick)
        return {"product_ms": ms, "rate_tflops": 2 * size**3 / ms / 1e9}

    return measure


def _copy(nbytes: int) -> Any:
    def measure(settings: Settings) -> dict[str, Any]:
        import cupy

        part = cupy.asarray(np.random.default_rng(0).random(min(nbytes, 1 << 24) // 8))
        source = cupy.concatenate([part] * (nbytes // part.nbytes))
        target = cupy.empty_like(source)
        ms = events.alone(lambda: cupy.copyto(target, source), settings.quick)
        return {"copy_ms": ms, "rate_tbs": 2 * nbytes / ms / 1e9}

    return measure


def _cached(nbytes: int, rounds: int = 64) -> Any:
    def measure(settings: Settings) -> dict[str, Any]:
        import cupy

        read = _kernel("read_often")
        x = cupy.asarray(np.random.default_rng(0).random(nbytes // 4, dtype=np.float32))
        never = cupy.zeros(1, np.float32)
        count = nbytes // 16
        blocks = 1 << (4 * cupy.cuda.Device().attributes["MultiProcessorCount"] - 1).bit_length()
        blocks = max(min(blocks, count // THREADS), 1)  # a power of two, so that it divides the number of reads
        arguments = (x, np.int32(count), np.int32(rounds), never)
        ms = events.alone(lambda: read((blocks,), (THREADS,), arguments), settings.quick)
        return {"read_ms": ms, "rate_tbs": nbytes * rounds / ms / 1e9}

    return measure


def _launches(count: int) -> Any:
    def measure(settings: Settings) -> dict[str, Any]:
        import cupy

        nothing = _kernel("nothing")
        plain = events.alone(lambda: nothing((1,), (32,), ()), settings.quick)
        stream = cupy.cuda.Stream(non_blocking=True)

        def graph(nodes: int) -> Any:
            with stream:
                stream.begin_capture()
                for _ in range(nodes):
                    nothing((1,), (32,), ())
                return stream.end_capture()

        def microseconds(step: Any, repeats: int) -> float:
            step()
            stream.synchronize()
            start = time.perf_counter()
            for _ in range(repeats):
                step()
            stream.synchronize()
            return 1e6 * (time.perf_counter() - start) / repeats

        one, many = graph(1), graph(count)
        return {
            "launch_us": 1e3 * plain,
            "graph_launch_us": microseconds(lambda: one.launch(stream), count),
            "graph_node_us": microseconds(lambda: many.launch(stream), 10) / count,
        }

    return measure
