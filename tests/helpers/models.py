"""Model folders."""

import json

import numpy as np
from safetensors.numpy import save_file


def make_model(folder, value=1.0):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.full((4, 3), value, np.float32)}, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps({"name": "toy"}))
    (folder / "categories.json").write_text(json.dumps([{"id": 7, "name": "dog"}]))
    return folder
