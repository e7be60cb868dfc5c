"""Long synthetic videos with occlusion, processed whole and in segments, and their agreement."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from vis_core.association.associator import Associator
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.association import AssociationConfig
from vis_core.config.clips import SceneSettings
from vis_core.config.stitching import StitchConfig
from vis_core.errors import ConfigError
from vis_core.geometry.masks import full_size_masks
from vis_core.inference.protocols import FrameSystem
from vis_core.inference.stitching.boundary import SegmentBoundary
from vis_core.inference.stitching.joins import Join, stitch_segments, stitched_ids
from vis_core.inference.stitching.recorder import BoundaryRecorder
from vis_core.inference.stitching.segments import Segment, cut_at
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.structures import Clip, Instances

CROWD = SceneSettings(height=96, width=144, min_objects=5, max_objects=8, lookalike_probability=0.7)
_NOISE = 3.0  # grey levels, like the sensor noise of the scenes
_WIDTH = 32  # of the toy's embeddings
_LENGTH = 8.0  # of an embedding: about that of Mask2Former's queries after their norm


# largest share of frames that "auto" processes twice
MAX_OVERLAP_SHARE = 0.05


@dataclass(frozen=True)
class PredictedVideo:
    """The predictions of a video.

    Attributes:
        instances: T frames of instances.
        masks: T tensors (N, H, W) bool.
    """

    instances: list[Instances]
    masks: list[torch.Tensor]

    def __len__(self) -> int:
        return len(self.masks)


def there_and_back(clip: Clip, num_frames: int) -> np.ndarray:
    """Plays a clip forward and backward in alternation, so that objects that leave return."""
    order = np.concatenate([np.arange(len(clip)), np.arange(len(clip) - 2, 0, -1)])
    return np.resize(order, num_frames)


def long_clip(seed: int, num_frames: int, cuts: bool, settings: SceneSettings = CROWD) -> Clip:
    """Renders a crowd whose members occlude one another, leave and return.

    Args:
        seed: The video is a function of it.
        num_frames: T.
        cuts: Whether two scenes alternate, so that every object is absent at times.
        settings: Scene settings.
    """
    draw = np.random.default_rng(seed)
    scenes = [render_scene(settings, 45, 1000 * seed + k) for k in range(1 + cuts)]
    orders = [there_and_back(scene, num_frames) for scene in scenes]
    shot = (np.arange(num_frames) // 67) % len(scenes)  # a prime, so that boundaries fall anywhere
    images = np.stack([scenes[k].images[orders[k][t]] for t, k in enumerate(shot)])
    masks = np.concatenate(
        [
            scene.masks[order] & (shot == k)[:, None, None, None]
            for k, (scene, order) in enumerate(zip(scenes, orders, strict=True))
        ],
        axis=1,
    )
    noisy = np.clip(images + draw.normal(0, _NOISE, images.shape), 0, 255).astype(np.uint8)
    return Clip(f"long-{seed}", noisy, masks, np.concatenate([s.labels for s in scenes]))


def predict_video(system: FrameSystem, images: np.ndarray, at_once: int = 8) -> PredictedVideo:
    """Segments a video."""
    size = images.shape[1:3]
    instances: list[Instances] = []
    for start in range(0, len(images), at_once):
        instances += system.segment(list(images[start : start + at_once]))
    input_size = system.input_size(*size)
    masks = [full_size_masks(i.mask_logits, input_size, size) for i in instances]
    return PredictedVideo(instances, masks)


def perfect_predictions(clip: Clip, seed: int, noise: float = 0.35) -> PredictedVideo:
    """Returns a perfect segmentor's output: the true masks with noisy embeddings.

    Embeddings of one class are similar (cosine about 0.7). A frame's noise is a share ``noise`` of
    the embedding's length for an object in full view and more for one that is partly hidden.
    """
    draw = np.random.default_rng(seed)
    of_class = draw.normal(0, 1, (len(CLASS_NAMES), _WIDTH))
    own = of_class[clip.labels] + 0.65 * draw.normal(0, 1, (len(clip.labels), _WIDTH))
    own *= _LENGTH / np.linalg.norm(own, axis=1, keepdims=True)
    areas = clip.masks.sum(axis=(2, 3))
    largest = areas.max(axis=0)
    instances, masks = [], []
    for shown, area in zip(clip.masks, areas, strict=True):
        rows = np.flatnonzero(area)
        hidden = np.sqrt(largest[rows] / area[rows]).clip(1, 3)[:, None]
        spread = noise * hidden * _LENGTH / np.sqrt(_WIDTH)
        embeddings = own[rows] + spread * draw.normal(0, 1, (len(rows), _WIDTH))
        scores = 0.95 - 0.1 * draw.random(len(rows)) - 0.2 * (hidden[:, 0] - 1)
        order = np.argsort(-scores)
        class_scores = np.full((len(rows), len(CLASS_NAMES)), 0.01)
        class_scores[np.arange(len(rows)), clip.labels[rows]] = scores
        tensors = (scores[order], class_scores[order], shown[rows][order], embeddings[order])
        pieces = [torch.from_numpy(np.ascontiguousarray(values)).float() for values in tensors]
        instances.append(Instances(*pieces))
        masks.append(pieces[2] > 0)
    return PredictedVideo(instances, masks)


# id -> the frames in which it is associated, and the row of its instance in each
TrackRows = dict[int, dict[int, int]]


def associate_segment(
    video: PredictedVideo,
    association: AssociationConfig,
    segment: Segment,
    number: int,
    overlap: int,
) -> tuple[TrackRows, BoundaryRecorder]:
    """Associates a segment, warm-up included, and records its boundaries."""
    associator = Associator(association)
    recorder = BoundaryRecorder(number, segment, associator.memory, overlap)
    names: TrackRows = {}
    for t in range(segment.first_frame, segment.stop):
        instances, masks = video.instances[t], video.masks[t]
        # the row takes the place of the instance's logits in the associator
        rows = torch.arange(len(instances), dtype=torch.float32)[:, None, None]
        marked = Instances(
            instances.scores, instances.class_scores, rows, instances.embeddings, instances.boxes
        )
        associated, ids = associator.step(marked)
        kept = associated.mask_logits[:, 0, 0].long()
        recorder.add(tuple(masks.shape[1:]), associated, ids, EncodedMasks.of(masks[kept]))
        for track_id, row in zip(ids.tolist(), kept.tolist(), strict=True):
            names.setdefault(track_id, {})[t] = row
    return names, recorder


@dataclass(frozen=True)
class SegmentedVideo:
    """The segments of a video, each associated by itself."""

    segments: list[Segment]
    names: list[TrackRows]
    boundaries: list[tuple[SegmentBoundary, SegmentBoundary]]


def plan_segments(
    num_frames: int, num_segments: int | Literal["auto"], overlap: int, workers: int = 1
) -> list[Segment]:
    """Cuts a video so that every frame is in the output of one segment.

    Segment lengths differ by one frame at most.

    Args:
        num_frames: Frames of the video.
        num_segments: Segments wanted; "auto" makes one for each worker, but none so short that
            over 5 % of the frames are processed twice (320 frames with an overlap of 16).
        overlap: Frames of the segment before that a segment processes first.
        workers: Segments that can be processed at once; counts for "auto" alone.

    Raises:
        ConfigError: The video is empty, or too short for so many segments.
    """
    for name, value, least in (("num_frames", num_frames, 1), ("overlap", overlap, 1)):
        if value < least:
            raise ConfigError(f"segments: {name} is {value}; expected {least} or more")
    if num_segments == "auto":
        shortest = math.ceil(overlap / MAX_OVERLAP_SHARE)
        count = max(1, min(workers, num_frames // shortest))
    else:
        count = num_segments
    if count < 1:
        raise ConfigError(f"segments: {count} wanted; expected 1 or more, or auto")
    most = max(1, num_frames // overlap)
    if count > most:
        raise ConfigError(
            f"segments: {count} wanted of {num_frames} frames, which leaves a segment fewer frames "
            f"than the {overlap} it shares with the one before; ask for {most} at most, or for auto"
        )
    bounds = [num_frames * place // count for place in range(count + 1)]
    return cut_at(bounds, overlap)


def associate_segments(
    video: PredictedVideo, association: AssociationConfig, count: int, overlap: int
) -> SegmentedVideo:
    """Associates each segment of a video separately."""
    segments = plan_segments(len(video), count, overlap)
    processed = [
        associate_segment(video, association, own, k, overlap) for k, own in enumerate(segments)
    ]
    recorders = [recorder for _, recorder in processed]
    boundaries = [(a.tail, b.head) for a, b in zip(recorders, recorders[1:], strict=False)]
    return SegmentedVideo(segments, [names for names, _ in processed], boundaries)


def stitched(segmented: SegmentedVideo, config: StitchConfig) -> tuple[TrackRows, list[Join]]:
    """Stitches segments to the identities of the whole video."""
    own = [
        {
            track_id: {t: row for t, row in shown.items() if t >= segment.start}
            for track_id, shown in names.items()
        }
        for names, segment in zip(segmented.names, segmented.segments, strict=True)
    ]
    first_frames = [{i: min(shown) for i, shown in names.items() if shown} for names in own]
    joins = stitch_segments(segmented.boundaries, config)
    whole: TrackRows = {}
    for (segment, track_id), new_id in stitched_ids(first_frames, joins).items():
        whole.setdefault(new_id, {}).update(own[segment][track_id])
    return whole, joins


@dataclass(frozen=True)
class Agreement:
    """The agreement of stitched tracks with those of a single pass.

    Attributes:
        num_tracks: Tracks of the single pass.
        same: Those whose partner has all their instances; partners are the
            one-to-one mapping of ids under which most instances keep their identity.
        nearly: Those whose partner has 95 % of their instances.
        num_associated: Instances in tracks of the single pass, over all frames.
        associated_alike: Those that are also in the partner.
    """

    num_tracks: int = 0
    same: int = 0
    nearly: int = 0
    num_associated: int = 0
    associated_alike: int = 0

    def __add__(self, other: "Agreement") -> "Agreement":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Agreement(*(one + two for one, two in pairs))

    def __str__(self) -> str:
        return (
            f"{self.same}/{self.num_tracks} tracks ({self.same / max(1, self.num_tracks):.1%}), "
            f"nearly {self.nearly / max(1, self.num_tracks):.1%}, "
            f"instances {self.associated_alike / max(1, self.num_associated):.1%}"
        )


def agreement(whole: TrackRows, parts: TrackRows) -> Agreement:
    """Compares two associations of the same instances."""
    ids_of = {(t, row): new for new, shown in parts.items() for t, row in shown.items()}
    rows, columns = sorted(whole), sorted(parts)
    shared = np.zeros((len(rows), len(columns)), np.int64)
    for place, track_id in enumerate(rows):
        for item in whole[track_id].items():
            if item in ids_of:
                shared[place, columns.index(ids_of[item])] += 1
    lengths = np.array([len(whole[track_id]) for track_id in rows], np.int64)
    alike = np.zeros(len(rows), np.int64)
    row, column = linear_sum_assignment(-shared)
    alike[row] = shared[row, column]
    return Agreement(
        len(rows),
        int((alike == lengths).sum()),
        int((alike >= 0.95 * lengths).sum()),
        int(lengths.sum()),
        int(alike.sum()),
    )


def compare(
    videos: Sequence[PredictedVideo],
    association: AssociationConfig,
    config: StitchConfig,
    count: int,
) -> Agreement:
    """Associates videos whole and in segments, and compares the results."""
    total = Agreement()
    for video in videos:
        once, _ = associate_segment(
            video, association, Segment(0, len(video), 0), 0, config.overlap_frames
        )
        segmented = associate_segments(video, association, count, config.overlap_frames)
        total += agreement(once, stitched(segmented, config)[0])
    return total


def ceiling(whole: TrackRows, segmented: SegmentedVideo) -> TrackRows:
    """Returns the identities that the best joins would give, chosen by those of the single pass.

    Remaining differences are not due to the joins: a segment that does not know the past
    associates differently within itself.
    """
    best: TrackRows = {}
    for segment, names in zip(segmented.segments, segmented.names, strict=True):
        own = [{t: row for t, row in s.items() if t >= segment.start} for s in names.values()]
        columns = sorted(whole)
        shared = np.array(
            [[len(s.items() & whole[i].items()) for i in columns] for s in own], np.int64
        ).reshape(len(own), len(columns))
        partner = dict(zip(*linear_sum_assignment(-shared), strict=True))
        for row, shown in enumerate(own):
            found = row in partner and shared[row, partner[row]]
            fresh = -1 - len(best)
            best.setdefault(columns[partner[row]] if found else fresh, {}).update(shown)
    return best
