"""Environment variables for libraries, which read them on import."""

import os

# values that the user has set take precedence over these
_DEFAULTS = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_PRINT_DEPRECATION": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_ENFORCED = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # MLflow's default is true
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def configure_libraries() -> None:
    """Sets the variables in this process; child processes inherit them."""
    os.environ.update(_ENFORCED)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
