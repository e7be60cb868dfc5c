"""The names of the files of a model folder."""

WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "config.json"  # of the system
CATEGORIES_FILE = "categories.json"
