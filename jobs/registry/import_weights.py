"""``longtake import-weights``: conversion of published weights to a model folder."""

from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = (
    "--from is a .pth or .pkl file by the authors of Mask2Former, MinVIS, CTVIS, IDOL or CondInst, "
    "a transformers folder, or hf:ID. --out is the model folder, which must not exist yet."
)
EXAMPLES = (
    "longtake import-weights --from ctvis_r50.pth --out models/ctvis --classes ytvis_2019",
    "longtake import-weights --from hf:ORGANISATION/MODEL --out models/mask2former",
)


def run(
    *,
    source: options.Source,
    out: options.RequiredOut,
    classes: Annotated[
        str | None,
        option(
            "--classes LIST|FILE",
            "Class names for a .pth or .pkl file: coco, ytvis_2019, ytvis_2021, ytvis_2022, ovis, "
            "or a file with one name per line.",
        ),
    ] = None,
) -> None:
    """Writes the model folder and prints its contents."""
    from pipelines.registry.foreign_models import import_weights

    print("\n".join(import_weights(source, options.local_path(out), classes)))
