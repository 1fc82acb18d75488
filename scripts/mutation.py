"""Change one constant of a formula at a time, and see whether a test notices.

Works on a copy of the source tree. A warm process forks for every mutant, so that each costs its tests and little else.
A constant is skipped only by the rules of `Constants` and by the list `EQUIVALENT`, which gives a reason for each.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("brainnet", "nodes", "tests", "topics", "config", "pyproject.toml")
WARM = ("torch", "numba", "snntorch", "hypothesis", "pytest", "zenoh", "brainnet.bus", "brainnet.node")

# fmt: off
FORMULAS = (
    "snn.neurons.lif", "snn.neurons.lif_steps", "snn.neurons.surrogate", "snn.neurons.snntorch_bridge",
    "snn.neurons.integer_lif", "snn.neurons.izhikevich", "snn.neurons.biological_lif", "snn.neurons.adaptive_lif",
    "snn.kernels", "snn.layers.recurrence", "snn.layers.norm",
    "snn.layers.attention", "snn.layers.chrono_mask", "snn.layers.linear_attention", "snn.layers.transformer_block",
    "snn.codes.tas", "snn.codes.encoders", "snn.codes.event_frames", "snn.codes.spike_codes", "snn.codes.quantization",
    "snn.models.quantum", "snn.models.decision", "snn.models.working_memory", "snn.models.granule",
    "snn.plasticity.stdp", "snn.plasticity.homeostasis", "snn.plasticity.short_term_plasticity",
    "snn.nir.models", "snn.synops", "memory.fusion",
    "sensors.encoders.rate", "sensors.encoders.latency", "sensors.encoders.change", "sensors.encoders.addresses",
    "sensors.encoders.cochlea", "sensors.encoders.gammatone", "sensors.encoders.rows", "sensors.encoders.voxels",
)
# fmt: on
"""The modules of brainnet that hold one each, or more."""
_BLOCKS = "how many columns are walked together: speed alone"
EQUIVALENT: dict[str, dict[str, str]] = {
    "snn.kernels": dict.fromkeys(
        ("_BLOCK = 512", "_WIDE_BLOCK = 4096", "_NARROW_BLOCK = 64", "_CACHED_FLOATS = 1 << 17"), _BLOCKS
    ),
    "snn.neurons.snntorch_bridge": {
        "_PROBES = (-5.0, -1.0, -0.3, -0.05, 0.05, 0.3, 1.0, 5.0)": "where two surrogates are compared"
    },
    "sensors.encoders.cochlea": {
        "MAX_BANDS: Final = 4096": "a limit that no test reaches: so many filters take seconds",
        "_TINY: Final = 1e-30": "far below what lets a neuron fire",
    },
    "sensors.encoders.gammatone": {
        "_DIGITS: Final = 50": "many more digits than a float has",
        "range(80)": "the terms left out are far below the digits",
    },
    "sensors.encoders.latency": {"_NEVER = -1": "any step before the first one"},
    "sensors.encoders.rows": {
        "np.full(1, -1, np.int64)": "any time before the first one; one number is read",
        "near + 2": "more samples to look through",
    },
    "snn.models.quantum": {"min(1.0, entropy": "the entropy exceeds ln N by rounding alone"},
}
"""By module: a piece of a line, and why changing a constant there changes no result."""

# fmt: off
SHAPING = {
    "sum", "mean", "amax", "amin", "argmin", "argmax", "any", "all", "flatten", "unflatten", "transpose", "permute",
    "view", "reshape", "expand", "size", "chunk", "squeeze", "unsqueeze", "stack", "cat", "unbind", "cumsum", "softmax",
    "split", "zeros", "ones", "empty", "new_zeros", "new_ones", "nonzero", "unique",
}
# fmt: on
"""Calls whose literal arguments are axes and shapes."""
AXES = {"dim", "axis", "maxsize", "keepdim", "start_dim", "end_dim", "ndim"}


@dataclass(frozen=True)
class Mutant:
    """One changed constant, and what became of it: killed, survived, timeout."""

    module: str
    line: int
    column: int
    original: str
    changed: str
    code: str
    outcome: str = ""
    by: str = ""
    seconds: float = 0.0


class Constants(ast.NodeVisitor):
    """The numbers of a module that are part of a formula, or a default.

    Not: indices and axes, annotations, decorators, messages, and the conditions under which an argument is refused.
    """

    def __init__(self) -> None:
        self.found: list[ast.Constant | ast.Attribute] = []

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            self.found.append(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr == "pi":
            self.found.append(node)
        else:
            self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave messages as they are."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave messages as they are."""

    def visit_arg(self, node: ast.arg) -> None:
        """Leave annotations as they are."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.visit(node.args)
        for statement in node.body:
            self.visit(statement)

    def visit_If(self, node: ast.If) -> None:
        refuses = all(isinstance(statement, ast.Raise) for statement in node.body) and not node.orelse
        for part in ([] if refuses else [node.test]) + node.body + node.orelse:
            self.visit(part)

    def visit_Compare(self, node: ast.Compare) -> None:
        if not any(_is_of_shape(side) for side in [node.left, *node.comparators]):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.visit(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr in SHAPING:
            return
        for argument in node.args:
            self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg not in AXES:
                self.visit(keyword.value)


def _is_of_shape(node: ast.expr) -> bool:
    """Whether an expression tells the shape of an array: `x.ndim`, `x.shape[0]`, `len(x)`."""
    return any(
        (isinstance(part, ast.Attribute) and part.attr in ("ndim", "shape", "numel"))
        or (isinstance(part, ast.Name) and part.id == "len")
        for part in ast.walk(node)
    )


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every constant of a module with its change: a number x to 1.1 x, an integer n to n + 1, 0.0 to 0.1."""
    constants = Constants()
    constants.visit(ast.parse(source))
    lines = source.splitlines()
    exempt, unused = EQUIVALENT.get(module, {}), set(EQUIVALENT.get(module, {}))
    found: list[Mutant] = []
    for node in constants.found:
        line, text = lines[node.lineno - 1], ast.get_source_segment(source, node) or ""
        column = len(line.encode()[: node.col_offset].decode())
        if matching := {piece for piece in exempt if piece in line and 0 <= column - line.find(piece) < len(piece)}:
            unused -= matching
            continue
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, int):
            changed = str(value + 1)
        elif isinstance(value, float):
            changed = repr(value * 1.1 if value else 0.1)
        else:
            changed = f"({text} * 1.1)"
        found.append(Mutant(module, node.lineno, node.col_offset, text, changed, line.strip()))
    if unused:
        raise typer.BadParameter(f"EQUIVALENT names what {module} no longer holds: {sorted(unused)}")
    return found


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source with that one change."""
    lines = source.splitlines(keepends=True)
    row = lines[mutant.line - 1].encode()
    before, after = row[: mutant.column], row[mutant.column + len(mutant.original.encode()) :]
    lines[mutant.line - 1] = (before + mutant.changed.encode() + after).decode()
    return "".join(lines)


def source_of(module: str, tree: Path) -> Path:
    """Return the file of a module of brainnet."""
    return tree / "brainnet" / f"{module.replace('.', '/')}.py"


def imported_by(path: Path) -> set[str]:
    """Return the modules that a file imports, without `brainnet.`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix("brainnet.") for name in names if name.startswith("brainnet.")}


def tests_of(module: str, tree: Path) -> list[Path]:
    """The test files of a module: its own, or else those that import it, or else those of the modules that do."""
    package, *_, name = module.split(".")
    files = sorted((tree / "tests" / package).glob("test_*.py"))
    own = [file for file in files if file.stem == f"test_{name}"]
    if tests := own or [file for file in files if module in imported_by(file)]:
        return tests
    whole = tree / "brainnet"
    importing = [path for path in (whole / package).rglob("*.py") if module in imported_by(path)]
    users = [".".join(path.relative_to(whole).with_suffix("").parts) for path in importing]
    return sorted({file for user in users for file in tests_of(user, tree)})


@dataclass
class Verdict:
    """How a run of tests ended: killed, survived or timeout; the test that failed; seconds of every test that ran."""

    outcome: str
    by: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


class Watch:
    """A pytest plugin: runs tests in ascending order of `order`, and notes what they take and which one fails."""

    def __init__(self, order: dict[str, float]) -> None:
        self.order = order
        self.failed = ""
        self.seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.order.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = self.failed or report.nodeid


def run_tests(tests: list[Path], limit_s: float, order: dict[str, float]) -> Verdict:
    """Run tests in a forked process, until one fails."""
    report = Path("report.json")
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (a device)
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        pytest, watch = importlib.import_module("pytest"), Watch(order)
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *map(str, tests)], plugins=[watch]))
        report.write_text(json.dumps([watch.failed, watch.seconds]))
        os._exit(code)
    deadline = time.monotonic() + limit_s
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Verdict("timeout")
        time.sleep(0.01)
    code = os.waitstatus_to_exitcode(ended[1])
    if code in (4, 5):
        raise RuntimeError(f"pytest ran no test of {[test.name for test in tests]}")
    failed, seconds = json.loads(report.read_text()) if report.is_file() else ("", {})
    return Verdict("survived", "", seconds) if code == 0 else Verdict("killed", failed or f"exit {code}", seconds)


@contextlib.contextmanager
def changed_file(path: Path, source: str) -> Iterator[None]:
    """Another source in a file, for a while; then the file, its time and its compiled kernels are as before."""
    before, times = path.read_text(), path.stat()
    kernels = {kept: kept.read_bytes() for kept in (path.parent / "__pycache__").glob(f"{path.stem}.*.nb*")}
    path.write_text(source)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000_000))
    try:
        yield
    finally:
        path.write_text(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        for made in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            made.unlink()
        for kept, content in kernels.items():
            kept.write_bytes(content)


def warm_up(tree: Path) -> None:
    """Become a process that holds what tests load slowly, and whose project is the copy."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    for name in WARM:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    held = importlib.import_module("brainnet").__file__ or ""
    if not held.startswith(str(tree)) or any(f"brainnet.{module}" in sys.modules for module in FORMULAS):
        raise RuntimeError(f"the mutants would not be what is tested: brainnet is {held}")
    importlib.import_module("torch").set_num_threads(1)
    hypothesis = importlib.import_module("hypothesis")
    # that a test fails is enough; the smallest example is not looked for
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutation", phases=phases, database=None, deadline=None, derandomize=True)
    hypothesis.settings.load_profile("mutation")


def copy_tree(tree: Path) -> None:
    """Import what the tests need."""
    for part in COPIED:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part)
        else:
            shutil.copy2(ROOT / part, tree / part)


def judge(module: str, mutants: list[Mutant], tree: Path) -> Iterator[Mutant]:
    """Every mutant of a module with its outcome."""
    path, tests = source_of(module, tree), tests_of(module, tree)
    if not tests:
        raise typer.BadParameter(f"no test imports brainnet.{module}")
    start = time.monotonic()
    plain = run_tests(tests, 600, {})
    if plain.outcome != "survived":
        raise typer.BadParameter(f"tests of {module} fail without any change: {plain.by or plain.outcome}")
    # quick tests first, and before them those that noticed something
    limit_s, order = 30 + 5 * (time.monotonic() - start), dict(plain.seconds)
    for mutant in mutants:
        start = time.monotonic()
        with changed_file(path, mutated(path.read_text(), mutant)):
            verdict = run_tests(tests, limit_s, order)
        if verdict.by in order:
            order[verdict.by] = -1.0
        yield replace(mutant, outcome=verdict.outcome, by=verdict.by, seconds=round(time.monotonic() - start, 2))


def run(
    only: Annotated[list[str] | None, typer.Option("--only", help="A module, such as lif; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for every mutant.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Show the constants and run nothing.")] = False,
) -> None:
    """Change every constant in the formulas of brainnet, one at a time; the tests of its module must fail.

    Needs the dev dependencies. Exits with status 1 when a mutant survives. Never touches the tree it is started in.

    Example: python scripts/mutation.py --only quantum --only lif --json
    """
    from rich.console import Console
    from rich.progress import Progress

    modules = [module for module in FORMULAS if only is None or module.rpartition(".")[2] in only]
    if unknown := set(only or []) - {module.rpartition(".")[2] for module in modules}:
        raise typer.BadParameter(f"no module of formulas is named {', '.join(sorted(unknown))}")
    found = {module: mutants_of(module, source_of(module, ROOT).read_text()) for module in modules}
    if list_only:
        for mutant in (mutant for mutants in found.values() for mutant in mutants):
            print(f"{mutant.module}:{mutant.line}: {mutant.original} -> {mutant.changed}  {mutant.code}")
        return
    done: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="mutation-") as name, Progress(console=Console(stderr=True)) as progress:
        tree = Path(name).resolve()
        copy_tree(tree)
        bar = progress.add_task("warming up", total=sum(map(len, found.values())))
        warm_up(tree)
        for module, mutants in found.items():
            progress.update(bar, description=module)
            for mutant in judge(module, mutants, tree) if mutants else ():
                done.append(mutant)
                progress.advance(bar)
                if as_json:
                    print(json.dumps(asdict(mutant)), flush=True)
        os.chdir(ROOT)
    survivors = [mutant for mutant in done if mutant.outcome == "survived"]
    if not as_json:
        for mutant in survivors:
            print(f"survived  {mutant.module}:{mutant.line}: {mutant.original} -> {mutant.changed}  {mutant.code}")
        print(f"{len(done) - len(survivors)} of {len(done)} changed constants were noticed")
    raise typer.Exit(1 if survivors else 0)


if __name__ == "__main__":
    typer.run(run)
