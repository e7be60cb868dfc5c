"""``longtake convert``: conversion of a ground truth to another class list."""

from pathlib import Path
from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = (
    "--from is a COCO or YouTube-VIS ground-truth file. Annotations without a class in the new "
    "list are omitted and counted."
)
EXAMPLES = (
    "longtake convert --from instances_train2017.json --out ytvis21.json --class-map ytvis_2021",
    "longtake convert --from truth.json --out mine.json --class-map map.yaml",
)


def run(
    *,
    source: options.Source,
    out: options.RequiredOut,
    class_map: Annotated[
        str,
        option(
            "--class-map LIST|FILE",
            "ytvis_2019, ytvis_2021, ytvis_2022 or ovis (from COCO's classes), or a YAML file "
            "with the keys target, classes and unmapped.",
        ),
    ],
) -> None:
    """Writes the file and prints the omitted classes."""
    from pipelines.data.convert_classes import convert_classes

    converted = convert_classes(Path(source), options.local_path(out), class_map)
    print("\n".join(converted.describe()))
