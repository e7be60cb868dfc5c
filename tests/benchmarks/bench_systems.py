"""Times all systems on one video: frames per second of the network and of the whole annotation.

python -m tests.benchmarks.bench_systems --frames 4 --repeats 3
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.inference import InferenceConfig, TrackConfig
from vis_core.config.systems import (
    AnySystemConfig,
    CtvisConfig,
    IdolConfig,
    MinvisConfig,
    StcConfig,
)
from vis_core.inference.online import annotate_video
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system
from vis_core.models.systems.idol import Idol
from vis_core.models.systems.query_system import QuerySystem
from vis_core.models.systems.stc import Stc
from vis_core.structures import Frame

GOAL = 1.10  # the annotation's time relative to the network's
SYSTEMS: dict[str, AnySystemConfig] = {
    config.name: config for config in (CtvisConfig(), MinvisConfig(), IdolConfig(), StcConfig())
}
_STC_TRACKS = TrackConfig(labels="majority")


def main(argv: list[str] | None = None) -> int:
    """Prints one line per system, the fastest network last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kept", type=int, default=10, help="instances per frame")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # then processor time measures the work, whatever the other load
    clip = render_scene(SceneSettings(height=args.height, width=args.width), args.frames, 89)
    frames = [Frame(image, t, float(t)) for t, image in enumerate(clip.images)]
    systems = {
        name: keeping(build(config, args.height, args.device), frames[0].image, args.kept)
        for name, config in SYSTEMS.items()
    }
    print(
        f"ResNet-50, {args.height}x{args.width}, {args.device}, processor time of one thread, "
        f"{args.frames} frames at once, about {args.kept} instances a frame, "
        f"{args.repeats} repeats in turn"
    )
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for repeat in range(args.repeats + 1):
        for name, system in systems.items():
            works = (partial(network, system, frames), partial(annotate, system, frames))
            pair = timed(works[0], args.device), timed(works[1], args.device)
            if repeat:  # the first round is a warm-up
                times[name].append(pair)
    print("system    network frames/s   whole frames/s   whole over network (median, range)")
    for name, pairs in sorted(times.items(), key=lambda item: -min(p[0] for p in item[1])):
        alone, whole = (min(pair[column] for pair in pairs) for column in (0, 1))
        ratios = sorted(pair[1] / pair[0] for pair in pairs)
        print(
            f"{name:9} {args.frames / alone:16.2f} {args.frames / whole:15.2f}   "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"goal {GOAL:.2f}"
        )
    return 0


def build(config: AnySystemConfig, short_side: int, device: str) -> System:
    """Builds a system with random weights that keeps frames at their own size."""
    torch.manual_seed(0)
    sized = config.model_copy(update={"test_short_side": short_side})
    return build_system(sized, len(CLASS_NAMES)).to(device).eval()


def keeping(system: System, image: np.ndarray, kept: int) -> System:
    """Sets a system's threshold so that about the given number of instances per image are kept.

    MinVIS keeps all its queries, as in its paper.
    """
    if isinstance(system, Stc):
        decoding = system.config.segmentor.decoding.model_copy(
            update={"score_threshold": 0.0, "max_instances": kept}
        )
        segmentor = system.config.segmentor.model_copy(update={"decoding": decoding})
        system.config = system.config.model_copy(update={"segmentor": segmentor})
    elif system.config.name != "minvis":
        loose = {"score_threshold": 0.0, "nms_iou": 1.0}
        selection = system.config.selection.model_copy(update=loose)
        system.config = system.config.model_copy(update={"selection": selection})
        (found,) = system.segment([image])
        threshold = float(found.scores[min(kept, len(found) - 1)])
        own = selection.model_copy(update={"score_threshold": threshold})
        system.config = system.config.model_copy(update={"selection": own})
    return system


@torch.inference_mode()
def network(system: System, frames: list[Frame]) -> object:
    """Runs the learned parts on frames: the segmentor and the heads over all its predictions."""
    inputs = system.input_frames([frame.image for frame in frames])
    if isinstance(system, Idol):
        output = system.segmentor(*inputs)
        return system.segmentor.mask_features(output), system.embedding_head(output.states[-1])
    if isinstance(system, Stc):
        found = system.segmentor(*inputs)
        return found, system.tracking_head(found.levels)
    assert isinstance(system, QuerySystem)
    segmented = system.segmentor(*inputs, last_layer_only=True)
    return segmented, system.embed(segmented.queries)


def annotate(system: System, frames: list[Frame]) -> object:
    """Annotates the frames: network, selection, association, masks to run lengths, tracks."""
    tracks = _STC_TRACKS if isinstance(system, Stc) else InferenceConfig().tracks
    return annotate_video(system, iter(frames), len(frames), tracks=tracks)


def timed(work: Callable[[], object], device: str) -> float:
    """Returns the seconds of one call: processor time, or wall time on another device."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
