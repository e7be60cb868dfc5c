"""``longtake split``: a reproducible split of a data set by video into train and holdout."""

from pathlib import Path
from typing import Annotated, Any

from jobs import options
from jobs.options import option

DETAILS = (
    "Writes train.json and holdout.json below --out. It is an error if both contain the same "
    "video; with --images, frames are compared by content and not only by name."
)
EXAMPLES = (
    "longtake split --gt scenes/vis/train.json --out parts --holdout 0.2",
    "longtake split --gt parts/train.json --check parts/holdout.json",
)


def run(
    *,
    ground_truth: options.RequiredGroundTruth,
    out: options.Out = None,
    holdout: Annotated[float, option("--holdout SHARE", "Share of the videos to hold out.")] = 0.2,
    seed: options.Seed = 0,
    group: Annotated[
        str | None,
        option(
            "--group REGEX",
            "Keep videos of the same source together; the source is the part of a video's folder "
            "name that REGEX matches.",
        ),
    ] = None,
    check: Annotated[
        Path | None, option("--check FILE", "Only check that FILE shares no video with --gt.")
    ] = None,
    images: options.Images = None,
    as_json: options.Json = False,
) -> None:
    """Writes ``train.json`` and ``holdout.json``, or only checks two files for leakage."""
    from vis_core.errors import AnnotationError, ConfigError
    from vis_core.formats.splits import leaks, split_videos
    from vis_core.formats.youtube_vis import read_youtube_vis, write_youtube_vis

    videos, categories = read_youtube_vis(ground_truth)
    if check is not None:
        train, held_out = videos, read_youtube_vis(check)[0]
    else:
        if out is None:
            raise ConfigError("--out: expected a folder for the two files, found none; name one")
        if not 0 < holdout < 1:
            raise ConfigError(
                f"--holdout: expected a share in (0, 1), found {holdout}; choose another"
            )
        given = ground_truth.resolve()
        if given in [options.local_path(out).resolve() / f for f in ("train.json", "holdout.json")]:
            raise ConfigError(
                f"--out {out}: would replace --gt {ground_truth}; name another folder"
            )
        train, held_out = split_videos(videos, holdout, str(seed), group)
    shared = leaks(train, held_out, images)
    if shared:
        raise AnnotationError(
            f"{ground_truth}: expected no video on both sides, found {len(shared)}: "
            f"{'; '.join(shared[:20])}; group them with --group or remove one side's"
        )
    if check is not None or out is None:
        document = {"leaks": 0, "videos": len(train), "other_videos": len(held_out)}
        line = f"no leak between {len(train)} and {len(held_out)} videos"
        options.report(document, [line], as_json=as_json)
        return
    folder = options.local_path(out)
    folder.mkdir(parents=True, exist_ok=True)
    sides: dict[str, Any] = {}
    for name, part in (("train", train), ("holdout", held_out)):
        path = folder / f"{name}.json"
        write_youtube_vis(path, part, categories)
        tracks = sum(len(video.tracks) for video in part)
        sides[name] = {"file": str(path), "videos": len(part), "tracks": tracks}
    lines = [
        f"{side['file']}: {side['videos']} videos, {side['tracks']} tracks"
        for side in sides.values()
    ]
    options.report(sides, lines, as_json=as_json)
