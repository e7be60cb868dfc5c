"""Times the creation of training input.

Two questions. How much more does a pseudo-clip cost than the unavoidable work (decoding its image
once, encoding its T frames; also shown: the same plus moving the frames, and a clip that a training
uses without encoding)? And how long does a training wait for batches?

    python -m tests.benchmarks.bench_input --coco path/to/coco --run runs/some-training
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from pipelines.data.find_data import find_coco
from pipelines.training.worker.loss_log import read_losses
from vis_core.clips.pseudo import draw_motion
from vis_core.clips.rows import clip_to_row
from vis_core.clips.sources import PseudoClips
from vis_core.clips.transforms import four_channels, shrink_source, warp_image
from vis_core.config.clips import CropPixels, PseudoConfig
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord, read_coco
from vis_core.media.images import encode_jpeg, read_image

GOAL = 1.5  # a clip over decoding and encoding
WAIT_GOAL = 0.05  # share of a step


def main(argv: list[str] | None = None) -> int:
    """Prints the cost of clips, and the waiting of finished trainings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coco", type=Path, help="COCO folder for clips")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="training folders")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    if args.coco:
        files = find_coco(args.coco)
        records, categories = read_coco(files.annotations, files.folder)
        time_clips(records, categories, args.clips, args.repeats)
    for run in args.run:
        say_waiting(run)
    return 0


def time_clips(
    records: list[ImageRecord], categories: Categories, count: int, repeats: int
) -> None:
    """Prints a line for each set of motions."""
    print(f"{count} clips, processor time of one thread, {repeats} repeats in turn")
    print(
        "motions               T   clip ms   not encoded ms   decode + encode ms   "
        "and move frames ms   ratio (median, range)   not encoded"
    )
    released = CropPixels(short_sides=(400, 500, 600))
    for name, config in {
        "paper, with paste": PseudoConfig(),
        "rotation and crop": PseudoConfig(paste_probability=0.0),
        "released CTVIS": PseudoConfig(paste_probability=0.0, zoom_share=0.0, crop_size=released),
    }.items():
        source = PseudoClips(records, config)
        indices = range(min(count, len(source)))
        ratios, bare_ratios, ours, streamed, least, moving = [], [], [], [], [], []
        for repeat in range(repeats + 1):
            frames = [source.clip(index, repeat).images for index in indices]
            own = timed(lambda: make(source, indices, repeat, categories))  # noqa: B023
            stream = timed(lambda: vary(source, indices, repeat))  # noqa: B023
            bare = timed(lambda: decode_and_encode(source, indices, frames))  # noqa: B023
            move = timed(lambda: move_frames(source, indices, repeat, config))  # noqa: B023
            if repeat:  # the first round warms up
                ratios.append(own / bare)
                bare_ratios.append(stream / bare)
                ours.append(own / len(indices))
                streamed.append(stream / len(indices))
                least.append(bare / len(indices))
                moving.append((bare + move) / len(indices))
        print(
            f"{name:<20} {config.num_frames:>2} {statistics.median(ours) * 1e3:>9.1f} "
            f"{statistics.median(streamed) * 1e3:>16.1f} {statistics.median(least) * 1e3:>20.1f} "
            f"{statistics.median(moving) * 1e3:>20.1f}   {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), goal {GOAL}    "
            f"{statistics.median(bare_ratios):.2f} "
            f"({min(bare_ratios):.2f} to {max(bare_ratios):.2f})"
        )


def make(source: PseudoClips, indices: range, seed: int, categories: Categories) -> None:
    """Creates clips as rows of a file: frames and masks encoded."""
    for index in indices:
        clip_to_row(source.clip(index, seed), source.record(index).image_id, categories)


def vary(source: PseudoClips, indices: range, seed: int) -> None:
    """Creates clips as used in training."""
    for index in indices:
        source.clip(index, seed)


def decode_and_encode(source: PseudoClips, indices: range, frames: list[np.ndarray]) -> None:
    """Decodes the image of each clip once, and encodes its finished frames."""
    for index, images in zip(indices, frames, strict=True):
        read_image(Path(source.record(index).path))
        for image in images:
            encode_jpeg(image)


def move_frames(source: PseudoClips, indices: range, seed: int, config: PseudoConfig) -> None:
    """Moves only the pixels of each clip's frames, no masks; the image is not read."""
    for index in indices:
        record = source.record(index)
        image = np.zeros((record.height, record.width, 3), dtype=np.uint8)
        no_masks = np.zeros((0, record.height, record.width), dtype=bool)
        generator = np.random.default_rng(seed)
        affines = draw_motion(record.height, record.width, config, generator)
        image, _, affines = shrink_source(image, no_masks, affines)
        four = four_channels(image, None)
        for affine in affines:
            cv2.cvtColor(warp_image(four, affine), cv2.COLOR_RGBA2RGB)


def say_waiting(run: Path) -> None:
    """Prints the share of its steps that a training waited for batches after the start."""
    stages = dict.fromkeys(row["stage"] for row in read_losses(run / "losses.jsonl"))
    for stage in stages:
        rows = [row for row in read_losses(run / "losses.jsonl") if row["stage"] == stage]
        steady = rows[1:]  # the first line includes the start of the workers
        if not steady:
            print(f"{run.name} {stage}: one line of losses, no steady state")
            continue
        waited = sum(row["time/data_wait_s"] for row in steady)
        whole = sum(row["time/step_s"] for row in steady)
        print(
            f"{run.name} {stage}: {whole / len(steady):.3f} s a step, {waited / whole:.2%} of it "
            f"waiting for the batch, goal {WAIT_GOAL:.0%}; {rows[0]['time/step_s']:.2f} s a step "
            "at the start"
        )


def timed(work: Callable[[], None]) -> float:
    """Returns the processor seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    raise SystemExit(main())
