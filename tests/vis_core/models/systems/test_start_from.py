"""One system's backbone is the start of another."""

from pathlib import Path

import pytest
import torch

from tests.helpers.presets import combined_config, tiny_config
from vis_core.config.systems import AnySystemConfig
from vis_core.formats.categories import Categories, numbered
from vis_core.formats.class_maps import CLASS_LISTS
from vis_core.models.systems.build import build_system, save_system
from vis_core.models.systems.transfer import count_fitting_weights, start_from

CATEGORIES = numbered(("a", "b"))
CONFIGS: dict[str, AnySystemConfig] = {
    "idol": tiny_config("idol"),
    "stc": tiny_config("stc"),
    "minvis": tiny_config("minvis"),
    "ctvis": tiny_config("ctvis"),
    "ctvis_on_deformable_detr": combined_config("ctvis"),
    "idol_on_mask2former": combined_config("idol"),
}


@pytest.mark.parametrize(
    "source, target",
    [
        ("idol", "ctvis"),
        ("minvis", "idol"),
        ("ctvis", "stc"),
        ("stc", "minvis"),
        ("ctvis", "ctvis_on_deformable_detr"),
        ("idol_on_mask2former", "idol"),
        ("ctvis_on_deformable_detr", "idol_on_mask2former"),
    ],
)
def test_a_backbone_goes_from_system_to_system(source: str, target: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    given = build_system(CONFIGS[source], 2)
    save_system(tmp_path, given, CATEGORIES)
    system = build_system(CONFIGS[target], 2)
    random, _ = start_from(system, tmp_path, CATEGORIES)
    left = {name.rpartition(".")[2] for name in random if name.startswith(system.backbone_prefix)}
    assert left <= {"num_batches_tracked"}  # a frozen norm does not count
    theirs = given.state_dict()
    for name, tensor in system.state_dict().items():
        if name.startswith(system.backbone_prefix) and not name.endswith("num_batches_tracked"):
            place = given.backbone_prefix + name.removeprefix(system.backbone_prefix)
            assert torch.equal(tensor, theirs[place]), name
    fitting, _ = count_fitting_weights(CONFIGS[target], tmp_path)
    assert fitting == len(system.state_dict()) - len(random)


@pytest.mark.parametrize(
    "source, target", [("idol", "ctvis_on_deformable_detr"), ("ctvis", "idol_on_mask2former")]
)
def test_systems_with_one_segmentor_share_every_weight(
    source: str, target: str, tmp_path: Path
) -> None:
    save_system(tmp_path, build_system(CONFIGS[source], 2), CATEGORIES)
    assert start_from(build_system(CONFIGS[target], 2), tmp_path, CATEGORIES) == ([], [])


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (CLASS_LISTS["coco"], CLASS_LISTS["ytvis_2019"]),  # a mouse of another kind, and 16 equal
        (CLASS_LISTS["ytvis_2021"], CLASS_LISTS["coco"]),
        (numbered(("a", "b", "c")), None),  # of a stage with other classes
        (CATEGORIES, None),
    ],
)
def test_class_heads_start_anew_as_in_the_releases(
    name: str, old: Categories, new: Categories | None, tmp_path: Path
) -> None:
    save_system(tmp_path, build_system(CONFIGS[name], len(old)), old)
    system = build_system(CONFIGS[name], len(new or CATEGORIES))
    before = {key: tensor.clone() for key, tensor in system.state_dict().items()}
    random, unused = start_from(system, tmp_path, new)
    after = system.state_dict()
    heads = {key for key in after if "class_predictor" in key or "class_head" in key}
    assert heads and heads <= set(random) & set(unused)
    assert all(torch.equal(before[key], after[key]) for key in heads)
    assert len(random) < len(after) / 2  # everything else is carried over


def test_equal_lists_keep_their_class_heads(tmp_path: Path) -> None:
    person = Categories((1,), ("person",))  # part of COCO and of YouTube-VIS 2019
    given = build_system(CONFIGS["idol"], 1)
    save_system(tmp_path, given, person)
    system = build_system(CONFIGS["idol"], 1)
    random, _ = start_from(system, tmp_path, person)
    assert not [key for key in random if "class" in key]
