"""Times the annotation of 720p frames with antialiased and with quick resizing, in turn.

python -m tests.benchmarks.bench_resize --repeats 5
"""

import argparse
import statistics
from functools import partial

import torch

from tests.benchmarks.bench_systems import keeping, timed
from tests.helpers.presets import tiny_config
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.inference import InferenceConfig
from vis_core.config.systems import CtvisConfig, IdolConfig, StcConfig
from vis_core.inference.online import annotate_views
from vis_core.models.systems.build import build_system
from vis_core.structures import Frame

_SYSTEMS = {
    "stc R50": StcConfig(),
    "ctvis R50": CtvisConfig(),
    "idol R50": IdolConfig(),
    "minvis tiny": tiny_config("minvis"),
}


def main(argv: list[str] | None = None) -> int:
    """Prints one line per system: the speed of antialiased relative to quick resizing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kept", type=int, default=10, help="instances per frame")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # then processor time measures the work, whatever the other load
    clip = render_scene(SceneSettings(height=720, width=1280), args.frames, 89)
    frames = [Frame(image, t, float(t)) for t, image in enumerate(clip.images)]
    print(f"720x1280, {args.device}, {args.frames} frames at once, {args.repeats} repeats in turn")
    print("system        test side   frames/s antialiased   relative to quick (median, range)")
    for name, config in _SYSTEMS.items():
        torch.manual_seed(0)
        system = build_system(config, len(CLASS_NAMES)).to(args.device).eval()
        system = keeping(system, frames[0].image, args.kept)
        ratios, seconds = [], []
        for _ in range(args.repeats + 1):
            antialiased, quick = (
                timed(partial(_annotate, system, frames, resize), args.device)
                for resize in ("antialiased", "quick")
            )
            ratios.append(quick / antialiased)
            seconds.append(antialiased)
        ratios = sorted(ratios[1:])  # the first round is a warm-up
        print(
            f"{name:13} {config.test_short_side:9} {args.frames / min(seconds[1:]):22.2f}   "
            f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    return 0


def _annotate(system: object, frames: list[Frame], resize: str) -> None:
    config = InferenceConfig.model_validate({"chunk_frames": len(frames), "resize": resize})
    annotate_views(system, iter(frames), config)  # type: ignore[arg-type]


if __name__ == "__main__":
    raise SystemExit(main())
