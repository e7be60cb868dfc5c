"""``longtake tune``: a sweep of the association thresholds on validation videos."""

from pathlib import Path
from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = "Writes the trained model with the best thresholds to RUN/models/final."
EXAMPLES = ("longtake tune --run runs/ctvis",)


def run(
    *,
    run: Annotated[Path, option("--run DIR", "Folder of a trained run.")],
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """Sweeps the thresholds and prints the best ones."""
    from pipelines.cluster import ray_session
    from pipelines.data.given_data import check_given
    from pipelines.run.folder import read_trained_run
    from pipelines.run.lock import hold_folder

    whole, trained = read_trained_run(run.absolute())
    check_given(whole.given)
    hold_folder(whole.folder)
    from pipelines.run.steps import prepare, sweep

    data = prepare(whole)
    with ray_session(whole.config.ray, address):
        summary = sweep(whole, data, trained)
    model = whole.folder / "models" / "final"
    lines = [f"AP on validation {summary['start_ap']:.3f} -> {summary['best_ap']:.3f}"]
    lines += [f"  {key} {value:.3f}" for key, value in summary["best"].items()]
    options.report({**summary, "model": str(model)}, [*lines, str(model)], as_json=as_json)
