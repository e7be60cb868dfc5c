"""Imports every module of vis_core where neither ray nor mlflow is installed (for .ci/run)."""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import vis_core  # noqa: E402

for absent in ("ray", "mlflow", "boto3"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is installed here"
names = [m.name for m in pkgutil.walk_packages(vis_core.__path__, "vis_core.")]
for name in names:
    importlib.import_module(name)
print(f"{len(names)} modules imported without ray and mlflow")
