"""Times the fusion of a long video's results, against the time to produce one of them.

python -m tests.benchmarks.bench_fusion --frames 36000 --results 4
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from tests.helpers.presets import tiny_config
from vis_core.clips.scenes import render_scene
from vis_core.config.clips import SceneSettings
from vis_core.inference.online import annotate_video
from vis_core.models.systems.build import build_system
from vis_core.rle.segmentation import encode_masks
from vis_core.structures import Frame

_PHASES = 200  # distinct masks of a track, repeated
_TIMED_FRAMES = 24


def main(argv: list[str] | None = None) -> int:
    """Prints seconds, peak memory and the ratio to producing one result with the tiny preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=36_000)
    parser.add_argument("--results", type=int, default=4)
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = [write_result(folder / f"{seed}.json", seed, args) for seed in range(args.results)]
        bytes_in = sum(path.stat().st_size for path in inputs)
        command = [sys.executable, "-m", "jobs.cli", "ensemble", "--inputs", *map(str, inputs)]
        started = time.perf_counter()
        subprocess.run([*command, "--out", str(folder / "fused.json")], check=True)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    producing = args.frames * seconds_a_frame(args)
    print(
        f"{args.results} results of {args.frames} frames, {args.height}x{args.width}, "
        f"{args.tracks} tracks each, {bytes_in / 2**20:.0f} MiB of JSON\n"
        f"  fused in {seconds:.1f} s, peak {peak:.0f} MiB (goal 1000)\n"
        f"  producing one with the tiny preset takes {producing:.0f} s: "
        f"ratio {seconds / producing:.3f} (goal 0.1)"
    )
    return 0


def write_result(path: Path, seed: int, args: argparse.Namespace) -> Path:
    """Writes a result whose tracks are moving ellipses, redrawn with small changes per seed."""
    draw = np.random.default_rng(seed)
    entries = []
    for track in range(args.tracks):
        own = np.random.default_rng(track)
        center = own.uniform(0.2, 0.8, 2) * (args.width, args.height)
        axes = own.uniform(0.05, 0.15, 2) * args.height
        masks = np.zeros((_PHASES, args.height, args.width), np.uint8)
        for phase, mask in enumerate(masks):
            angle = 2 * np.pi * phase / _PHASES
            place = center + 30 * np.array([np.cos(angle), np.sin(angle)]) + draw.normal(0, 1, 2)
            size = np.maximum(3, axes + draw.normal(0, 1, 2))
            cv2.ellipse(mask, place.astype(int), size.astype(int), 57 * angle, 0, 360, 1, -1)
        rles = encode_masks(masks.astype(bool))
        entries.append(
            {
                "video_id": 1,
                "score": float(draw.uniform(0.3, 0.9)),
                "category_id": 1 + track % 3,
                "segmentations": [rles[t % _PHASES] for t in range(args.frames)],
            }
        )
    path.write_text(json.dumps(entries))
    return path


def seconds_a_frame(args: argparse.Namespace) -> float:
    """Times the tiny preset per frame, with random weights and one thread per core."""
    torch.manual_seed(0)
    system = build_system(tiny_config("minvis"), 3).eval()
    scene = render_scene(SceneSettings(height=args.height, width=args.width), _TIMED_FRAMES, 1)
    for _ in range(2):  # the first is a warm-up
        frames = (Frame(image, t, float(t)) for t, image in enumerate(scene.images))
        started = time.perf_counter()
        annotate_video(system, frames)
        seconds = time.perf_counter() - started
    return seconds / _TIMED_FRAMES


if __name__ == "__main__":
    raise SystemExit(main())
