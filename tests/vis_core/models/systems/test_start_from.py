"""One system's backbone is the start of another."""

from pathlib import Path

import pytest
import torch

from tests.helpers.presets import tiny_config
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
}


@pytest.mark.parametrize(
    "source, target", [("idol", "ctvis"), ("minvis", "idol"), ("ctvis", "stc"), ("stc", "minvis")]
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
        (CLASS_LISTS["coco"], CLASS_LISTS["ytvis_2019"], None),
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
    if kept is None:  # COCO's mouse is no animal
        common = {n for n in new.names if n in old.names} - (
            {"mouse"} if old is CLASS_LISTS["coco"] else set()
        )
        kept = {row: old.names.index(n) for row, n in enumerate(new.names) if n in common}
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
