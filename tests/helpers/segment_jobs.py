"""Jobs over one video in segments."""

from pathlib import Path

from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.video.prediction_store import PredictionStore
from pipelines.annotation.work_queue import Work
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.local import LocalStorage
from tests.helpers.toy_loaders import load_remembering, load_toy
from vis_core.config.inference import InferenceConfig
from vis_core.config.stitching import StitchConfig
from vis_core.media.decode_report import VideoInfo

NUM_FRAMES = 21


INFO = VideoInfo(32, 48, 0, 10.0, 2.1, NUM_FRAMES, "mp4", "h264", 0, 1)


class SegmentedJob:
    """A job over one video, part of whose work is done in this process."""

    def __init__(self, folder: Path, videos: Path, model: ModelReference, **options):
        self.archive = list_archive(videos)
        self.ledger = Ledger(LocalStorage(folder), "settings")
        config = options.pop("config", InferenceConfig(chunk_frames=2))
        load = options.pop("load", load_toy)
        options = AnnotateOptions(save_every=4, **options)
        job = AnnotateJob(self.archive.storage, self.ledger, model, config, options, load)
        self.annotator = VideoAnnotator(job)
        self.annotator.load()

    @property
    def video(self):
        return self.archive.videos[0]

    def predict(self, number: int, count: int):
        return self.annotator.do(Work(self.video, number, count))

    def associate(self, count: int):
        return self.annotator.do(Work(self.video, None, count))

    def blocks(self) -> PredictionStore:
        return PredictionStore(self.ledger.storage, self.ledger.result_name(self.video), 4)


class StitchedJob(SegmentedJob):
    """A job whose segments are associated separately."""

    def __init__(self, folder: Path, videos: Path, model: ModelReference, **options):
        options.setdefault("load", load_remembering)
        config = options.pop("config", InferenceConfig(chunk_frames=2))
        config = config.model_copy(update={"stitching": options.pop("stitch", STITCH)})
        super().__init__(folder, videos, model, config=config, join="stitched", **options)

    def track_segment(self, number: int, count: int):
        return self.annotator.do(Work(self.video, number, count, named=True))

    def run(self, count: int, order=lambda numbers: numbers):
        for number in order(range(count)):
            assert self.predict(number, count) is None
        for number in order(range(count)):
            assert self.track_segment(number, count) is None
        return self.associate(count)


STITCH = StitchConfig(overlap_frames=3)
