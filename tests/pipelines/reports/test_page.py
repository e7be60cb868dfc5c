import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pipelines.reports.charts import Mark, Series
from pipelines.reports.page import write_report
from pipelines.reports.page_data import (
    Fact,
    FailureRow,
    ReportData,
    StageRow,
    TrialRow,
    VideoCard,
)
from tests.helpers.overlays import NAMES, gray_frames, scene
from vis_core.errors import StorageError
from vis_core.visualization.overlay import contact_strip, write_overlay_video, write_picture

HOSTILE = (
    "\"'><script>alert(1)</script><img src=http://evil/x onerror=alert(1)>\u202e\udcff\x00.mp4"
)


class Page(HTMLParser):
    """A parser that collects tags and attributes, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "path", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def sources(self):
        found = [attrs.get(key) for _, attrs in self.tags for key in ("src", "href", "poster")]
        return [source for source in found if source]


@pytest.fixture
def media(tmp_path):
    result = scene()
    video, strip = tmp_path / "overlays" / "a b#1.mp4", tmp_path / "overlays" / "s.jpg"
    write_overlay_video(video, gray_frames(result), result, NAMES, 10)
    write_picture(strip, contact_strip(gray_frames(result), result, NAMES))
    return video, strip


def full_report(video, strip, name="video.mp4"):
    scores = {"ap": 0.2, "ap50": 0.4, "ap75": 0.1, "ar1": 0.2, "ar10": 0.3}
    better = {"val/ap": 0.31, "val/ap50": 0.5, "val/ap75": -1.0, "val/ar1": 0.3, "val/ar10": 0.4}
    return ReportData(
        title=name,
        facts=(Fact(name, name),),
        headlines=(Fact(name, "0.310"),),
        stages=(StageRow(name, 100, 65.0, scores), StageRow("video", 50, None, scores)),
        final=better,
        curves=((name, (Series(name, (1, 2, 3), (3, 2, 1)),)),),
        marks=(Mark(0, name),),
        sweep=tuple(TrialRow({name: 0.1 * i, "b.c": name}, 0.3 - i / 100, name) for i in range(12)),
        videos=(
            VideoCard(name, video, (Fact("frames", "6"),)),
            VideoCard(name, strip),
            VideoCard(name, None, (Fact("", name),)),
        ),
        failures=(FailureRow(name, name),),
        archive=(Fact(name, name),),
        absent=(name,),
    )


def test_a_page_holds_everything_and_asks_the_network_for_nothing(tmp_path, media):
    path = tmp_path / "report.html"
    write_report(path, full_report(*media))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert all(source.startswith(("data:", "#")) for source in page.sources())
    assert not re.search(r"https?://|@import|url\(", text)
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags and tags.count("video") == 1 and tags.count("img") == 1
    video = next(attrs for tag, attrs in page.tags if tag == "video")
    assert {"controls", "muted", "loop", "poster"} <= video.keys()
    for word in ("0.310", "AP50", "1m05s", "4 more"):
        assert word in text


def test_names_with_html_in_them_stay_text(tmp_path, media):
    path = tmp_path / "report.html"
    write_report(path, full_report(*media, name=HOSTILE))
    page = Page(path.read_text(encoding="utf-8"))
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags and tags.count("img") == 1
    assert not any("evil" in source for source in page.sources())
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert "<script>alert(1)</script>" in "".join(page.words)


def test_media_beyond_the_budget_are_linked_beside_the_page(tmp_path, media):
    path = tmp_path / "report.html"
    write_report(path, full_report(*media), total_bytes=0)
    sources = [source for source in Page(path.read_text()).sources() if source[0] != "#"]
    assert sources == ["overlays/a%20b%231.mp4", "overlays/s.jpg"]
    assert path.stat().st_size < 60_000


def test_one_file_over_its_limit_is_linked_and_the_rest_is_embedded(tmp_path, media):
    video, strip = media
    limit = int(min(video.stat().st_size, strip.stat().st_size) * 4 / 3) + 4
    path = tmp_path / "pages" / "report.html"
    write_report(path, full_report(*media), file_bytes=limit)
    sources = [s for s in Page(path.read_text()).sources() if not s.startswith("#")]
    assert sum(source.startswith("../overlays/") for source in sources) == 1


def test_the_best_score_of_a_column_is_bold_and_a_missing_one_a_dash(tmp_path):
    rows = (StageRow("image", 10, 1.0, {"ap": 0.1}), StageRow("video", 10, 1.0, {"ap": 0.3}))
    write_report(tmp_path / "r.html", ReportData("t", stages=rows))
    text = (tmp_path / "r.html").read_text()
    assert re.search(r'<td class="best">[^\n]*?0\.300', text)
    assert "+0.200 AP" in text and "–" in text


def test_an_empty_report_is_a_page_too(tmp_path):
    write_report(tmp_path / "r.html", ReportData("nothing yet"))
    page = Page((tmp_path / "r.html").read_text())
    assert not any(tag in {"section", "nav", "table"} for tag, _ in page.tags)


def test_a_video_that_is_no_video_still_gets_its_card(tmp_path):
    broken = tmp_path / "x.mp4"
    broken.write_bytes(np.random.default_rng(0).bytes(100))
    write_report(tmp_path / "r.html", ReportData("t", videos=(VideoCard("x", broken),)))
    video = next(a for tag, a in Page((tmp_path / "r.html").read_text()).tags if tag == "video")
    assert "poster" not in video


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "r.html").mkdir()
    (tmp_path / "r.html" / "x").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_report(tmp_path / "r.html", ReportData("t"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]
