"""``longtake convert``: conversion of a ground truth to another class list."""

from pathlib import Path

from jobs import options

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
    class_map: options.RequiredClassMap,
) -> None:
    """Writes the converted file and prints the omitted classes."""
    from pipelines.data.convert_classes import convert_classes

    converted = convert_classes(Path(source), options.local_path(out), class_map)
    print("\n".join(converted.describe()))
