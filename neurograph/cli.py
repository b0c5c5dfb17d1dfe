"""The ``neurograph`` command."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence

from .errors import NeurographError

__all__ = ["main"]

_LIBRARIES = ("numpy", "scipy", "numba", "networkx", "safetensors", "matplotlib", "torch", "sklearn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands behind ``neurograph`` on the command line; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 if all went well, 2 after an error that the message explains, 130 after Ctrl-C.

    Examples
    --------
    >>> main(["demo", "--epochs", "0"])
    2
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (NeurographError, OSError) as error:
        if options.debug:
            raise
        print(f"neurograph: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("neurograph: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    from neurograph import __version__

    parser = argparse.ArgumentParser(
        prog="neurograph", description="Neural networks of any shape, neuron by neuron, truly sparse."
    )
    parser.add_argument("--version", action="version", version=f"neurograph {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        parents=[common],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help="train a dense layered network and a sparse irregular one on handwritten digits, and compare them",
        description="Train a dense layered network and a sparse irregular one, which prunes and regrows connections, "
        "on handwritten digits that are part of the package. Prints a table and writes a picture.",
    )
    demo.add_argument("--epochs", type=int, default=30, metavar="N", help="passes over the training images")
    demo.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same accuracies")
    demo.add_argument("--output", default="neurograph_demo.png", metavar="PATH", help="where the picture goes")
    demo.add_argument(
        "--backend", default="auto", choices=("auto", "cpu", "gpu", "reference"), help="what runs the networks"
    )
    demo.set_defaults(run=_demo)

    bench = commands.add_parser(
        "bench",
        parents=[common],
        help="measure this machine: neurograph beside the tools that people use",
        description="Measure neurograph beside the tools that people use, on this machine. Prints a table; writes it, "
        "the results as JSON and a picture of time against density. A tool that is not installed is skipped. Leave "
        "the machine alone meanwhile.",
    )
    bench.add_argument("cases", nargs="*", metavar="CASE", help="what to measure; the main table when none is named")
    bench.add_argument(
        "--backend", default="cpu", choices=("cpu", "gpu"), help="what is measured: each has cases of its own"
    )
    bench.add_argument("--list", action="store_true", help="show the cases, and measure nothing")
    bench.add_argument("--all", action="store_true", help="every case, those that take many minutes as well")
    bench.add_argument("--quick", action="store_true", help="fewer and shorter repeats: a look, no result")
    bench.add_argument(
        "--threads", type=int, metavar="N", help="threads for each side (default: 2, or 1 on one core; with a GPU all)"
    )
    bench.add_argument("--limit", type=float, metavar="SECONDS", help="begin no row after so long, and stop the last")
    bench.add_argument("--data", metavar="FOLDER", help="where data sets are that the package does not have")
    bench.add_argument(
        "--output", default="neurograph_bench", metavar="FOLDER", help="where results, table and picture go"
    )
    bench.add_argument("--json", metavar="FILE", help="where the results go, instead of results.json in that folder")
    bench.add_argument("--update", action="store_true", help="keep the other rows of that file, of the same machine")
    bench.set_defaults(run=_bench)

    claims = commands.add_parser(
        "claims",
        parents=[common],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help="repeat what papers claim about pruning, and say whether it held",
        description="Train the networks of papers about pruning, several seeds each, and print every figure beside "
        "what was claimed. Takes minutes for each claim. Ends with 1 if a target was missed.",
    )
    claims.add_argument("claims", nargs="*", metavar="CLAIM", help="which; all when none is named")
    claims.add_argument("--list", action="store_true", help="show the claims, and train nothing")
    claims.add_argument("--data", metavar="FOLDER", help="where mnist.npz is")
    claims.add_argument("--seeds", type=int, default=3, metavar="N", help="networks over which each figure is a mean")
    claims.add_argument("--quick", action="store_true", help="few samples and epochs: whether it runs, no result")
    claims.add_argument(
        "--output", default="neurograph_claims.json", metavar="FILE", help="where the figures go, beside earlier ones"
    )
    claims.set_defaults(run=_claims)

    sparsity = commands.add_parser(
        "sparsity",
        parents=[common],
        help="compare methods of pruning: accuracy against density, with time and bytes",
        description="Train the same network by many methods of pruning, with several densities and seeds, on MNIST or "
        "on the digits in the package, and write a CSV with a line for each run and a picture of accuracy, time and "
        "bytes against density. Every method has the same number of training steps, but for those whose line in --list "
        "says otherwise.",
    )
    add = sparsity.add_argument
    add("methods", nargs="*", metavar="METHOD", help="which; all when none is named")
    add("--list", action="store_true", help="show the methods, and train nothing")
    add("--data", metavar="PATH", help="mnist.npz, or the folder that it is in; without it the package's digits")
    add("--openml", action="store_true", help="MNIST from openml.org, by scikit-learn")
    add("--densities", type=float, nargs="+", metavar="D", help="shares of connections that remain, above 0, up to 1")
    add("--seeds", type=int, metavar="N", help="networks for each method and density (default: 3)")
    add("--epochs", type=int, metavar="N", help="passes over the training images (default: digits 40, MNIST 10)")
    add("--batch-size", type=int, metavar="N", help="images of a training step (default: digits 32, MNIST 128)")
    add("--lr", type=float, metavar="X", help="learning rate at the start (default: digits 0.005, MNIST 0.002)")
    add("--hidden", type=int, nargs="+", default=[300, 100], metavar="N", help="sizes of hidden layers (300 100)")
    add("--samples", type=int, metavar="N", help="take the first N training images only")
    add("--quick", action="store_true", help="a few images, epochs and densities, one seed: a look, no result")
    add("--output", default="neurograph_sparsity", metavar="NAME", help="results go to NAME.csv and NAME.png")
    sparsity.set_defaults(run=_sparsity)

    info = commands.add_parser(
        "info",
        parents=[common],
        help="show versions, processor cores and backends",
        description="Show versions, processor cores and backends, for instance for a report of a problem.",
    )
    info.set_defaults(run=_info)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from . import demo

    demo.run(epochs=options.epochs, seed=options.seed, output=options.output, backend=options.backend)
    return 0


def _bench(options: argparse.Namespace) -> int:
    from .bench import command

    return command.main(options)


def _claims(options: argparse.Namespace) -> int:
    from .claims import command

    return command.main(options)


def _sparsity(options: argparse.Namespace) -> int:
    from .compare import command

    return command.main(options)


def _info(options: argparse.Namespace) -> int:
    from importlib.metadata import PackageNotFoundError, version

    from neurograph import __version__, available_backends
    from neurograph.backends import device

    rows = [("neurograph", __version__), ("python", platform.python_version())]
    for name in _LIBRARIES:
        try:
            rows.append((name, version({"sklearn": "scikit-learn"}.get(name, name))))
        except PackageNotFoundError:
            rows.append((name, "not installed"))
    rows += [
        ("cupy", device.version() or "not installed"),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("cores", str(_cores())),
        ("backends", ", ".join(available_backends())),
        ("gpu", _gpu()),
    ]
    for name, value in rows:
        print(f"{name:<12} {value}")
    return 0


def _gpu() -> str:
    """The device with its memory, or why there is none."""
    from neurograph.backends import device

    if (missing := device.problem()) is not None:
        return f"none: {missing}"
    free, total = device.memory()
    major, minor = device.capability()
    room = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB of memory free"
    text = f"{device.name()}, compute capability {major}.{minor}, {room}"
    return text if (missing := device.tensor_problem()) is None else f"{text}; no tensor cores: {missing}"


def _cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
