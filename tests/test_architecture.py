"""The picture of who may import whom, drawn from the imports; an arrow that turns round fails here."""

import ast
import functools
from pathlib import Path

import pytest

pytestmark = pytest.mark.nojit

PACKAGE = Path(__file__).parents[1] / "neurograph"

# Each part may import the parts named; functions, errors and argument checks are open to all.
UPPER = {"sparsity", "topologies", "convert", "plot", "train", "callbacks", "optim", "datasets", "distillation"}
NAMED_TUPLE = {"_fields", "_replace", "_asdict", "_make"}
ALLOWED = {
    "errors": set(),
    "functions": set(),
    "sampling": {"schedule", "graph"},
    "wiring": {"graph"},
    "checks": set(),
    "samples": set(),
    "locks": set(),
    "jit": set(),
    "memory": set(),
    "names": set(),
    "graph": set(),
    "schedule": {"graph"},
    "plan": {"schedule", "graph"},
    "io": set(),
    "packed": set(),
    "backends": {"plan", "packed", "graph", "memory"},
    "parameters": {"graph"},
    "quantized": {"backends", "packed", "plan", "graph", "io", "samples"},
    "state": {"graph", "io"},
    "sequences": {"backends", "plan", "graph"},
    "network": {"backends", "plan", "schedule", "graph", "io", "state", "sampling", "samples", "names", "sequences"}
    | {"quantized", "parameters"},
    "union": {"network", "graph"},
    "optim": {"network"},
    "callbacks": {"network"},
    "distillation": set(),
    "train": {"network", "sequences", "samples", "optim", "sparsity", "callbacks"},
    "sparsity": {"network", "distillation", "optim", "sampling", "graph"},
    "topologies": {"network", "sampling", "convert", "datasets", "wiring"},
    "convert": {"network", "wiring"},
    "plot": {"network"},
    "datasets": set(),
    "demo": {*UPPER, "network"},
    # Benchmarks of kernels, and of the machine, ask backends; everybody else goes through networks.
    "bench": {*UPPER, "network", "union", "backends", "plan"},
    "claims": {*UPPER, "network", "bench"},
    "compare": {*UPPER, "network"},
    "cli": {*UPPER, "network", "backends", "demo", "bench", "claims", "compare"},
    "testing": {"network"},
}
EVERYBODY = {"errors", "functions", "checks", "locks", "jit"}
HEAVY = {"numba", "llvmlite", "cupy", "networkx", "matplotlib", "torch", "sklearn", "neat", "scipy", "tqdm"}
HEAVY |= {"statsmodels", "safetensors", "pandas", "pyarrow", "onnx", "onnxruntime"}
HEAVY |= {"sparselab", "flydnet", "sparse_dot_mkl", "connex", "jax", "equinox", "optax"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    """The part of the house a file belongs to: the first name below the package."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@functools.cache
def parsed(path):
    """Syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path, run_time_only=True):
    """(dotted name, at top level) of everything a module imports, relative imports resolved."""
    return tuple(_imports(path, run_time_only))


def _imports(path, run_time_only):
    tree = parsed(path)
    package = ["neurograph", *path.relative_to(PACKAGE).parent.parts]
    skipped = {
        id(node)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and "TYPE_CHECKING" in ast.dump(guard.test)
        for child in guard.body
        for node in ast.walk(child)
    }
    top = {id(node) for node in ast.walk(tree)}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            top -= {id(node) for child in ast.iter_child_nodes(function) for node in ast.walk(child)}
    for node in ast.walk(tree):
        if run_time_only and id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            yield module, id(node) in top
            yield from ((f"{module}.{alias.name}", id(node) in top) for alias in node.names)


def parts_imported(path, **options):
    """Parts of the house that a module imports."""
    own = {p.stem for p in PACKAGE.glob("*.py")} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    names = {name.split(".")[1] for name, _ in imports(path, **options) if name.startswith("neurograph.")}
    return names & own


def test_the_walls_stand():
    """Every part has its place in the picture, so a new one must be put there on purpose."""
    parts = {part_of(path) for path in MODULES} - {"__init__", "__main__"}
    assert parts <= set(ALLOWED), f"say in the picture what {sorted(parts - set(ALLOWED))} may import"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_down(path):
    """A module imports only what its part may import; type checking is no exception below the waist."""
    part = part_of(path)
    if part in ("__init__", "__main__"):
        pytest.skip("the front door imports everything")
    forbidden = parts_imported(path) - ALLOWED[part] - EVERYBODY - {part}
    assert not forbidden, f"{path.relative_to(PACKAGE)} imports {sorted(forbidden)}"


def test_the_picture_has_no_circle():
    """The table above is itself a DAG, apart from the shared floor."""
    order, left = [], {part: allowed - EVERYBODY for part, allowed in ALLOWED.items()}
    while left:
        free = [part for part, needs in left.items() if not needs & set(left)]
        assert free, f"a circle among {sorted(left)}"
        order += free
        left = {part: needs for part, needs in left.items() if part not in free}
    assert order.index("graph") < order.index("plan") < order.index("network") < order.index("train")


def test_numba_has_two_homes():
    """Compiled code lives in backends/cpu and, for graph algorithms, in graph/compiled.py; jit.py compiles it."""
    homes = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name.split(".")[0] in ("numba", "llvmlite") for name, _ in imports(path))
    }
    assert {h for h in homes if not h.startswith("backends/cpu/")} <= {"jit.py", "graph/compiled.py"}
    assert "jit.py" in homes and any(h.startswith("backends/cpu/") for h in homes)


def test_cupy_has_one_home():
    """CuPy lives in backends/gpu; backends/device.py looks for it, and benchmarks have it as a peer and as a clock."""
    homes = {p: [top for name, top in imports(p) if name.split(".")[0] == "cupy"] for p in MODULES}
    homes = {str(path.relative_to(PACKAGE)): tops for path, tops in homes.items() if tops}
    assert not any(homes.pop("backends/device.py"))
    assert not any(any(tops) for home, tops in homes.items() if home.startswith("bench/"))
    assert any(home.startswith("backends/gpu/") for home in homes)
    assert all(home.startswith(("backends/gpu/", "bench/")) for home in homes), homes
    for path in ("backends/__init__.py", "backends/device.py"):
        assert not [name for name, top in imports(PACKAGE / path) if top and name.startswith("neurograph.backends.gpu")]


def test_heavy_libraries_are_imported_inside_functions():
    """Only numba's two homes and the optional pictures may name one at the top."""
    for path in MODULES:
        relative = str(path.relative_to(PACKAGE))
        if relative.startswith(("backends/", "plot/")) or relative in ("graph/compiled.py", "jit.py"):
            continue
        top = {name.split(".")[0] for name, at_top in imports(path) if at_top}
        assert not top & HEAVY, f"{relative} imports {sorted(top & HEAVY)} at the top"


def test_nobody_imports_testing():
    """The test helpers are for tests."""
    assert not [p for p in MODULES if part_of(p) != "testing" and "testing" in parts_imported(p, run_time_only=False)]


def test_mathematics_stands_alone():
    """functions/ and io.py know arrays only; errors know nothing."""
    for path in MODULES:
        if part_of(path) in ("functions", "io", "errors"):
            assert parts_imported(path, run_time_only=False) <= {"errors", "functions", part_of(path)}


def test_nobody_above_the_waist_reaches_past_it():
    """sparsity, topologies, convert, plot and train use a network's public objects, not its tables."""
    for path in MODULES:
        if part_of(path) not in UPPER | {"cli", "demo", "compare", "claims"}:
            continue
        tree = parsed(path)
        reached = [
            f"{ast.unparse(node)} in line {node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and (
                node.attr == "graph"
                or (node.attr.startswith("_") and not node.attr.startswith("__") and node.attr not in NAMED_TUPLE)
            )
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "onnx_model"))
        ]
        assert not reached, f"{path.relative_to(PACKAGE)}: {reached}"
