"""From pixels to identities: the authors' weights in our system (reference ctvis/end_to_end)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from tests.helpers.recorded_results import (
    EVERYTHING,
    assert_same_listings,
    build_result,
    unpacked,
)
from vis_core.association.associator import Associator
from vis_core.config.association import AssociationConfig
from vis_core.config.inference import TrackConfig
from vis_core.config.segmentors import SelectionConfig
from vis_core.geometry.masks import InputSize
from vis_core.models.importers.published import system_of
from vis_core.models.segmentors.selection import select_instances
from vis_core.structures import Instances


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("ctvis/ctvis_end_to_end_*.npz"), ids=lambda path: path.stem
)
def test_frames_become_the_identities_of_the_release(path: Path) -> None:
    kind = path.stem.removeprefix("ctvis_end_to_end_")
    weights = path.parent / f"mask2former_tiny_{kind}.safetensors"
    system, _ = system_of(load_file(weights), weights.name)
    system = system.double()  # none of our own noise: only that of the recorded float32 remains
    with np.load(path) as file:
        values = {name: torch.from_numpy(np.asarray(file[name])) for name in file}
    frames = values["frames_uint8"]
    height, width = frames.shape[2:]
    padded = [-(-side // 32) * 32 for side in (height, width)]
    images = torch.zeros(len(frames), 3, *padded, dtype=torch.uint8)
    images[:, :, :height, :width] = frames
    with torch.no_grad():
        output = system.segmentor(images, torch.tensor([[height, width]] * len(frames)))
        embeddings = system.embed(output.queries.double())
    logits, masks = output.predictions.class_logits[-1], output.predictions.mask_logits[-1]
    assert_near(logits, values["pred_logits"])
    assert_near(masks, values["pred_masks"])
    assert_near(embeddings, values["pred_embeds"])
    associator = Associator(AssociationConfig.ctvis_released())
    selection = SelectionConfig(score_threshold=0.01, nms_iou=0.6)
    input_size, tracked = InputSize(height, width, *padded), []
    for t in range(len(frames)):
        class_scores = logits[t].softmax(dim=1)[:, :-1]
        everything = Instances(
            class_scores.amax(dim=1), class_scores, masks[t], embeddings[t], class_logits=logits[t]
        )
        selected = select_instances(everything, selection)
        assert_near(selected.scores, values[f"f{t}_scores_after_nms"])
        associated, ids = associator.step(selected)
        wanted = values[f"f{t}_ids"]
        assert len(associated) == (wanted >= 0).sum()
        assert ids.tolist() == wanted[wanted >= 0].tolist(), f"frame {t}"
        tracked.append((associated, ids))
    compare_tracks(tracked, input_size, values, path)


def compare_tracks(tracked: list, input_size: InputSize, values: dict, path: Path) -> None:
    """Compares the scores of all tracks in all classes, and the listed tracks."""
    cases = json.loads((path.parent / "end_to_end_cases.json").read_text())
    case = cases[path.stem.removeprefix("ctvis_end_to_end_")]
    config = TrackConfig.ctvis_released(case["num_topk"])
    size = tuple(case["out_hw"])
    everything = build_result(tracked, input_size, size, config.model_copy(update=EVERYTHING))
    # the release's ids are ascending, and no track ends before the ninth frame
    table = values["video_logits"].softmax(dim=1)[:, :-1]
    assert len(everything.tracks) == table.numel()
    for track in everything.tracks:
        wanted = float(table[track.track_id, track.label])
        assert track.score == pytest.approx(wanted, abs=2e-5)
    result = build_result(tracked, input_size, size, config)
    theirs = unpacked({name: value.numpy() for name, value in values.items()}, "out_masks")
    assert_same_listings(result, values["out_scores"], values["out_labels"], theirs)
