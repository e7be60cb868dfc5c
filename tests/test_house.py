"""The rooms of the house: imports go down only, heavy packages stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import readme_tree

ROOT = Path(__file__).resolve().parents[1]
# room -> what it must never import
FORBIDDEN = {
    "vis_core": {"pipelines", "jobs", "ray", "mlflow", "boto3", "kfp", "tests"},
    "pipelines": {"jobs", "kfp", "tests"},
    "jobs": {"tests"},
}
HEAVY = {"torch", "transformers", "ray", "mlflow"}
MODULES = [path for room in FORBIDDEN for path in sorted((ROOT / room).rglob("*.py"))]


def imported_packages(path: Path) -> set[str]:
    """Top-level names of every import of a file, also of those inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert not imported_packages(path) & FORBIDDEN[room]


# call -> the modules that may make it, each with the guard that it needs
GUARDED_CALLS = {
    "torch.load": {"pipelines/train.py"},  # our own checkpoints, weights_only written out
    "yaml.load": {"pipelines/yaml_strict.py"},  # with a loader that knows no tags
    "pickle.Unpickler": {"vis_core/checkpoints/pickled.py"},  # with a closed list of constructors
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
    here = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            for base in map(ast.unparse, node.bases):
                assert here in GUARDED_CALLS.get(base, {here}), f"{here}: class of {base}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert here in GUARDED_CALLS.get(called, {here}), f"{here}:{node.lineno}: {called}"
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert options.get("shell") != "True", f"{here}:{node.lineno}: a shell"
        assert "trust_remote_code" not in options, f"{here}:{node.lineno}: foreign code"
        if called == "torch.load":
            assert options.get("weights_only") == "True", f"{here}:{node.lineno}: torch.load"


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
        "pipelines.config",
        "pipelines.foreign_models",
        "pipelines.given_data",
        "pipelines.start_weights",
        "jobs.cli",
    ],
)
def test_a_run_file_is_read_before_anything_heavy_is_imported(module: str) -> None:
    program = f"import sys, {module}; print({HEAVY} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_readme_lists_every_file() -> None:
    _, listed, _ = readme_tree.parts(readme_tree.README.read_text())
    assert listed == readme_tree.tree(), "run python -m tests.readme_tree"


def test_shipped_weights_are_small_and_load() -> None:
    from vis_core.systems.build import load_system

    folder = ROOT / "vis_core" / "weights" / "tiny"
    assert (folder / "weights.safetensors").stat().st_size < 8_000_000
    assert not load_system(folder).training
