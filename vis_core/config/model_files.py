"""Names of the files in a model folder."""

WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "config.json"  # the system's settings
CATEGORIES_FILE = "categories.json"
