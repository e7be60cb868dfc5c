"""Sweeps the thresholds of association on the validation videos of a trained run."""

import argparse

from jobs.options import absolute_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--run", type=absolute_path, required=True, help="folder that longtake train made"
    )
    parser.add_argument("--address", help="of a running Ray cluster; default: this machine")


def run(args: argparse.Namespace) -> int:
    """Puts the trained model with the best thresholds into ``<run>/models/final``."""
    from pipelines.run.folder import read_run
    from pipelines.run.steps import prepare, sweep
    from vis_core.errors import ConfigError

    whole = read_run(args.run)
    last = whole.config.stages[-1].name
    trained = args.run / "models" / last
    if not (trained / "weights.safetensors").is_file():
        raise ConfigError(
            f"{trained}: stage {last} is not trained yet; finish it with longtake train"
        )
    from pipelines.cluster import ray_session
    from pipelines.run.lock import hold_folder

    hold_folder(args.run)
    data = prepare(whole)
    with ray_session(whole.config.ray, args.address):
        summary = sweep(whole, data, trained)
    print(f"AP on validation {summary['start_ap']:.3f} -> {summary['best_ap']:.3f}")
    for key, value in summary["best"].items():
        print(f"  {key} {value:.3f}")
    print(args.run / "models" / "final")
    return 0
