"""Receptive fields: what sharing costs, and kernels that no convolution has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import neurograph as ng

from ..harness import compare, require_close
from ..layers import training_step
from ..rows import Bound, Row, Settings

__all__ = ["growing_circles", "shared_parameters"]


def shared_parameters(channels: tuple[int, int] = (8, 16), batch: int = 128, side: int = 28) -> list[Row]:
    """What a training step costs when the connections of receptive fields share parameters, and when none does."""

    def measure(settings: Settings) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        X, Y = rng.random((batch, side * side), dtype=np.float32), rng.integers(0, 10, batch)
        nets: dict[bool, ng.Network] = {}

        def build(share: bool) -> Callable[[], object]:
            nets[share] = _fields_and_pool(share, channels, side)
            return training_step(nets[share], X, Y)

        figures = compare(lambda: build(True), lambda: build(False), settings)
        shared = nets[True]
        return figures | {"connections": shared.n_connections, "parameters": shared.n_parameters}

    return [
        Row(
            f"training step, shared parameters, {side}x{side}, fields of 25 and {9 * channels[0]}, batch {batch}",
            "the same connections, each with its own",
            measure,
            target=(Bound("share", 1.3, at_most=True),),
        )
    ]


def _fields_and_pool(share: bool, channels: tuple[int, int], side: int) -> ng.Network:
    net = ng.Network(seed=0)
    image = net.add_inputs((1, side, side))
    maps = ng.topologies.fields(net, image, channels[0], ng.topologies.box(5, 5), share=share)
    maps = ng.topologies.pool(net, maps, 2)
    maps = ng.topologies.fields(net, maps, channels[1], ng.topologies.box(3, 3), share=share)
    net.connect(maps, net.add_outputs(10))
    return net


def growing_circles(channels: int = 8, batch: int = 128, growth: float = 0.2, side: int = 28) -> list[Row]:
    """Disks that grow away from a centre, against PyTorch: a masked dense convolution for every distinct disk.

    The second row is the fastest way found in PyTorch: all patches unfolded, and one mask over them.
    """

    def row(against: str, unfold: bool) -> Row:
        return Row(
            f"training step, circles that grow from the centre, {side}x{side}, {channels} channels, batch {batch}",
            against,
            lambda settings: _circles(settings, channels, batch, growth, side, unfold),
            ("torch",),
            (Bound("ratio", 1),),
        )

    return [
        row("PyTorch, one masked convolution a disk", unfold=False),
        row("PyTorch, masked patches in one product", unfold=True),
    ]


def _circles(settings: Settings, channels: int, batch: int, growth: float, side: int, unfold: bool) -> dict[str, Any]:
    rng, places = np.random.default_rng(0), side * side
    X, Y = rng.random((batch, places), dtype=np.float32), rng.integers(0, 10, batch)
    field = ng.topologies.fovea((side / 2 - 0.5, side / 2 - 0.5), 1.0, growth)
    net = ng.Network(seed=0)
    image = net.add_inputs((1, side, side))
    maps = ng.topologies.fields(net, image, channels, field, padding="same")
    dense = net.connect(ng.topologies.pool(net, maps, 2), net.add_outputs(10))

    def theirs() -> Callable[[], object]:
        return _in_torch(net, image, maps, dense, field, X, Y, unfold)

    return compare(lambda: training_step(net, X, Y), theirs, settings) | {"connections": net.n_connections}


def _in_torch(
    net: ng.Network,
    image: ng.Group,
    maps: ng.Group,
    dense: Any,
    field: Callable,
    X: np.ndarray,
    Y: np.ndarray,
    unfold: bool,
) -> Callable[[], object]:
    """A training step in PyTorch that computes what the network computes, outputs and gradients compared first."""
    import torch
    from torch.nn import functional

    channels, side, _ = maps.shape
    places = side * side
    # PyTorch's kernel is as wide as the largest disk; smaller ones are its middle, masked.
    kernel = maps.incoming
    channel, place = np.divmod(kernel.target - maps.ids[0], places)
    (row, column), (y, x) = np.divmod(place, side), np.divmod(kernel.source - image.ids[0], side)
    reach = int(max(abs(y - row).max(), abs(x - column).max()))
    width = 2 * reach + 1
    tap = channel, 0, y - row + reach, x - column + reach
    start = np.zeros((channels, 1, width, width), np.float32)
    start[tap] = kernel.weight
    disks: dict[bytes, list] = {}
    for k in range(places):
        offsets = field(*divmod(k, side))
        disks.setdefault(offsets.tobytes(), [offsets, torch.zeros(places)])[1][k] = 1
    shapes, patches = [], torch.zeros(width * width, places)
    for offsets, where in disks.values():
        r = int(abs(offsets).max())
        disk = torch.zeros(2 * r + 1, 2 * r + 1)
        disk[tuple(offsets.T + r)] = 1
        shapes.append((r, disk, where.reshape(side, side)))
        patches += functional.pad(disk, (reach - r,) * 4).reshape(-1, 1) * where

    def convolutions(x: Any, weight: Any) -> Any:
        z = torch.zeros(())
        for r, disk, where in shapes:
            middle = slice(reach - r, reach + r + 1)
            z = z + where * functional.conv2d(x, weight[:, :, middle, middle] * disk, padding=r)
        return z

    def unfolded(x: Any, weight: Any) -> Any:
        z = weight.reshape(channels, -1) @ (functional.unfold(x, width, padding=reach) * patches)
        return z.reshape(-1, channels, side, side)

    compute = unfolded if unfold else convolutions
    pixels, labels = torch.from_numpy(X).reshape(-1, 1, side, side), torch.from_numpy(Y)
    weight = torch.tensor(start, requires_grad=True)
    # The biases are tied: one a channel, wherever training has brought it.
    bias = torch.tensor(maps.bias.reshape(channels, -1)[:, :1, None].astype(np.float32), requires_grad=True)
    readout = torch.nn.Linear(channels * (side // 2) ** 2, 10)
    with torch.no_grad():
        readout.weight.copy_(torch.from_numpy(dense.weight.reshape(10, -1)))
        readout.bias.copy_(torch.from_numpy(np.asarray(net.outputs.bias, np.float32)))
    adam = torch.optim.Adam([weight, bias, *readout.parameters()], lr=1e-3, fused=True)

    def outputs() -> Any:
        return readout(functional.max_pool2d(functional.relu(compute(pixels, weight) + bias), 2).flatten(1))

    def step() -> None:
        adam.zero_grad()
        functional.cross_entropy(outputs(), labels).backward()
        adam.step()

    got = outputs()
    functional.cross_entropy(got, labels).backward()
    net.backward(X, Y, loss="cross_entropy")
    require_close("outputs", got.detach().numpy(), net.last_outputs, 1e-4)
    require_close("kernel gradients", weight.grad.numpy()[tap], kernel.grad, 1e-4)  # type: ignore[union-attr]
    require_close("read-out gradients", readout.weight.grad.numpy(), dense.grad.reshape(10, -1), 1e-4)  # type: ignore[union-attr]
    return step
