"""One system's backbone is the start of another."""

from pathlib import Path

import pytest
import torch

from tests.helpers.presets import combined_config, tiny_config
from vis_core.config.segmentors import OwnBackbone
from vis_core.config.systems import AnySystemConfig
from vis_core.errors import CheckpointError
from vis_core.formats.categories import Categories, numbered, unnamed_categories
from vis_core.formats.class_maps import CLASS_LISTS
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, save_system
from vis_core.models.systems.transfer import planned_transfer, random_frozen, start_from

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
    _, transfer = planned_transfer(CONFIGS[target], tmp_path, CATEGORIES)
    assert len(transfer.whole) == len(system.state_dict()) - len(random)


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


HEADS = {
    "ctvis": ("segmentor.network.class_predictor.",),
    "idol": ("segmentor.class_heads.",),
    "stc": ("segmentor.head.class_head.",),
}


def is_head(name: str) -> bool:
    return any(part in name for parts in HEADS.values() for part in parts)


def random_system(name: str, categories: Categories, seed: int) -> System:
    torch.manual_seed(seed)
    system = build_system(CONFIGS[name], len(categories))
    with torch.no_grad():
        for key, tensor in system.state_dict().items():
            if is_head(key):
                tensor.normal_()
    return system


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "old, new, kept",
    [
        (numbered(("a", "b", "c")), numbered(("a", "b", "c")), {0: 0, 1: 1, 2: 2}),
        (numbered(("a", "b", "c")), numbered(("c", "d", "a")), {0: 2, 2: 0}),
        (numbered(("a", "b", "c", "d")), numbered(("d", "b")), {0: 3, 1: 1}),
        (numbered(("a", "b")), numbered(("c", "d")), {}),
        (unnamed_categories(40), CLASS_LISTS["ytvis_2021"], {n: n for n in range(40)}),
        (unnamed_categories(40), numbered(("a", "b")), {}),
        (CLASS_LISTS["ytvis_2019"], CLASS_LISTS["ytvis_2021"], None),
        (CLASS_LISTS["coco"], CLASS_LISTS["ytvis_2019"], {}),
    ],
    ids=["same", "some", "subset", "others", "unnamed", "unnamed others", "lists", "coco"],
)
def test_rows_of_class_heads_are_carried_by_name_or_number(
    name: str, old: Categories, new: Categories, kept: dict[int, int] | None, tmp_path: Path
) -> None:
    given = random_system(name, old, 1)
    save_system(tmp_path, given, old)
    system = random_system(name, new, 2)
    before = {key: tensor.clone() for key, tensor in system.state_dict().items()}
    _, transfer = planned_transfer(CONFIGS[name], tmp_path, new)
    random, _ = start_from(system, tmp_path, new)
    if kept is None:
        rows = enumerate(new.names)
        kept = {row: old.names.index(n) for row, n in rows if n in old.names}
    heads = [key for key in before if is_head(key)]
    assert heads
    for key in heads:
        found, wanted = system.state_dict()[key], given.state_dict()[key]
        for row in range(len(new)):
            source = wanted[kept[row]] if row in kept else before[key][row]
            assert torch.equal(found[row], source), (key, row)
        # "fits" counts a head only if all its rows are carried, "random" only if none is
        assert (key in transfer.whole) == (len(kept) == len(new))
        assert (key in random) == (not kept)
    text = transfer.describe()
    assert f"{len(transfer.whole)} of {len(before)} tensors fit" in text
    words = "new" if not kept else "by number" if old.unnamed else f"{len(kept)}"
    assert words in text.partition("class heads: ")[2]


def test_heads_of_unknown_classes_do_not_count(tmp_path: Path) -> None:
    save_system(tmp_path, random_system("idol", unnamed_categories(40), 1), unnamed_categories(40))
    _, transfer = planned_transfer(CONFIGS["idol"], tmp_path)
    assert not any(map(is_head, transfer.whole))
    assert "by number if the run has 40 classes too" in transfer.describe()


@pytest.mark.parametrize("in_1x1", [True, False])
def test_a_resnet_with_the_stride_elsewhere_does_not_fit(in_1x1: bool, tmp_path: Path) -> None:
    def config(name: str, stride: bool) -> AnySystemConfig:
        sizes = {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}
        own = OwnBackbone(family="resnet", sizes=sizes | {"downsample_in_bottleneck": stride})
        segmentor = CONFIGS[name].segmentor.model_copy(update={"backbone": own})
        return CONFIGS[name].model_copy(update={"segmentor": segmentor})

    save_system(tmp_path, build_system(config("minvis", in_1x1), 2), CATEGORIES)
    start_from(build_system(config("stc", in_1x1), 2), tmp_path, CATEGORIES)
    with pytest.raises(CheckpointError, match="expected a resnet .*, found a resnet .*; set "):
        start_from(build_system(config("stc", not in_1x1), 2), tmp_path, CATEGORIES)
    with pytest.raises(CheckpointError, match=r"system\.segmentor\.backbone"):
        planned_transfer(config("idol", not in_1x1), tmp_path)


@pytest.mark.parametrize("name", ["idol", "stc"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_frozen_stages_are_random_until_they_are_taken(name: str, count: int) -> None:
    segmentor = CONFIGS[name].segmentor.model_copy(update={"frozen_stages": count})
    system = build_system(CONFIGS[name].model_copy(update={"segmentor": segmentor}), 2)
    weights, norms = random_frozen(system)
    assert not norms  # of the backbone "tiny"
    frozen = {n for n, p in system.named_parameters() if not p.requires_grad} - {
        n for n in system.state_dict() if "normalization" in n
    }
    assert set(weights) == frozen
    assert bool(weights) == (count > 0)
    assert random_frozen(system, system.state_dict()) == ([], [])


@pytest.mark.parametrize("name", ["ctvis", "idol", "stc"])
def test_frozen_batch_norms_need_statistics(name: str) -> None:
    own = OwnBackbone(family="resnet", sizes={"depths": [1, 2, 1, 1], "embedding_size": 8})
    own.sizes["hidden_sizes"] = [16, 24, 32, 40]
    segmentor = CONFIGS[name].segmentor.model_copy(update={"backbone": own})
    system = build_system(CONFIGS[name].model_copy(update={"segmentor": segmentor}), 2)
    _, norms = random_frozen(system)
    stored = [n for n in system.state_dict() if n.endswith("running_mean")]
    stored = [n for n in stored if n.startswith(system.backbone_prefix)]
    assert sorted(f"{n}.running_mean" for n in norms) == sorted(stored)
    assert random_frozen(system, system.state_dict()) == ([], [])


def test_batch_norms_that_learn_are_free() -> None:
    own = OwnBackbone(family="resnet", sizes={"depths": [1, 1, 1, 1]})
    change = {"backbone": own, "train_batch_norm": True}
    segmentor = CONFIGS["ctvis"].segmentor.model_copy(update=change)
    with torch.device("meta"):
        system = build_system(CONFIGS["ctvis"].model_copy(update={"segmentor": segmentor}), 2)
    assert random_frozen(system) == ([], [])
