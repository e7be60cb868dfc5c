"""Prints a run file with every default filled in, or the JSON schema for editors."""

import argparse
import json

from jobs.options import add_config_options, read_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("what", choices=("show", "schema"), help="the run file or its schema")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Prints YAML or JSON."""
    from pipelines.config.loading import to_yaml
    from pipelines.config.run import RunConfig

    if args.what == "schema":
        print(json.dumps(RunConfig.model_json_schema(), indent=2))
    else:
        print(to_yaml(read_config(args)), end="")
    return 0
