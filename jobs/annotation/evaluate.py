"""``longtake evaluate``: scores as a table or as JSON."""

import os
from pathlib import Path
from typing import Annotated, Any

from jobs import options
from jobs.options import option
from vis_core.errors import ConfigError

DETAILS = (
    "YouTube-VIS ground truth yields track AP; COCO ground truth, for images, yields mask and box "
    "AP. For images, --model and --images first write the detections to --results. --out saves "
    "all numbers as JSON, including those that are not printed."
)
EXAMPLES = (
    "longtake evaluate --gt truth.json --results results.json --per-class --identity",
    "longtake evaluate --gt truth.json --results results.json --compare other.json --json",
    "longtake evaluate --gt instances.json --results r.json --model models/idol --images val2017",
)


def run(
    *,
    ground_truth: options.RequiredGroundTruth,
    results: options.Results,
    out: options.Out = None,
    per_class: Annotated[
        bool, option("--per-class", "Also print the scores of each class.")
    ] = False,
    identity: Annotated[
        bool, option("--identity", "Also compute HOTA, IDF1 and identity switches.")
    ] = False,
    min_score: Annotated[
        float, option("--min-score S", "With --identity, ignore tracks with a score below S.")
    ] = 0.5,
    split_by_length: Annotated[
        bool, option("--split-by-length", "Also score short and long videos separately.")
    ] = False,
    long_from: Annotated[
        int,
        option(
            "--long-from N",
            "Videos with at least N annotated frames count as long.",
            min=1,
        ),
    ] = 40,
    bootstrap: Annotated[
        int,
        option(
            "--bootstrap N",
            "Add a 95 % interval from N bootstrap samples of the videos; 0: none.",
            min=0,
        ),
    ] = 0,
    compare: Annotated[
        Path | None,
        option("--compare FILE", "Second results file, for a test of the difference in AP."),
    ] = None,
    seed: options.Seed = 0,
    model: options.Model = None,
    images: options.Images = None,
    as_json: options.Json = False,
) -> None:
    """Prints the scores, and writes them to ``--out`` if it is given."""
    from pipelines.data.check_files import holds_images
    from pipelines.results.score_files import ScoreOptions, score_files
    from vis_core.files import write_json

    path = None if out is None else options.local_path(out)
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"--out: expected a folder {path.parent}, found none; make it first")
    score_options = ScoreOptions(
        per_class=per_class,
        identity=identity,
        min_score=min_score,
        split_by_length=split_by_length,
        long_from=long_from,
        bootstrap=bootstrap,
        seed=seed,
    )
    document: dict[str, Any]
    if holds_images(ground_truth):
        if score_options != ScoreOptions() or compare is not None:
            raise ConfigError(f"{ground_truth}: holds images; the options of videos do not apply")
        document, lines = _score_images(ground_truth, results, model, images)
    else:
        if model is not None or images is not None:
            raise ConfigError(
                f"{ground_truth}: --model and --images only work with COCO ground truth; annotate "
                "videos with longtake annotate or train"
            )
        scores = score_files(ground_truth, results, compare, score_options)
        document, lines = scores.document, scores.describe()
    options.report(document, lines, as_json=as_json)
    if path is not None:
        write_json(path, document)


def _score_images(
    ground_truth: Path, results: Path, model: str | None, images: Path | None
) -> tuple[dict[str, float], list[str]]:
    from pipelines.results.coco_scores import SCORES, detect_images, score_coco
    from vis_core.evaluation.score_table import shown_score

    if (model is None) != (images is None):
        raise ConfigError("--model and --images: expected both or none of them")
    if model is not None and images is not None:
        from pipelines.registry.mlflow_registry import resolve_model

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        resolved = resolve_model(model, uri, options.MODEL_CACHE.expanduser())
        detect_images(resolved.path, ground_truth, images, results)
    scores = score_coco(ground_truth, results)
    lines = [
        "  ".join([kind, *(f"{name} {shown_score(scores[f'{kind}_{name}'])}" for name in SCORES)])
        for kind in ("segm", "bbox")
    ]
    return scores, lines
