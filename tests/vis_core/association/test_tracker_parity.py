"""Every decision of the authors' trackers on recorded videos (reference ctvis/, sections 1, 3)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from vis_core.association.associator import Associator
from vis_core.association.similarity import SIMILARITIES, cosine
from vis_core.config.association import AssociationConfig
from vis_core.config.segmentors import SelectionConfig
from vis_core.models.segmentors.selection import select_instances
from vis_core.structures import Instances

CASES = reference_cases("ctvis/tracker_*.npz")
# the release's names of its memories -> ours
MEMORIES = {
    "similarity_guided": "similarity_guided",
    "momentum": "momentum",
    "last": "latest",
    "temporally_weighted_softmax": "temporally_weighted_released",
}


def read_case(path: Path) -> tuple[dict, dict, dict]:
    """Reads the recorded values, the inputs they came from, and the authors' configuration."""
    case = json.loads((path.parent / "tracker_cases.json").read_text())[path.stem]
    with np.load(path) as file:
        values = dict(file)
    with np.load(path.parent / case["inputs_in"]) as file:
        inputs = {name: file[name] for name in file if name.startswith("in_")}
    return values, inputs, case["config"]


def frame_instances(inputs: dict, frame: int) -> Instances:
    """Returns all queries of a frame; the score is that of the best class."""
    logits = torch.from_numpy(inputs["in_pred_logits"][frame])
    class_scores = logits.softmax(dim=1)[:, :-1]
    masks = torch.from_numpy(inputs["in_pred_masks"][frame])
    embeddings = torch.from_numpy(inputs["in_pred_embeds"][frame])
    return Instances(class_scores.amax(dim=1), class_scores, masks, embeddings)


def associator(config: dict) -> Associator:
    """Builds our associator with the settings of a case."""
    return Associator(
        AssociationConfig(
            memory=MEMORIES[config["embed_type"]],
            similarity=config["match_metric"],
            assignment=config["match_type"],
            match_threshold=config["match_score_thr"],
            new_track_score=config["init_score_thr"],
            history_length=config["maximum_cache"],
            max_unseen_frames=config["num_dead_frames"],
            frame_weighting=config["frame_weight"],
        )
    )


@pytest.mark.parity
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_ids_are_those_of_the_release(path: Path) -> None:
    values, inputs, config = read_case(path)
    selection = SelectionConfig(
        score_threshold=config["inference_select_thr"], nms_iou=config["mask_nms_thr"]
    )
    ours = associator(config)
    wanted_ids = values["ids_per_query"]
    for frame, wanted in enumerate(wanted_ids):
        everything = frame_instances(inputs, frame)
        # one more class score holds the query index, so that selection keeps it
        index = torch.arange(len(everything))[:, None] * 1e-6 - 1
        marked = Instances(
            everything.scores,
            torch.cat([everything.class_scores, index], dim=1),
            everything.mask_logits,
            everything.embeddings,
        )
        selected = select_instances(marked, selection)
        kept = ((selected.class_scores[:, -1] + 1) * 1e6).round().long()
        recorded = of_frame(values, frame)
        assert kept.tolist() == recorded["kept"].tolist()
        assert_near(selected.scores, recorded["scores"])
        if "match_scores" in recorded:
            compare_memory(ours, selected, recorded)
        associated, ids = ours.step(selected)
        queries = ((associated.class_scores[:, -1] + 1) * 1e6).round().long()
        assert queries.tolist() == recorded["tracked_query"].tolist()
        assert ids.tolist() == recorded["ids"].tolist()
        found = np.full(len(everything), -1)
        found[queries.numpy()] = ids.numpy()
        assert found.tolist() == wanted.tolist(), f"frame {frame}"
        bank = recorded["bank_ids_after"]
        assert sorted(ours.memory.ids.tolist()) == sorted(bank.tolist()), f"frame {frame}"


def of_frame(values: dict, frame: int) -> dict:
    """Returns one frame's recorded values, without the prefix of their names."""
    prefix = f"f{frame:02d}_"
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def compare_memory(ours: Associator, selected: Instances, recorded: dict) -> None:
    """Compares the memory before a frame and the frame's similarities; our ids are ascending."""
    order = np.argsort(recorded["mem_ids"])
    assert ours.memory.ids.tolist() == recorded["mem_ids"][order].tolist()
    assert ours.memory.seen.tolist() == recorded["mem_exist_frames"][order].tolist()
    memory = ours.memory.read()
    assert_near(memory, recorded["mem_embeds"][order])
    similarity, _ = SIMILARITIES[ours.config.similarity](selected, ours.memory)
    wanted = recorded["match_scores"][:, order]
    assert_near(similarity, wanted)
    # for cosines the release multiplies embeddings of length 1
    dot = similarity if ours.config.similarity == "cosine" else selected.embeddings @ memory.T
    assert_near(dot, recorded["dot"][:, order])


@pytest.mark.parity
@pytest.mark.parametrize("path", reference_cases("ctvis/minvis_*.npz"), ids=lambda path: path.stem)
def test_permutations_are_those_of_minvis(path: Path) -> None:
    with np.load(path) as file:
        embeddings = torch.from_numpy(file["in_pred_embds"][0]).permute(1, 2, 0)
        permutations = file["permutations"]
        cosines = file["cos_sim_current_x_target"]
    ours = Associator(AssociationConfig.minvis())
    count = embeddings.shape[1]
    ones = torch.ones(count)
    blank = torch.zeros(count, 1, 1)
    for frame, row in enumerate(embeddings):
        if frame:
            similarity = cosine(row, ours.memory.read()).numpy()
            assert_near(similarity, cosines[frame - 1])
        associated, ids = ours.step(Instances(ones, ones[:, None], blank, row))
        assert len(associated) == count
        if frame:
            assert ids.argsort().tolist() == permutations[frame - 1].tolist()
