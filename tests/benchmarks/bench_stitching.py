"""Measures how many single-pass tracks keep their identity when a video is processed in segments.

python -m tests.benchmarks.bench_stitching --data ../shared/data/vis_mini

Three kinds of long videos with occlusion: scenes of 2-5, crowds of 5-8 look-alikes, and two crowds
that alternate, so that all leave and return. Two segmentors: a perfect one (true masks, seeded
noise on the embeddings) and the tiny network of the project. Each is associated as in MinVIS (no
floor) and in CTVIS. --choose uses the seeds by which the defaults were chosen.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tests.helpers.long_videos import (
    CROWD,
    Agreement,
    PredictedVideo,
    agreement,
    associate_segment,
    associate_segments,
    ceiling,
    long_clip,
    perfect_predictions,
    predict_video,
    stitched,
    there_and_back,
)
from vis_core.clips.scenes import CLASS_NAMES
from vis_core.config.association import AssociationConfig
from vis_core.config.clips import SceneSettings
from vis_core.config.stitching import StitchConfig
from vis_core.inference.stitching.segments import Segment
from vis_core.media.images import read_image
from vis_core.models.systems.build import load_system
from vis_core.rle.segmentation import decode_rle
from vis_core.structures import Clip

TINY = Path(__file__).resolve().parents[2] / "vis_core" / "weights" / "tiny"
ASSOCIATIONS: dict[str, Callable[[], AssociationConfig]] = {
    "minvis": AssociationConfig.minvis,
    "ctvis": AssociationConfig,
}
FEW = SceneSettings(height=96, width=144)
KINDS = {"few": (FEW, False), "crowd": (CROWD, False), "alternating": (CROWD, True)}
SEEDS = {"chosen": range(1, 7), "held out": range(11, 17)}


def main(argv: list[str] | None = None) -> int:
    """Prints the tracks that stay the same per segmentor, association and number of segments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[16])
    parser.add_argument("--noise", type=float, nargs="*", default=[0.1, 0.2])
    parser.add_argument("--tiny", type=float, nargs="*", default=[0.5], help="minimum score")
    parser.add_argument("--data", type=Path, help="folder vis_mini, for its composites")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    seeds = list(SEEDS["chosen" if args.choose else "held out"])[: args.videos]
    print(f"{args.frames} frames, seeds {seeds}; same tracks of one pass, best any join could do")
    for name in args.kinds:
        scenes, cuts = KINDS[name]
        clips = [long_clip(seed, args.frames, cuts, scenes) for seed in seeds]
        report(name, clips, args)
    if args.data is not None:
        report("vis_mini composites", list(composites(args.data, args.frames)), args)
    return 0


def report(name: str, clips: list[Clip], args: argparse.Namespace) -> None:
    """Prints the lines of one kind of video."""
    for noise in args.noise:
        predicted = [perfect_predictions(clip, seed, noise) for seed, clip in enumerate(clips)]
        print_lines(f"{name}, perfect, noise {noise}", predicted, args.overlaps)
    if args.tiny:
        tiny = load_system(TINY)
        everything = [predict_video(tiny, clip.images) for clip in clips]
    for least in args.tiny:
        predicted = [above(video, least) for video in everything]
        print_lines(f"{name}, tiny, scores over {least}", predicted, args.overlaps)


def print_lines(title: str, videos: list[PredictedVideo], overlaps: list[int]) -> None:
    """Processes videos whole and in 2 and 4 segments, stitches and compares."""
    for association_name, association_of in ASSOCIATIONS.items():
        association = association_of()
        config = StitchConfig().following(association)
        once = [associate_segment(v, association, Segment(0, len(v), 0), 0, 1)[0] for v in videos]
        for overlap in overlaps:
            for count in (2, 4):
                parts = [associate_segments(v, association, count, overlap) for v in videos]
                ours = best = Agreement()
                for whole, segmented in zip(once, parts, strict=True):
                    ours += agreement(whole, stitched(segmented, config)[0])
                    best += agreement(whole, ceiling(whole, segmented))
                share = best.same / max(1, best.num_tracks)
                label = f"{title}, {association_name}, overlap {overlap}, {count} segments"
                print(f"{label}: {ours}; best {share:.1%}", flush=True)


def above(video: PredictedVideo, least: float) -> PredictedVideo:
    """Keeps the instances whose score exceeds the threshold."""
    kept = [instances.scores > least for instances in video.instances]
    return PredictedVideo(
        [own[rows] for own, rows in zip(video.instances, kept, strict=True)],
        [own[rows] for own, rows in zip(video.masks, kept, strict=True)],
    )


def composites(folder: Path, num_frames: int) -> Iterator[Clip]:
    """Pastes real objects over real videos and plays them forward and backward."""
    for part in ("train", "val"):
        content = json.loads((folder / f"instances_{part}_agnostic.json").read_text())
        for video in content["videos"]:
            if video["provenance"] != "copy-paste-composite":
                continue
            tracks = [a for a in content["annotations"] if a["video_id"] == video["id"]]
            nothing = np.zeros((video["height"], video["width"]), bool)
            masks = [
                [nothing if r is None else decode_rle(r) for r in track["segmentations"]]
                for track in tracks
            ]
            images = [read_image(folder / "JPEGImages" / name) for name in video["file_names"]]
            labels = np.arange(len(tracks)) // 2 % len(CLASS_NAMES)  # pairs of one class
            clip = Clip(str(video["id"]), np.stack(images), np.stack(masks, axis=1), labels)
            order = there_and_back(clip, num_frames)
            # every second pixel: the network sees no more of it
            images, shown = clip.images[order, ::2, ::2], clip.masks[order, :, ::2, ::2]
            yield Clip(clip.clip_id, images, shown, labels)


if __name__ == "__main__":
    raise SystemExit(main())
