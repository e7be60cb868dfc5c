import json

import pytest

from tests.conftest import reference_dir
from vis_core.errors import AnnotationError, ConfigError
from vis_core.formats.categories import Categories
from vis_core.formats.class_maps import (
    CLASS_LISTS,
    FROM_COCO,
    ClassMap,
    map_from_coco,
    map_records,
    parse_class_map,
)
from vis_core.formats.coco import IGNORED, ImageRecord

MASK = {"size": [2, 2], "counts": "4"}


def _record(*labels: int) -> ImageRecord:
    return ImageRecord(1, "a.jpg", 2, 2, labels, (MASK,) * len(labels))


def test_the_public_lists_have_their_sizes_and_holes() -> None:
    sizes = {name: len(categories) for name, categories in CLASS_LISTS.items()}
    assert sizes == {
        "coco": 80, "ytvis_2019": 40, "ytvis_2021": 40, "ytvis_2022": 40, "ovis": 25,
    }  # fmt: skip
    coco = CLASS_LISTS["coco"]
    assert (coco.ids[11], coco.names[11]) == (13, "stop sign")
    assert coco.ids[-1] == 90
    assert CLASS_LISTS["ovis"].names[-1] == "Vehical"


@pytest.mark.parametrize(
    ("target", "mapped"), [("ytvis_2019", 21), ("ytvis_2021", 23), ("ytvis_2022", 23), ("ovis", 17)]
)
def test_the_maps_from_coco_name_known_classes(target: str, mapped: int) -> None:
    assert len(FROM_COCO[target]) == mapped
    assert set(FROM_COCO[target]) <= set(CLASS_LISTS["coco"].names)
    assert set(FROM_COCO[target].values()) <= set(CLASS_LISTS[target].names)
    labels = map_from_coco(target).target_labels(CLASS_LISTS["coco"])
    assert sum(label is not None for label in labels) == mapped


def _published(relative: str) -> dict:
    file = reference_dir() / relative
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return json.loads(file.read_text())


def _pairs(target: str) -> set[tuple[int, int]]:
    """Returns (COCO id, target id) of each class that our map keeps."""
    coco, wanted = CLASS_LISTS["coco"], CLASS_LISTS[target]
    labels = map_from_coco(target).target_labels(coco)
    return {
        (own, wanted.id_of_index(label))
        for own, label in zip(coco.ids, labels, strict=True)
        if label is not None
    }


@pytest.mark.parity
@pytest.mark.parametrize("name", ["ytvis_2019", "ytvis_2021", "ovis"])
def test_lists_and_maps_equal_those_of_the_authors(name: str) -> None:
    theirs = _published("ctvis/coco_to_vis_categories.json")[name]
    ours = CLASS_LISTS[name]
    listed = [(entry["id"], entry["name"]) for entry in theirs["categories"]]
    assert list(zip(ours.ids, ours.names, strict=True)) == listed
    assert _pairs(name) == {(pair["coco_id"], pair["vis_id"]) for pair in theirs["coco_to_vis"]}


@pytest.mark.parity
@pytest.mark.parametrize("name", ["coco", "ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis"])
def test_lists_and_maps_equal_those_of_the_public_repositories(name: str) -> None:
    document = _published("../spec/classes.json")
    theirs = document[name].get("same_as", name)
    ours = CLASS_LISTS[name]
    listed = [(entry["id"], entry["name"]) for entry in document[theirs]["categories"]]
    assert list(zip(ours.ids, ours.names, strict=True)) == listed
    if name != "coco":
        stated = document[f"coco_to_{theirs}"]["map"]
        assert _pairs(name) == {(int(own), other) for own, other in stated.items()}


def test_instances_get_their_target_labels_and_the_rest_is_counted() -> None:
    source = CLASS_LISTS["coco"]
    bicycle, bench = source.names.index("bicycle"), source.names.index("bench")
    records, left_out = map_records([_record(bicycle, bench)], source, map_from_coco("ytvis_2019"))
    target = CLASS_LISTS["ytvis_2019"]
    assert [target.names[label] for label in records[0].labels] == ["motorbike"]
    assert len(records[0].segmentations) == 1
    assert left_out == {"bench": 1}


def test_instances_that_are_left_out_may_stay_as_ignored_regions() -> None:
    source = CLASS_LISTS["coco"]
    person, bench = source.names.index("person"), source.names.index("bench")
    arguments = [_record(bench, person)], source, map_from_coco("ovis")
    (record,), left_out = map_records(*arguments, keep_ignored=True)
    assert record.labels == (IGNORED, 0) and len(record.segmentations) == 2
    assert left_out == {"bench": 1}


def test_a_user_map_leaves_out_on_purpose_or_refuses() -> None:
    document = {"target": ["cat"], "classes": {"kitten": "cat", "sofa": None}}
    source = Categories((1, 2, 3), ("kitten", "sofa", "dog"))
    assert parse_class_map(document, "map.yaml").target_labels(source) == [0, None, None]
    strict = parse_class_map({**document, "unmapped": "refuse"}, "map.yaml")
    with pytest.raises(AnnotationError, match="none for 1: dog"):
        strict.target_labels(source)
    assert strict.target_labels(Categories((1, 2), ("kitten", "sofa"))) == [0, None]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "expected the keys"),
        ({"target": ["cat"], "map": {}}, "expected the keys"),
        ({"target": ["cat"]}, "classes: expected names"),
        ({"target": ["cat"], "classes": {"a": 1}}, "classes: expected names"),
        ({"target": "cats", "classes": {}}, "target: expected"),
        ({"target": ["a", "a"], "classes": {}}, "each name once"),
        ({"target": ["cat"], "classes": {"a": "dog"}}, "classes.a"),
        ({"target": ["cat"], "classes": {}, "unmapped": "keep"}, "drop or refuse"),
    ],
)
def test_a_faulty_user_map_names_its_file(document: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_class_map(document, "map.yaml")
    assert str(caught.value).startswith("map.yaml")


def test_an_unknown_public_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="ytvis_2019"):
        map_from_coco("lvis")


def test_no_records_stay_none() -> None:
    assert map_records([], CLASS_LISTS["coco"], ClassMap(CLASS_LISTS["ovis"], {})) == ([], {})
