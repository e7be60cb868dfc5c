"""Checks all systems on a device, and their training speed there. Needs vis_core alone.

    python -m tests.benchmarks.check_device --device cuda
    python -m tests.benchmarks.check_device --device cpu --tiny

For each system: the losses equal those of the CPU, every gradient is finite, a step in bfloat16
gives finite losses near them, and a training resumed from a saved state equals an uninterrupted
one. Then the shipped tiny network annotates a video, without a stop and from a saved state: both
give the CPU's result.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tests.helpers.presets import tiny_config
from tests.helpers.recorded_results import track_masks
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.criterion import BoundaryConfig, QualityConfig
from vis_core.config.inference import TrackConfig
from vis_core.config.systems import (
    AnySystemConfig,
    CtvisConfig,
    IdolConfig,
    MinvisConfig,
    StcConfig,
)
from vis_core.formats.categories import numbered
from vis_core.inference.chunk_pipeline import run_chunked
from vis_core.inference.online import OnlineTracker
from vis_core.models.systems.base import System
from vis_core.models.systems.build import build_system, load_system, save_system
from vis_core.rle.encode import strings_of_masks
from vis_core.rle.frame_masks import strings_on_device
from vis_core.structures import ClipBatch, Frame, VideoResult

_RATE = 1e-4
_LOSS_TOLERANCE = 2e-3  # relative; sums in another order, and a cost matrix may tie
_HALF_TOLERANCE = 0.15  # relative, of the sum of losses in bfloat16
_LEAST_IOU = 0.98  # of a track over the video, between the device and the CPU
_CHUNK = 4  # frames
_STOP = 2 * _CHUNK  # frames after which a run stops; its masks stay with it
_TINY_WEIGHTS = Path(__file__).parents[2] / "vis_core/weights/tiny"  # of a MinVIS


def main(argv: list[str] | None = None) -> int:
    """Prints one line per system; returns 1 if any check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and frames")
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    args = parser.parse_args(argv)
    device = torch.device(args.device)
    height, width = (64, 96) if args.tiny else (args.height, args.width)
    scene = SceneSettings(height=height, width=width)
    batch = collate_clips([render_scene(scene, args.frames, seed) for seed in (5, 6)])
    print(f"{args.device}, {height}x{width}, batches of 2 clips of {args.frames} frames")
    # else convolutions round to ten bits, which is no fault
    torch.backends.cudnn.allow_tf32 = False
    print("system            steps/s   bfloat16 steps/s   peak MiB   checks")
    failed = not runs_are_equal(device)
    print(f"run lengths of masks on {args.device}: {'differ' if failed else 'equal'}")
    for name, config in systems(tiny=args.tiny).items():
        line, faults = check(config, batch, device, args.steps)
        failed = failed or bool(faults)
        print(f"{name:<16} {line}   {'; '.join(faults) or 'all hold'}", flush=True)
    faults = annotation_faults(device)
    print(f"annotation of a video: {'; '.join(faults) or 'all hold'}")
    return int(failed or bool(faults))


def runs_are_equal(device: torch.device) -> bool:
    """Returns whether masks are encoded on the device as on the CPU."""
    generator = torch.Generator().manual_seed(0)
    planes = torch.rand(13, 90, 160, generator=generator)
    masks = (
        torch.nn.functional.interpolate(planes[None], scale_factor=8.0, mode="bilinear")[0] > 0.6
    )
    return strings_on_device(masks.to(device)) == strings_of_masks(masks.numpy())


def systems(*, tiny: bool) -> dict[str, AnySystemConfig]:
    """Returns the systems to check, including the additions of the winning entry."""
    idol = tiny_config("idol") if tiny else IdolConfig()
    plain = idol.segmentor.model_copy(update={"dropout": 0.0})  # devices draw differently
    idol = idol.model_copy(update={"segmentor": plain})
    ctvis = tiny_config("ctvis") if tiny else CtvisConfig()
    added = {"boundary": BoundaryConfig(), "quality": QualityConfig()}
    return {
        "ctvis": ctvis,
        "ctvis, DETR": CtvisConfig(segmentor=plain, embedding_width=ctvis.embedding_width),
        "minvis": tiny_config("minvis") if tiny else MinvisConfig(),
        "idol": idol,
        "idol, masks": IdolConfig(segmentor=ctvis.segmentor, embedding_width=idol.embedding_width),
        "idol, 1st place": idol.model_copy(update=added),
        "stc": tiny_config("stc") if tiny else StcConfig(),
    }


def check(
    config: AnySystemConfig, batch: ClipBatch, device: torch.device, steps: int
) -> tuple[str, list[str]]:
    """Returns a system's figures and the checks that it fails."""
    torch.manual_seed(0)
    system = build_system(config, len(CLASS_NAMES)).train()
    wanted = losses_of(system, batch)
    system.to(device)
    here = batch.to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    faults = compare(losses_of(system, here), wanted)
    optimizer = torch.optim.AdamW(system.parameters(), lr=_RATE)
    faults += resume_faults(system, here, device)
    full = rate(lambda step: take_step(system, optimizer, here, step), steps, device)
    if not all(bool(p.grad.isfinite().all()) for p in system.parameters() if p.grad is not None):
        faults.append("a gradient is not finite")
    faults += half_faults(system, here)
    half = rate(lambda step: take_step(system, optimizer, here, step, half=True), steps, device)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
    return f"{full:>8.2f} {half:>18.2f} {peak:>10.0f}", faults


def losses_of(system: System, batch: ClipBatch, *, half: bool = False) -> dict[str, float]:
    """Computes the losses of one forward pass, with the same random draws each time."""
    torch.manual_seed(1)
    kept = {name: value.clone() for name, value in system.named_buffers()}
    with torch.no_grad(), torch.autocast(batch.images.device.type, torch.bfloat16, enabled=half):
        found = system(batch, torch.Generator().manual_seed(2))
        for name, value in system.named_buffers():  # running statistics
            value.copy_(kept[name])
    return {name: float(value) for name, value in found.items()}


def compare(found: dict[str, float], wanted: dict[str, float]) -> list[str]:
    """Lists the losses that differ from those of the CPU."""
    return [
        f"{name} is {found[name]:.5f}, on the CPU {value:.5f}"
        for name, value in wanted.items()
        if not abs(found[name] - value) <= _LOSS_TOLERANCE * max(1.0, abs(value))
    ]


def half_faults(system: System, batch: ClipBatch) -> list[str]:
    """Checks that the losses in bfloat16 are close to those in float32."""
    full = sum(losses_of(system, batch).values())
    half = sum(losses_of(system, batch, half=True).values())
    near = abs(half - full) <= _HALF_TOLERANCE * abs(full)
    return [] if near else [f"the losses add up to {half:.3f} in bfloat16, to {full:.3f} else"]


def resume_faults(system: System, batch: ClipBatch, device: torch.device) -> list[str]:
    """Takes two steps, saves, takes a third; and repeats the third from the saved state."""
    trained = copy.deepcopy(system)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=_RATE)
    for step in range(2):
        take_step(trained, optimizer, batch, step)
    with tempfile.TemporaryDirectory() as folder:
        save_system(Path(folder), trained, numbered(CLASS_NAMES))
        torch.save(optimizer.state_dict(), Path(folder) / "optimizer.pt")
        again = load_system(folder, device, for_training=True).train()
        restored = torch.optim.AdamW(again.parameters(), lr=_RATE)
        state = torch.load(Path(folder) / "optimizer.pt", map_location=device, weights_only=True)
        restored.load_state_dict(state)
    take_step(trained, optimizer, batch, 2)
    take_step(again, restored, batch, 2)
    wanted = trained.state_dict()
    # on a GPU the order of sums differs; a step moves a weight by at most the learning rate
    bound = 0.0 if device.type == "cpu" else 2.5 * _RATE
    far = [
        name
        for name, value in again.state_dict().items()
        if not (value.float() - wanted[name].float()).abs().max() <= bound
    ]
    return [f"{len(far)} tensors differ after resuming, such as {far[0]}"] if far else []


def take_step(
    system: System,
    optimizer: torch.optim.Optimizer,
    batch: ClipBatch,
    step: int,
    *,
    half: bool = False,
) -> None:
    """Takes one step of training."""
    torch.manual_seed(step)
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=half):
        found = system(batch, torch.Generator().manual_seed(step))
    total = torch.stack([system.loss_weights[name] * loss for name, loss in found.items()]).sum()
    total.backward()
    torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
    optimizer.step()


def annotation_faults(device: torch.device) -> list[str]:
    """Lists where a video annotated on the device differs from the CPU's result."""
    wanted = annotated(torch.device("cpu"))
    whole, resumed = annotated(device), annotated(device, stops=True)
    faults = [f"without a stop: {fault}" for fault in track_faults(whole, wanted, 0)]
    return faults + [
        f"from a saved state: {fault}" for fault in track_faults(resumed, wanted, _STOP)
    ]


def annotated(device: torch.device, *, stops: bool = False) -> VideoResult:
    """Annotates a scene; one run may stop in the middle and another continue from its state."""
    system = load_system(_TINY_WEIGHTS, device)
    clip = render_scene(SceneSettings(), 20, 7)
    frames = [Frame(image, index, float(index)) for index, image in enumerate(clip.images)]
    tracker = OnlineTracker(system, TrackConfig())
    if stops:
        run_chunked(iter(frames[:_STOP]), _CHUNK, [tracker])
        state = tracker.state()
        tracker = OnlineTracker(system, TrackConfig())
        tracker.restore(state, clip.images.shape[1:3])
        frames = frames[_STOP:]
    run_chunked(iter(frames), _CHUNK, [tracker])
    return tracker.tracks.result()


def track_faults(found: VideoResult, wanted: VideoResult, first: int) -> Iterator[str]:
    """Lists the confident tracks without a twin of the same identity and class from a frame on."""
    twins = {(track.track_id, track.label): track for track in found.tracks}
    for track in wanted.tracks:
        if track.score < 0.3:
            continue  # too weak: device noise decides whether they exist
        twin = twins.get((track.track_id, track.label))
        if twin is None:
            yield f"track {track.track_id} of class {track.label} is missing"
            continue
        ours, theirs = (track_masks(each, found)[first:] for each in (twin, track))
        union = (ours | theirs).sum()
        iou = (ours & theirs).sum() / union if union else 1.0
        if iou < _LEAST_IOU:
            yield f"track {track.track_id} has an IoU of {iou:.3f} with the CPU's"


def rate(work: Callable[[int], None], steps: int, device: torch.device) -> float:
    """Returns the steps per second, after one warm-up step."""
    work(0)
    wait(device)
    started = time.perf_counter()
    for step in range(steps):
        work(step)
    wait(device)
    return steps / (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    """Waits until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    raise SystemExit(main())
