"""``longtake register``: a new model version in the MLflow registry, with an alias."""

from pathlib import Path
from typing import Annotated

from jobs import options
from jobs.options import argument, option

DETAILS = "Without --tracking-uri, the registry is an SQLite file below --run-dir."
EXAMPLES = (
    "longtake register runs/ctvis/models/final --name ctvis --run-dir runs/ctvis",
    "longtake register models/ctvis --name ctvis --tracking-uri http://mlflow:5000 --no-alias",
)


def run(
    *,
    model_dir: Annotated[Path, argument("MODEL_DIR", "Folder with weights.safetensors.")],
    name: Annotated[str, option("--name NAME", "Model name.")],
    alias: Annotated[
        str, option("--alias NAME", "Alias to point at the new version.")
    ] = "champion",
    no_alias: Annotated[bool, option("--no-alias", "Leave all aliases unchanged.")] = False,
    tracking_uri: options.TrackingUri = None,
    run_dir: Annotated[
        Path, option("--run-dir DIR", "Folder that contains the default registry.")
    ] = Path("runs"),
    experiment: Annotated[str, option("--experiment NAME", "MLflow experiment.")] = "longtake",
    metrics: Annotated[
        Path | None, option("--metrics FILE", "JSON file of scores to store with the version.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Registers the model and prints its version."""
    from dataclasses import asdict

    from pipelines.mlflow_runs.runs import MlflowStore
    from pipelines.registry.mlflow_registry import register_model

    scores = _read_metrics(metrics) if metrics else {}
    tracking = MlflowStore(tracking_uri, experiment, run_dir)
    done = register_model(tracking, model_dir, name, scores, None if no_alias else alias)
    lines = [f"{done.name} version {done.version} ({done.digest[:12]})"]
    if done.alias:
        lines.append(f"{done.alias}: {done.previous or 'none'} -> {done.version}")
    options.report(asdict(done), lines, as_json=as_json)


def _read_metrics(path: Path) -> dict[str, float]:
    import json

    from vis_core.errors import ConfigError

    try:
        values = json.loads(path.read_bytes())
        return {str(key): float(value) for key, value in values.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'--metrics {path}: expected a JSON object of numbers such as {{"ap": 0.31}}: {error}'
        ) from error
