"""The names of the three files of a model folder."""

WEIGHTS_FILE = "weights.safetensors"  # tensors only
CONFIG_FILE = "config.json"  # the configuration of the system
CATEGORIES_FILE = "categories.json"  # category ids and names
