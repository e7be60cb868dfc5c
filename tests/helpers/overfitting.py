"""Two clips to overfit, and the quality of a system's annotations of them."""

from vis_core.clips.scenes import CLASS_NAMES
from vis_core.config.inference import TrackConfig
from vis_core.evaluation.loading import ground_truth_of, results_of
from vis_core.evaluation.video_ap import evaluate
from vis_core.formats.categories import numbered
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord, result_entries
from vis_core.inference.online import annotate_video
from vis_core.models.systems.base import System
from vis_core.rle.segmentation import encode_masks
from vis_core.structures import Clip, Frame

CATEGORIES = numbered(CLASS_NAMES)


def record(video_id: int, clip: Clip) -> VideoRecord:
    """Returns the ground truth of a clip as in an annotation file."""
    tracks = []
    for row, label in enumerate(clip.labels):
        rles = encode_masks(clip.masks[:, row])
        shown = clip.present[:, row]
        kept = tuple(rle if there else None for rle, there in zip(rles, shown, strict=True))
        if shown.any():
            tracks.append(TrackRecord(10 * video_id + row, int(label), kept, False, ()))
    height, width = clip.images.shape[1:3]
    names = tuple(f"{video_id}/{t}.jpg" for t in range(len(clip)))
    return VideoRecord(video_id, height, width, names, tuple(tracks))


def video_ap(system: System, clips: list[Clip], tracks: TrackConfig | None = None) -> float:
    """Computes a system's video AP on clips."""
    system.eval()
    truth = ground_truth_of([record(i + 1, clip) for i, clip in enumerate(clips)], CATEGORIES)
    entries = []
    for index, clip in enumerate(clips):
        frames = (Frame(image, t, float(t)) for t, image in enumerate(clip.images))
        result = annotate_video(system, frames, tracks=tracks)
        entries += result_entries(result, index + 1, CATEGORIES)
    return evaluate(truth, results_of(entries, truth)).stats["AP"]
