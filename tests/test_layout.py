"""The code layout: import contracts, folder sizes, guarded calls, modules that stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tree

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "ray", "mlflow"}
PACKAGES = ("vis_core", "pipelines", "jobs")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_is_relative_or_of_tests(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert (node.module or "").split(".")[0] != "tests"


# call -> the modules that may use it, each with the required guard
GUARDED_CALLS = {
    "torch.load": {
        "pipelines/training/worker/loop.py"
    },  # our own checkpoints, with an explicit weights_only
    "yaml.load": {"pipelines/config/strict_yaml.py"},  # with a loader that knows no tags
    "pickle.Unpickler": {
        "vis_core/models/importers/safe_pickle.py"
    },  # with a closed list of constructors
    "yaml.unsafe_load": set(),
    "yaml.full_load": set(),
    "os.system": set(),
    "os.popen": set(),
    "pickle.load": set(),
    "pickle.loads": set(),
    "eval": set(),
    "exec": set(),
    "mlflow.pyfunc.load_model": set(),
    "cv2.imread": set(),
    "cv2.VideoCapture": set(),
    "torch.hub.load": set(),
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_could_run_foreign_code_is_called_in_guarded_modules_only(path: Path) -> None:
    assert dangers(ast.parse(path.read_text()), str(path.relative_to(ROOT))) == []


@pytest.mark.parametrize(
    "program",
    [
        "torch.load(x)",
        "from torch import load; load(x)",
        "import torch as t; t.load(x, weights_only=False)",
        "import pickle as p; p.loads(x)",
        "yaml.unsafe_load(x)",
        "os.system(x)",
        "from os import popen; popen(x)",
        "subprocess.run(x, shell=1)",
        "np.load(x, allow_pickle=True)",
        "model(x, trust_remote_code=True)",
        "model(x, **{'trust_remote_code': True})",
        "class R(pickle.Unpickler): pass",
        "import cv2; cv2.imread(x)",
    ],
)
def test_the_guard_knows_its_spellings(program: str) -> None:
    assert dangers(ast.parse(program), "vis_core/any.py")


def dangers(tree: ast.Module, here: str) -> list[str]:
    """Lists the calls and imports in a module that could run foreign code and are not allowed."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            package = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            aliases |= {name.asname or name.name: package + name.name for name in node.names}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found += [base for base in node.bases if not allowed(full_name(base, aliases), here)]
        if not isinstance(node, ast.Call):
            continue
        called = full_name(node.func, aliases)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if (
            not allowed(called, here)
            or options.get("shell", "False") != "False"
            or options.get("allow_pickle", "False") != "False"
            or "trust_remote_code" in ast.unparse(node)
            or (called == "torch.load" and options.get("weights_only") != "True")
        ):
            found.append(node)
    return [f"{here}:{node.lineno}: {ast.unparse(node):.60}" for node in found]


def allowed(name: str, here: str) -> bool:
    return here in GUARDED_CALLS.get(name, {here})


def full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    """Returns the dotted name of a called function, whatever its import alias."""
    first, dot, rest = ast.unparse(node).partition(".")
    return aliases.get(first, first) + dot + rest


def test_top_level_is_the_agreed_one() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\n")
    if not any(listed):
        pytest.skip("not a git checkout")
    folders = {name.split("/")[0] for name in listed if "/" in name and not name.startswith(".")}
    assert folders <= {"pipelines", "vis_core", "jobs", "infra", "tests", "docs"}


@pytest.mark.parametrize(
    "module",
    [
        "pipelines.config.run",
        "pipelines.registry.foreign_models",
        "pipelines.data.given_data",
        "pipelines.registry.start_weights",
        "jobs.cli",
    ],
)
def test_a_run_file_is_read_before_anything_heavy_is_imported(module: str) -> None:
    program = f"import sys, {module}; print({HEAVY} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_tree_lists_every_file() -> None:
    _, begin, listed = tree.PAGE.read_text().partition(tree.BEGIN)
    assert begin + listed == tree.tree(), "run python -m tests.tree"


def test_imports_go_down_only_and_no_folder_has_a_cycle() -> None:
    """Checks the contracts of pyproject.toml: layers, circles, forbidden packages."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_folder_has_more_than_fifteen_modules_and_folders() -> None:
    folders = {path.parent for path in MODULES}
    sizes = {
        str(folder.relative_to(ROOT)): sum(
            (child.suffix == ".py" and child.name != "__init__.py") or child in folders
            for child in folder.iterdir()
        )
        for folder in folders
    }
    assert {folder: count for folder, count in sizes.items() if count > 15} == {}


def test_shipped_weights_are_small_and_load() -> None:
    from vis_core.models.systems.build import load_system

    folder = ROOT / "vis_core" / "weights" / "tiny"
    assert (folder / "weights.safetensors").stat().st_size < 8_000_000
    assert not load_system(folder).training
