"""``longtake config``: a run file with every default filled in, or the JSON schema for editors."""

import json
from typing import Annotated, Literal

from jobs import options
from jobs.options import argument

DETAILS = f"Presets: {', '.join(options.presets())}."
EXAMPLES = (
    "longtake config show --config idol_tiny --set seed=1",
    "longtake config schema > longtake.schema.json",
)


def run(
    *,
    what: Annotated[
        Literal["show", "schema"],
        argument("WHAT", "Print the resolved run file, or the JSON schema."),
    ],
    config: options.Config = options.PRESET,
    overrides: options.Set,
    from_scratch: options.FromScratch = False,
    as_json: options.Json = False,
) -> None:
    """Prints the resolved run file as YAML or JSON, or prints the JSON schema."""
    from pipelines.config.loading import to_yaml
    from pipelines.config.run import RunConfig

    if what == "schema":
        print(json.dumps(RunConfig.model_json_schema(), indent=2))
        return
    resolved = options.read_config(config, overrides, from_scratch=from_scratch)
    document = resolved.model_dump(mode="json", by_alias=True)
    options.report(document, to_yaml(resolved).splitlines(), as_json=as_json)
