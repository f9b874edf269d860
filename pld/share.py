"""Where the package's own files are: in the source tree or in an installed share folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pld.errors import ConfigError

PACKAGE = "pld_nodes"


def share_path(relative: str) -> Path:
    """An existing file of the package, such as `launch/config/sim.yaml`."""
    source = Path(__file__).resolve().parent.parent
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(":"), sys.prefix]
    roots = [source, *(Path(p) / "share" / PACKAGE for p in prefixes if p)]
    for root in roots:
        if (root / relative).exists():
            return root / relative
    raise ConfigError(f"{relative!r} not found under {', '.join(map(str, roots))}")
