"""Times our video AP against the reference evaluator on the same files and machine.

The load matches the reference vectors: ``--videos`` videos of 30 frames of 360 x 640 with 4
ground truths and 10 predictions each, 40 classes. The reference (youtubevos/cocoapi, the folder
PythonAPI/pycocotools of a checkout) is set by ``--reference``; without it only ours is timed.

    python tests/benchmarks/bench_eval.py --videos 200 --reference ../cocoapi/PythonAPI/pycocotools
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HEIGHT, WIDTH, FRAMES, TRUTHS, PREDICTIONS, CLASSES = 360, 640, 30, 4, 10, 40

_REFERENCE_SHIM = """
import sys, types
import numpy as np
np.float = float
real = np.linspace
np.linspace = lambda low, high, count, **rest: real(low, high, int(count), **rest)
for name in ("matplotlib", "matplotlib.pyplot", "matplotlib.collections", "matplotlib.patches"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["matplotlib.collections"].PatchCollection = None
sys.modules["matplotlib.patches"].Polygon = None
"""


def main(argv: list[str] | None = None) -> int:
    """Creates the load, times both (processor seconds, separate processes) and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, nargs="+", default=[200])
    parser.add_argument("--reference", type=Path, help="PythonAPI/pycocotools of the reference")
    parser.add_argument("--repeat", type=int, default=3, help="runs; the best counts")
    parser.add_argument("--folder", type=Path, help="keep the generated files here")
    parser.add_argument("--child", choices=("ours", "reference"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        timer = _time_ours if args.child == "ours" else _time_reference
        print(json.dumps(timer(args.folder)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        for videos in args.videos:
            folder = (args.folder or Path(temporary)) / str(videos)
            _report(videos, _load(folder, videos), args.reference, args.repeat)
    return 0


def _report(videos: int, folder: Path, reference: Path | None, repeat: int) -> None:
    sides = {"ours": folder}
    if reference is not None:
        package = folder / "reference_eval"
        package.mkdir(exist_ok=True)
        for name in ("ytvos.py", "ytvoseval.py"):
            shutil.copy(reference / name, package / name)
        (package / "__init__.py").write_text(_REFERENCE_SHIM)
        (package / "mask.py").write_text("from pycocotools.mask import *\n")
        sides["reference"] = folder
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(repeat):  # in alternation, so that other load on the machine affects both alike
        for side in sides:
            runs[side].append(_run(side, folder))
    best = {side: min(own, key=_seconds) for side, own in runs.items()}
    print(f"{videos} videos x {FRAMES} frames x {PREDICTIONS} predictions, {HEIGHT} x {WIDTH}")
    for side, figures in best.items():
        print(
            f"  {side:9s}  load {figures['load']:7.3f} s  evaluate {figures['evaluate']:7.3f} s"
            f"  memory {figures['peak_mib']:5.0f} MiB  AP {figures['stats'][0]:.6f}"
        )
    if "reference" in best:
        ours, theirs = best["ours"], best["reference"]
        pairs = list(zip(runs["ours"], runs["reference"], strict=True))
        apart = np.abs(np.array(ours["stats"]) - np.array(theirs["stats"])).max()
        print(
            f"  ratio      evaluate {theirs['evaluate'] / ours['evaluate']:.1f} x"
            f" ({_range([b['evaluate'] / a['evaluate'] for a, b in pairs])})"
            f"  with loading {_seconds(theirs) / _seconds(ours):.1f} x"
            f" ({_range([_seconds(b) / _seconds(a) for a, b in pairs])})"
            f"  largest difference {apart:.1e}"
        )


def _run(side: str, folder: Path) -> dict:
    command = [sys.executable, __file__, "--child", side, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _seconds(run: dict) -> float:
    return run["load"] + run["evaluate"]


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.1f} to {max(ratios):.1f} over {len(ratios)} repeats"


def _time_ours(folder: Path) -> dict:
    from vis_core.evaluation.loading import load_ground_truth, load_results
    from vis_core.evaluation.video_ap import evaluate

    start = time.process_time()
    truth = load_ground_truth(folder / "gt.json")
    results = load_results(folder / "results.json", truth)
    loaded = time.process_time()
    outcome = evaluate(truth, results)
    return _figures(start, loaded, list(outcome.stats.values()))


def _time_reference(folder: Path) -> dict:
    sys.path.insert(0, str(folder))
    from reference_eval.ytvos import YTVOS
    from reference_eval.ytvoseval import YTVOSeval

    start = time.process_time()
    truth = YTVOS(str(folder / "gt.json"))
    results = truth.loadRes(str(folder / "results.json"))
    loaded = time.process_time()
    evaluation = YTVOSeval(truth, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return _figures(start, loaded, list(evaluation.stats))


def _figures(start: float, loaded: float, stats: list[float]) -> dict:
    return {
        "load": loaded - start,
        "evaluate": time.process_time() - loaded,
        "peak_mib": _peak_mib(),
        "stats": stats,
    }


def _peak_mib() -> float:
    """Returns this process's own peak; getrusage would include the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _load(folder: Path, videos: int) -> Path:
    """Writes gt.json and results.json of the load unless they exist."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "results.json").exists():
        truth, results = make_load(videos)
        (folder / "gt.json").write_text(json.dumps(truth))
        (folder / "results.json").write_text(json.dumps(results))
    return folder


def make_load(videos: int) -> tuple[dict, list[dict]]:
    """Draws the load in the order described by the reference vectors."""
    generator = np.random.default_rng(0)
    annotations: list[dict] = []
    results: list[dict] = []
    for video in range(videos):
        ellipses = []
        for truth in range(TRUTHS):
            x, y = generator.uniform(0.2, 0.8) * WIDTH, generator.uniform(0.2, 0.8) * HEIGHT
            vx, vy = generator.uniform(-4, 4), generator.uniform(-4, 4)
            rx, ry = generator.uniform(20, 120), generator.uniform(20, 90)
            ellipses.append((x, y, vx, vy, rx, ry))
            masks = [_ellipse(x + vx * t, y + vy * t, rx, ry) for t in range(FRAMES)]
            areas = [_area(mask) for mask in masks]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": video + 1,
                    "category_id": (7 * video + truth // 2) % CLASSES + 1,
                    "iscrowd": 0,
                    "segmentations": [_rle(mask) if mask.any() else None for mask in masks],
                    "areas": [area or None for area in areas],
                    "bboxes": [None] * FRAMES,
                }
            )
        for prediction in range(PREDICTIONS):
            x, y, vx, vy, rx, ry = ellipses[prediction % TRUTHS]
            dx, dy, drx, dry = generator.normal(0, 6, 4)
            rx, ry = max(5, rx + drx), max(5, ry + dry)
            masks = [_ellipse(x + dx + vx * t, y + dy + vy * t, rx, ry) for t in range(FRAMES)]
            results.append(
                {
                    "video_id": video + 1,
                    "category_id": (7 * video + prediction % TRUTHS // 2) % CLASSES + 1,
                    "score": float(generator.uniform(0, 1)),
                    "segmentations": [_rle(mask) for mask in masks],
                }
            )
    return _with_tables(annotations, videos), results


def _with_tables(annotations: list[dict], videos: int) -> dict:
    """Returns the ground-truth document with its videos and classes."""
    names = [f"{frame:05d}.jpg" for frame in range(FRAMES)]
    table = [
        {
            "id": video + 1,
            "height": HEIGHT,
            "width": WIDTH,
            "length": FRAMES,
            "file_names": [f"{video:04d}/{name}" for name in names],
        }
        for video in range(videos)
    ]
    categories = [{"id": k + 1, "name": f"class {k + 1}"} for k in range(CLASSES)]
    return {"videos": table, "categories": categories, "annotations": annotations}


def _ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return ((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2 <= 1


def _area(mask: np.ndarray) -> int:
    return int(mask.sum())


def _rle(mask: np.ndarray) -> dict:
    from vis_core.rle.segmentation import encode_mask

    return encode_mask(mask)


if __name__ == "__main__":
    raise SystemExit(main())
