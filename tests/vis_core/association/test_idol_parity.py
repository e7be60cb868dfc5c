"""Every decision of the authors' IDOL on recorded videos (reference idol/ 1 and 5, ctvis/ 3)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from vis_core.association.associator import Associator
from vis_core.config.association import AssociationConfig
from vis_core.config.segmentors import SelectionConfig
from vis_core.models.segmentors.selection import (
    select_by_score_and_box,
    select_instances,
)
from vis_core.structures import Instances

TRACKERS = reference_cases("idol/tracker_*.npz")
VIDEOS = [p for p in reference_cases("idol/video_*.npz") if "pair" not in p.stem]
ONE_FRAME_BEFORE = 1  # a frame's memory is recorded before that frame is associated
# of IDOL.inference, for the tiny models of video_*.npz and idol_tracker.npz
YTVIS = {
    "inference_select_thres": 0.1,
    "nms_pre": 0.5,
    "add_new_score": 0.2,
    "memory_len": 3,
    "inference_tw": True,
    "inference_fw": True,
}


def association(config: dict) -> AssociationConfig:
    """Converts the authors' flags (spec: frame weight = TW or FW, temporal weight = TW)."""
    weighted = config["inference_tw"]
    return AssociationConfig.idol_released(config["add_new_score"]).model_copy(
        update={
            "memory": "temporally_weighted_released" if weighted else "momentum",
            "history_length": config["memory_len"],
            "frame_weighting": weighted or config["inference_fw"],
        }
    )


def selection(config: dict, box_nms_iou: float | None = 0.9) -> SelectionConfig:
    """Converts the authors' thresholds to our settings."""
    return SelectionConfig.idol_released(config["nms_pre"]).model_copy(
        update={"score_threshold": config["inference_select_thres"], "box_nms_iou": box_nms_iou}
    )


def xyxy(boxes: Tensor, size: list[int]) -> Tensor:
    """Converts normalised centres and sides to corners in pixels."""
    scale = torch.tensor([size[1], size[0]] * 2)
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1) * scale


def frame_instances(inputs: dict, frame: int, size: list[int]) -> Instances:
    """Returns all queries of a frame."""
    class_scores = torch.from_numpy(inputs["pred_logits"][frame]).sigmoid()
    return Instances(
        class_scores.amax(dim=1),
        class_scores,
        torch.from_numpy(inputs["pred_masks"][frame]).float(),
        torch.from_numpy(inputs["pred_inst_embed"][frame]),
        xyxy(torch.from_numpy(inputs["pred_boxes"][frame]), size),
    )


def run_video(values: dict, inputs: dict, config: dict, size: list[int]) -> None:
    """Processes a video as the system does, and compares all recorded values."""
    ours = Associator(association(config))
    settings = selection(config)
    for frame, wanted in enumerate(values["ids_per_query"]):
        name = f"f{frame:02d}_"
        everything = frame_instances(inputs, frame, size)
        chosen = select_by_score_and_box(
            everything.scores, everything.class_scores, everything.boxes, settings
        )
        assert chosen.tolist() == values[name + "in_query"].tolist(), f"frame {frame}"
        if name + "mem_ids" in values:
            order = np.argsort(values[name + "mem_ids"])
            assert ours.memory.ids.tolist() == values[name + "mem_ids"][order].tolist()
            embeddings = values[name + "mem_embeds"][order]
            assert_near(ours.memory.read(), embeddings)
            counts = values[name + "mem_exist_frames"][order]
            assert ours.memory.seen.tolist() == counts.tolist()
            missed = frame - values[name + "mem_last_frame"][order] - ONE_FRAME_BEFORE
            assert ours.memory.unseen.tolist() == missed.tolist()
        selected = select_instances(everything[chosen], settings)
        kept = values[name + "kept"]
        assert selected.scores.tolist() == everything.scores[kept].tolist()
        assert torch.equal(selected.embeddings, everything.embeddings[kept])
        associated, ids = ours.step(everything[torch.from_numpy(kept)])
        assert len(associated) == len(ids)
        recorded = values[name + "ids"]
        assert ids.tolist() == recorded[recorded >= 0].tolist(), f"frame {frame}"
        shown = kept[recorded >= 0]
        assert torch.equal(associated.embeddings, everything.embeddings[shown])
        assert [int(i) for i in wanted[shown]] == ids.tolist() and (wanted >= 0).sum() == len(ids)
        after = values[name + "mem_ids_after"]
        assert ours.memory.ids.tolist() == sorted(after.tolist()), f"frame {frame}"


@pytest.mark.parity
@pytest.mark.parametrize("path", TRACKERS, ids=lambda path: path.stem)
def test_recorded_trackers_decide_alike(path: Path) -> None:
    cases = json.loads((path.parent / "tracker_cases.json").read_text())
    case = next(case for case in cases.values() if case["file"] == path.name)
    with np.load(path) as file:
        values = dict(file)
    with np.load(path.parent / case["inputs_in"]) as file:
        inputs = {name[3:]: file[name] for name in file if name.startswith("in_")}
    run_video(values, inputs, case["config"], case["resized_image_size"])


@pytest.mark.parity
@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.stem)
def test_identities_in_the_tiny_models_videos_are_theirs(path: Path) -> None:
    with np.load(path) as file:
        values = dict(file)
    run_video(values, values, YTVIS, list(values["frames_uint8"].shape[2:]))


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("ctvis/idol_tracker*.npz"), ids=lambda path: path.stem
)
def test_the_tracker_of_the_boundary_report_decides_alike(path: Path) -> None:
    """Uses a recording without box NMS, with the memory after each frame."""
    with np.load(path) as file:
        values = dict(file)
    ours = Associator(association(YTVIS))
    for frame, wanted in enumerate(values["ids_per_query"]):
        name = f"f{frame:02d}_"
        class_scores = torch.from_numpy(values["in_pred_logits"][frame]).sigmoid()
        everything = Instances(
            class_scores.amax(dim=1),
            class_scores,
            torch.from_numpy(values["in_pred_masks"][frame]),
            torch.from_numpy(values["in_pred_embeds"][frame]),
        )
        selected = select_instances(everything, selection(YTVIS, box_nms_iou=None))
        assert torch.equal(selected.embeddings, everything.embeddings[values[name + "kept"]])
        _, ids = ours.step(selected)
        recorded = values[name + "ids"]
        assert ids.tolist() == recorded[recorded >= 0].tolist(), f"frame {frame}"
        assert sorted(ids.tolist()) == sorted(wanted[wanted >= 0].tolist())
        order = np.argsort(values[name + "memory_ids_after"])
        assert ours.memory.ids.tolist() == values[name + "memory_ids_after"][order].tolist()
        embeddings = values[name + "memory_embeds_after"][order]
        assert_near(ours.memory.read(), embeddings)
        counts = values[name + "memory_exist_frames_after"][order]
        assert ours.memory.seen.tolist() == counts.tolist()
