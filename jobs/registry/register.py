"""``longtake register MODEL_DIR``: puts a model into the registry and points an alias at it."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("model_dir", type=Path, help="folder with weights.safetensors")
    parser.add_argument("--name", required=True, help="registered name")
    parser.add_argument(
        "--alias", default="champion", help="points at this version (default champion)"
    )
    parser.add_argument("--no-alias", action="store_true", help="move no alias")
    parser.add_argument(
        "--tracking",
        default=None,
        metavar="URI",
        help="sqlite:///FILE.db or http(s)://… (default: a file under --run-dir)",
    )
    parser.add_argument(
        "--run-dir", type=Path, default=Path("runs"), help="holds the default store (default runs)"
    )
    parser.add_argument("--experiment", default="longtake", help="default longtake")
    parser.add_argument(
        "--metrics", type=Path, default=None, help="JSON file of scores kept with the version"
    )


def run(args: argparse.Namespace) -> int:
    """Registers the model and says which version it is."""
    from pipelines.mlflow_runs.runs import Tracking
    from pipelines.registry.mlflow_registry import register_model

    metrics = _read_metrics(args.metrics) if args.metrics else {}
    tracking = Tracking(args.tracking, args.experiment, args.run_dir)
    alias = None if args.no_alias else args.alias
    done = register_model(tracking, args.model_dir, args.name, metrics, alias)
    print(f"{done.name} version {done.version} ({done.digest[:12]})")
    if done.alias:
        print(f"{done.alias}: {done.previous or 'none'} -> {done.version}")
    return 0


def _read_metrics(path: Path) -> dict[str, float]:
    """Reads a flat JSON object of numbers."""
    import json

    from vis_core.errors import ConfigError

    try:
        values = json.loads(path.read_bytes())
        return {str(key): float(value) for key, value in values.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'--metrics {path}: expected a JSON object of numbers such as {{"ap": 0.31}}: {error}'
        ) from error
