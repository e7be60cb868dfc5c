"""An archive job on S3 behind a faulty proxy ends as it would without faults."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import UNFINISHED, Ledger
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.storage.open import open_storage
from tests.helpers.annotating_child import Job
from tests.helpers.fault_proxy import EVERY_KIND, FaultProxy, faulty
from tests.helpers.s3 import S3Server
from tests.helpers.toy_archive import toy_archive, toy_model
from tests.helpers.toy_loaders import load_toy
from vis_core.config.inference import InferenceConfig

# The long form: LONGTAKE_FAULTS=all
SEEDS = (1, 2, 3, 4, 5) if os.environ.get("LONGTAKE_FAULTS") == "all" else (1,)
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Calm:
    """The output of an undisturbed job.

    Attributes:
        server: The S3 server.
        bucket: The bucket, with the archive below in/ and the results below calm/.
        job: The undisturbed job.
        contents: Its results.
    """

    server: S3Server
    bucket: str
    job: Job
    contents: dict[str, bytes]

    def again(self, name: str, proxy: FaultProxy, folder: Path) -> Job:
        """Returns the same job behind a proxy."""
        environment = self.server.behind(proxy.endpoint).environment()
        return replace(
            self.job, folder=folder, out=f"s3://{self.bucket}/{name}", environment=environment
        )

    def left(self, name: str) -> dict[str, bytes]:
        """Reads the results of a job without the proxy."""
        storage = open_storage(f"s3://{self.bucket}/{name}")
        return {entry.key: storage.read(entry.key) for entry in storage.list()}

    def finished(self, name: str) -> dict[str, bytes]:
        """Reads the same results except unfinished work."""
        left = self.left(name).items()
        return {key: body for key, body in left if not key.startswith(UNFINISHED)}


@pytest.fixture(scope="module")
def calm(real_s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calm]:
    folder = tmp_path_factory.mktemp("calm")
    bucket, client = real_s3.new_bucket(), real_s3.client()
    for path in toy_archive(folder / "videos", 4).iterdir():
        client.put_object(Bucket=bucket, Key=f"in/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket=bucket, Key="in/broken.mp4", Body=b"no video")
    environment = real_s3.environment()
    job = Job(folder / "job", f"s3://{bucket}/in", f"s3://{bucket}/calm", environment)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        assert job.run() == 0
        yield Calm(real_s3, bucket, job, job.contents())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.3, len(EVERY_KIND) * 0.05])
def test_a_job_under_faults_leaves_what_a_calm_one_leaves(
    calm: Calm, share: float, seed: int, tmp_path: Path
) -> None:
    name = f"out-{share:.2f}-{seed}"
    with faulty(calm.server.endpoint, share, seed) as proxy:
        job = calm.again(name, proxy, tmp_path / "job")
        assert job.run() == 0
        assert sum(proxy.faults[fault] for fault in EVERY_KIND) >= 3
    assert calm.left(name) == calm.contents
    assert sorted(job.annotated()) == sorted(set(job.annotated()))


@pytest.mark.parametrize("refusal", [(400, "ExpiredToken"), (403, "AccessDenied")])
def test_a_job_goes_on_after_its_credentials_are_renewed(
    calm: Calm, refusal: tuple[int, str], tmp_path: Path
) -> None:
    name = refusal[1]
    with FaultProxy(calm.server.endpoint, {}, 1, refuse_after=14, refusal=refusal) as proxy:
        job = calm.again(name, proxy, tmp_path / "job")
        assert job.run() == 1  # a StorageError ends the process; the command line exits with 4
        assert proxy.num_requests == 15  # the refused request was not repeated
        there = calm.finished(name)
        assert 1 <= len(there) < len(calm.contents)
        assert there.items() <= calm.contents.items()
        proxy.refuse_after = None
        assert job.run() == 0
    assert calm.left(name) == calm.contents


def test_a_video_replaced_after_the_listing_fails_alone_and_is_done_by_the_next_run(
    calm: Calm, tmp_path: Path
) -> None:
    client, folder = calm.server.client(), f"s3://{calm.bucket}/replaced"
    old, new = (path.read_bytes() for path in sorted(toy_archive(tmp_path / "v", 2).iterdir()))
    client.put_object(Bucket=calm.bucket, Key="replaced/a.mp4", Body=old)
    (listed,) = list_archive(folder).videos
    client.put_object(Bucket=calm.bucket, Key="replaced/a.mp4", Body=new)
    ledger = Ledger(open_storage(f"s3://{calm.bucket}/out"), "settings")
    model = toy_model(tmp_path / "model")
    annotator = VideoAnnotator(
        AnnotateJob(open_storage(folder), ledger, model, InferenceConfig(), load=load_toy)
    )
    annotator.load()
    row = annotator.annotate(listed)
    assert (row.status, row.num_frames) == ("failed", 0)
    assert row.reason.startswith("changed while it was read (ETag ")
    (now,) = list_archive(folder).videos
    row = annotator.annotate(now)
    assert (row.status, row.num_frames) == ("done", 7)
