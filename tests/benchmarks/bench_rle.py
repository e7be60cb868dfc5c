"""Times run lengths of masks at 720p, ours against pycocotools; the bytes must be equal.

python -m tests.benchmarks.bench_rle
python -m tests.benchmarks.bench_rle --device cuda     masks on the GPU, and wall time
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask

from vis_core.rle.encode import strings_of_masks
from vis_core.rle.frame_masks import strings_on_device

GOAL = 3.0  # times as fast, from ten masks on
_SIZE = (720, 1280)


def main(argv: list[str] | None = None) -> int:
    """Prints a line for each number of masks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", help="device on which torch extracts runs")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("masks              pycocotools ms   ours ms   times faster (median, range)")
    for count, spread in ((1, False), (10, False), (30, False), (100, False), (10, True)):
        masks = blobs(count, spread=spread)
        ours_of = writer(masks, args.device)
        assert ours_of() == with_pycocotools(masks)
        clock = time.process_time if args.device is None else time.perf_counter
        pairs = [
            (seconds(partial(with_pycocotools, masks), clock), seconds(ours_of, clock))
            for _ in range(args.repeats)
        ]
        ratios = [theirs / ours for theirs, ours in pairs]
        theirs, ours = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
        goal = f", goal {GOAL}" if count >= 10 else ""
        name = f"{count:>5} {'speckled' if spread else '':<10}"
        print(
            f"{name} {theirs:>16.1f} {ours:>9.1f}   {statistics.median(ratios):.1f} "
            f"({min(ratios):.1f} to {max(ratios):.1f}){goal}"
        )
    return 0


def blobs(count: int, *, spread: bool) -> np.ndarray:
    """Returns (N, H, W) masks with uneven outlines, like a network's; or spread over the frame."""
    generator = np.random.default_rng(0)
    masks = np.zeros((count, *_SIZE), bool)
    for mask in masks:
        plane = np.zeros(_SIZE, np.uint8)
        center = (int(generator.integers(100, 1200)), int(generator.integers(100, 600)))
        axes = (int(generator.integers(30, 250)), int(generator.integers(30, 200)))
        cv2.ellipse(plane, center, axes, float(generator.uniform(0, 180)), 0, 360, 255, -1)
        noise = cv2.resize(generator.normal(0, 60, (36, 64)).astype(np.float32), _SIZE[::-1])
        near = 1.0 if spread else cv2.dilate(plane, np.ones((41, 41), np.uint8)) / 255
        mask[:] = cv2.GaussianBlur(plane, (31, 31), 8).astype(np.float32) + noise * near > 128
    return masks


def with_pycocotools(masks: np.ndarray) -> list[str]:
    """Encodes masks the usual way: transposed as a whole, then encoded."""
    columns_first = np.asfortranarray(masks.transpose(1, 2, 0).view(np.uint8))
    return [rle["counts"].decode() for rle in coco_mask.encode(columns_first)]


def writer(masks: np.ndarray, device: str | None) -> Callable[[], list[str]]:
    """Returns our encoder, for masks on a device or for the boxes of masks in numpy."""
    if device is None:
        return partial(strings_of_masks, masks)
    return partial(strings_on_device, torch.from_numpy(masks).to(device))


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Returns the time of a call."""
    started = clock()
    work()
    return clock() - started


if __name__ == "__main__":
    raise SystemExit(main())
