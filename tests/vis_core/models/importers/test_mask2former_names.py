"""Our rules against the recorded tables: every name of every table."""

import json
from pathlib import Path

import pytest

from tests.conftest import reference_cases
from vis_core.models.importers.mask2former_names import our_names

THIRDS = {"copy": None, "rows[0/3]": 0, "rows[1/3]": 1, "rows[2/3]": 2}


@pytest.mark.parity
@pytest.mark.parametrize(
    "path",
    reference_cases("ctvis/official_to_hf_mapping_*.json", always=False),
    ids=lambda path: path.stem,
)
def test_every_name_goes_where_the_table_says(path: Path) -> None:
    table = json.loads(path.read_text())["mapping"]
    assert len(table) > 300
    for official, targets in table.items():
        wanted = [(target["hf"], THIRDS.get(target["op"])) for target in targets]
        if official.startswith("criterion."):
            wanted = []
        ours = our_names(official)
        assert ours is not None, official
        renamed = [
            (f"segmentor.network.{name}".replace("segmentor.network.<project head>.reid_embed",
                                                "embedding_head"), third)
            for name, third in wanted
        ]  # fmt: skip
        assert ours == renamed, official


def test_a_name_of_something_else_is_unknown() -> None:
    assert our_names("roi_heads.box_predictor.weight") is None
