"""Where a public data set lies below the folder that `--data` names."""

import sys
from pathlib import Path


def dataset(data: Path, name: str) -> Path:
    """The folder or file of a set, whatever split it is: `NAME…/` or `NAME….jsonl`.

    Ends with a line where there is none, or more than one.
    """
    here = [one for one in sorted(data.glob(f"{name}*")) if one.is_dir() or one.suffix == ".jsonl"]
    if len(here) != 1:
        told = ", ".join(one.name for one in here) or "nothing"
        sys.exit(f"{data}: one {name} is wanted, {told} is there; bench/README.md names the sets")
    return here[0]
