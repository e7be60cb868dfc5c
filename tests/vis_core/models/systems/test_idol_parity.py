"""The authors' IDOL inside ours: every output, from pixels to identities (reference idol/, 5)."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from tests.helpers.recorded_results import assert_same_listings, unpacked
from vis_core.association.associator import Associator
from vis_core.config.association import AssociationConfig
from vis_core.config.inference import TrackConfig
from vis_core.config.loss_weights import IdolLossWeights
from vis_core.config.segmentors import SelectionConfig
from vis_core.errors import CheckpointError
from vis_core.geometry.boxes import to_xyxy
from vis_core.geometry.masks import InputSize
from vis_core.inference.online import annotate_video
from vis_core.models.contrastive.idol import ContrastiveItems
from vis_core.models.importers.idol_names import our_idol_names
from vis_core.models.importers.published import system_of
from vis_core.models.segmentors.selection import select_by_score_and_box, select_instances
from vis_core.models.systems.idol import Idol
from vis_core.structures import ClipBatch, Frame, FrameTargets, Instances

FORWARD = reference_cases("idol/forward_*.npz")
VIDEOS = [path for path in reference_cases("idol/video_*.npz") if "pair" not in path.stem]


def tiny(path: Path) -> Idol:
    """Builds our system with the weights of the case in a file."""
    kind = path.stem.split("_")[-1]
    weights = path.parent / f"idol_tiny_{kind}.safetensors"
    system, _ = system_of(load_file(weights), weights.name)
    assert isinstance(system, Idol)
    return system


def padded(images: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Pads frames of several sizes (3, H, W) to one batch; returns it with their sizes."""
    sizes = torch.tensor([list(image.shape[1:]) for image in images])
    height, width = (-(-int(side) // 32) * 32 for side in sizes.amax(dim=0))
    batch = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
    for row, image in enumerate(images):
        batch[row, :, : image.shape[1], : image.shape[2]] = image
    return batch, sizes


@pytest.mark.parity
@pytest.mark.parametrize("path", FORWARD, ids=lambda path: path.stem)
@torch.no_grad()
def test_every_part_gives_what_the_authors_network_gives(path: Path) -> None:
    system, values = tiny(path), recorded_values(path)
    count = sum(name.endswith("_uint8") for name in values)
    frames, sizes = padded([values[f"image{row}_uint8"] for row in range(count)])
    assert sizes.tolist() == values["image_sizes"].tolist()
    segmentor = system.segmentor
    sources, masks = segmentor._sources(segmentor.pixels(frames, sizes), sizes)
    for level, (source, mask) in enumerate(zip(sources, masks, strict=True)):
        assert_near(source, values[f"src{level}"])
        assert torch.equal(~mask, values[f"padding_mask{level}"])
    memory, first, _ = segmentor._transform(sources, masks)
    inside = torch.cat([mask.flatten(1) for mask in masks], dim=1)
    assert_near(memory[inside], values["memory"][inside])
    assert_near(first, values["init_reference"])
    output = segmentor(frames, sizes)
    assert_near(output.states, values["decoder_hidden"])
    features = segmentor.mask_features(output)
    assert_near(features, values["mask_features"])
    last = output.predictions
    assert_near(last.class_logits[-1], values["pred_logits"])
    assert_near(last.boxes_cxcywh_norm[-1], values["pred_boxes"])
    assert_near(last.boxes_cxcywh_norm[:-1], values["inter_references"][:-1])
    points = values["reference_points_used_for_masks"]
    assert_near(output.references[-1], points)
    parameters = segmentor.controller(output.states[-1])
    assert_near(parameters, values["controller_params"])
    embeddings = system.embedding_head(output.states[-1])
    assert_near(embeddings, values["pred_inst_embed"])
    everyone = torch.arange(last.class_logits.shape[2])
    for row in range(count):
        found = segmentor.mask_logits(output, features, len(output.states) - 1, row, everyone)
        assert_near(found, values["pred_masks"][row])


@pytest.mark.parity
@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.stem)
def test_a_video_becomes_the_tracks_of_the_release(path: Path) -> None:
    """Runs from pixels to run lengths, by the same calls as every annotation."""
    values = recorded_values(path)
    theirs = unpacked({name: value.numpy() for name, value in values.items()}, "out_masks")
    _, _, height, width = theirs.shape
    size = values["frames_uint8"].shape[2:]
    replay = Replay(released(tiny(path), size), values["frames_uint8"])
    blank = np.zeros((height, width, 3), np.uint8)
    frames = (Frame(blank, t, float(t)) for t in range(len(values["frames_uint8"])))
    result = annotate_video(replay, frames, tracks=TrackConfig.idol_released())
    assert_same_listings(result, values["out_scores"], values["out_labels"], theirs)
    # the release lists a frame with an empty mask, ours omits it
    assert not (theirs.any(axis=(2, 3)) & ~values["out_present"].numpy()).any()


@dataclass
class Replay:
    """A system that processes recorded frames in place of its input.

    Attributes:
        system: The real system; the frames have its test size.
        frames: (T, 3, H, W) uint8, in order.
    """

    system: Idol
    frames: Tensor
    next_frame: int = 0

    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        shown = self.frames[self.next_frame : self.next_frame + len(images)]
        self.next_frame += len(images)
        return self.system.segment([frame.permute(1, 2, 0).numpy() for frame in shown])

    def new_associator(self) -> Associator:
        return self.system.new_associator()

    def input_size(self, height: int, width: int) -> InputSize:  # noqa: ARG002
        return self.system.input_size(*self.frames.shape[2:])


def released(system: Idol, size: tuple[int, int]) -> Idol:
    """Copies the weights into a system with the release's settings, at the recorded frame size."""
    config = system.config.model_copy(
        update={
            "selection": SelectionConfig.idol_released(),
            "association": AssociationConfig.idol_released(),
            "test_short_side": min(size),
            "test_max_long_side": max(size),
        }
    )
    twin = Idol(config, system.num_classes)
    twin.load_state_dict(system.state_dict())
    return twin.eval()


@pytest.mark.parity
@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.stem)
@torch.no_grad()
def test_frames_become_the_identities_of_the_release(path: Path) -> None:
    system, values = tiny(path), recorded_values(path)
    frames, sizes = padded(list(values["frames_uint8"]))
    output = system.segmentor(frames, sizes)
    embeddings = system.embedding_head(output.states[-1])
    last = output.predictions
    assert_near(last.class_logits[-1], values["pred_logits"])
    assert_near(last.boxes_cxcywh_norm[-1], values["pred_boxes"])
    assert_near(embeddings, values["pred_inst_embed"])
    features = system.segmentor.mask_features(output)
    associator = Associator(AssociationConfig.idol_released())
    selection = SelectionConfig.idol_released()
    for t in range(len(frames)):
        class_scores = output.predictions.class_logits[-1, t].sigmoid()
        scores = class_scores.amax(dim=1)
        boxes = to_xyxy(output.predictions.boxes_cxcywh_norm[-1, t])
        chosen = select_by_score_and_box(scores, class_scores, boxes, selection)
        found = Instances(
            scores[chosen],
            # one more class score holds the query, so that selection keeps it
            torch.cat([class_scores[chosen], chosen[:, None] * 1e-6 - 1], dim=1),
            system.segmentor.mask_logits(output, features, len(output.states) - 1, t, chosen),
            embeddings[t, chosen],
            boxes[chosen],
        )
        associated, ids = associator.step(select_instances(found, selection))
        queries = ((associated.class_scores[:, -1] + 1) * 1e6).round().long()
        ours = torch.full((len(scores),), -1)
        ours[queries] = ids
        assert ours.tolist() == values["ids_per_query"][t].tolist(), f"frame {t}"


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("idol/official_to_hf_*.json", always=False), ids=lambda path: path.stem
)
def test_names_are_those_of_the_recorded_table(path: Path) -> None:
    thirds = {"copy": None} | {f"rows[{third}/3]": third for third in range(3)}
    prefixes = (
        ("model.", "segmentor.network."),
        ("class_embed.", "segmentor.class_heads."),
        ("bbox_embed.", "segmentor.network.decoder.bbox_embed."),
    )
    table = json.loads(path.read_text())["mapping"]
    for official, targets in table.items():
        if ".norm0." in official:
            continue  # of a stage whose output is not used
        wanted = []
        for target in targets:
            hf = target["hf"]
            old, new = next(pair for pair in prefixes if hf.startswith(pair[0]))
            wanted.append((new + hf.removeprefix(old), thirds[target["op"]]))
        assert our_idol_names(official) == wanted, official


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    reference_cases("idol/official_parameters_*.json", always=False),
    ids=lambda path: path.stem,
)
def test_a_full_size_checkpoint_has_every_tensor(path: Path) -> None:
    stated = json.loads(path.read_text())
    draw = torch.Generator().manual_seed(0)
    tensors = {
        name: 0.02 * torch.rand(entry["shape"], generator=draw)
        for name, entry in stated["tensors"].items()
    }
    alias = "detr.detr.transformer.decoder."  # the release stores the box heads twice
    for name in [name for name in tensors if name.startswith(alias + "bbox_embed.")]:
        tensors[name] = tensors[name.replace(alias, "detr.detr.")]
    system, unused = system_of(tensors, path.name)
    assert isinstance(system, Idol)
    assert all("criterion" in name or "norm0" in name or "index" in name for name in unused)
    assert named_backbone_of(system) == ("swin_l" if "SwinL" in path.stem else "resnet50")
    if "n_trainable" in stated and "R50" in path.stem:  # stem and res2 are frozen
        learning = sum(w.numel() for w in system.parameters() if w.requires_grad)
        assert learning == stated["n_trainable"]


def named_backbone_of(system: Idol) -> object:
    return system.config.segmentor.backbone


# the authors' names of the last layer's losses, and their weights
LOSSES = {
    "class": "loss_ce",
    "box": "loss_bbox",
    "giou": "loss_giou",
    "mask": "loss_mask",
    "dice": "loss_dice",
    "embed": "loss_reid",
    "embed_cosine": "loss_reid_aux",
}


def without_dropout(system: Idol) -> Idol:
    """Copies the weights into a system without dropout, as in the authors' recorded steps."""
    segmentor = system.config.segmentor.model_copy(update={"dropout": 0.0})
    twin = Idol(system.config.model_copy(update={"segmentor": segmentor}), system.num_classes)
    twin.load_state_dict(system.state_dict())
    return twin


def train_steps() -> list[tuple[Path, str]]:
    """Lists every recorded step: a file and the prefix of the case in it."""
    steps = []
    for path in reference_cases("idol/train_step_*.npz"):
        with np.load(path) as file:
            ends = [name for name in file if name.endswith("total_weighted")]
        steps += [(path, name.removesuffix("total_weighted")) for name in ends]
    return steps


@dataclass(frozen=True)
class RecordedBatch(ClipBatch):
    """A batch whose recorded ids define presence: in one step an empty mask has an id.

    Attributes:
        present: B tensors (2, G_b) bool.
    """

    present: list[Tensor] = field(default_factory=list)

    def frame_targets(self) -> list[FrameTargets]:
        """Returns the ground truth of all frames without the instances that lack an id."""
        return [
            FrameTargets(labels[there], masks[there], there.nonzero().flatten())
            for clip, labels, present in zip(self.masks, self.labels, self.present, strict=True)
            for masks, there in zip(clip, present, strict=True)
        ]


def batch_of(values: dict[str, Tensor]) -> ClipBatch:
    """Builds a batch from the recorded pairs."""
    videos = sum(name.endswith("_labels") and name.startswith("video") for name in values)
    frames, sizes = padded(
        [values[f"video{v}_frame{t}_image_uint8"] for v in range(videos) for t in (0, 1)]
    )
    height, width = frames.shape[2:]
    masks = []
    for v in range(videos):
        both = []
        for t in (0, 1):
            shown = values[f"video{v}_frame{t}_masks"]
            place = (0, width - shown.shape[2], 0, height - shown.shape[1])
            both.append(torch.nn.functional.pad(shown, place))
        masks.append(torch.stack(both))
    labels = [values[f"video{v}_labels"] for v in range(videos)]
    present = [
        torch.stack([values[f"video{v}_frame{t}_ids"] >= 0 for t in (0, 1)]) for v in range(videos)
    ]
    images = frames.view(videos, 2, 3, height, width)
    return RecordedBatch(images, masks, labels, sizes.view(videos, 2, 2), present=present)


@pytest.mark.parity
@pytest.mark.parametrize(
    "path, prefix", train_steps(), ids=lambda value: getattr(value, "stem", value or "step")
)
def test_a_training_step_has_the_losses_and_gradients_of_the_release(
    path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = recorded_values(path)
    values = {
        name.removeprefix(prefix): value
        for name, value in everything.items()
        if name.startswith(prefix)
    }
    system = without_dropout(tiny(path)).train()
    system.segmentor.network.backbone.eval()  # dropped paths of a Swin are disabled, too

    def recorded_negatives(items: ContrastiveItems, _: torch.Generator | None) -> Tensor:
        chosen = torch.zeros_like(items.negative_mask)
        for number, row in enumerate(items.negative_mask):
            negatives = row.nonzero().flatten()
            chosen[number, negatives[values[f"item{number}_aux_sample_ids"]]] = True
        return chosen

    monkeypatch.setattr("vis_core.models.systems.idol.sample_negatives", recorded_negatives)
    losses = system.losses(batch_of(values), None)
    weights = IdolLossWeights.released().model_dump(by_alias=True)
    for ours, theirs in LOSSES.items():
        layers = [name for name in values if re.fullmatch(rf"{theirs}(_\d+)?", name)]
        wanted = torch.stack([values[name] for name in layers]).sum()
        assert_near(weights[ours] * losses[ours], wanted)
    total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
    assert_near(total, values["total_weighted"])
    total.backward()
    if not prefix:  # the norms of the edge cases are not recorded
        assert_gradient_norms(system, path.parent / f"model_{path.stem.split('_')[-1]}.json")
    parameters = dict(system.named_parameters())
    for name in [name for name in values if name.startswith("grad_")]:
        found = [parameters[ours].grad for ours, _ in our_idol_names(name.removeprefix("grad_"))]
        gradient = torch.cat([torch.zeros_like(values[name]) if g is None else g for g in found])
        # a gradient is a sum over all pixels, in float32 on both sides
        assert_near(gradient, values[name], share=1e-4)


def assert_gradient_norms(system: Idol, path: Path) -> None:
    """Compares the norm of every parameter's gradient with the record in a ``model_*.json``.

    The authors keep q, k and v as one parameter, whose norm is that of our three together.
    """
    parameters = dict(system.named_parameters())
    recorded_norms = json.loads(path.read_text())["train"]["grad_norms"]
    compared = set()
    for name, norm in recorded_norms.items():
        ours = [target for target, _ in our_idol_names(name) or ()]
        gradients = [parameters[target].grad for target in ours]
        compared.update(ours)
        if norm is None:  # frozen, or not used
            assert all(gradient is None for gradient in gradients), name
        else:
            together = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
            assert float(together) == pytest.approx(norm, rel=1e-4, abs=1e-6), name
    learning = {name for name, weight in parameters.items() if weight.requires_grad}
    assert learning <= compared


def test_box_heads_that_are_stored_twice_must_be_alike() -> None:
    weights = load_file(next(path.parent for path in FORWARD) / "idol_tiny_resnet.safetensors")
    first = "detr.detr.bbox_embed.0.layers.0.weight"
    second = first.replace("detr.detr.", "detr.detr.transformer.decoder.")
    name, other = (first, second) if first in weights else (second, first)
    system_of(weights | {other: weights[name]}, "twice.pth")
    with pytest.raises(CheckpointError, match=f"twice.pth: .*{other} differs from its other copy"):
        system_of(weights | {other: weights[name] + 1}, "twice.pth")
