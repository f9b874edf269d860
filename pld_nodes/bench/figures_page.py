"""Write `docs/figures.md` from the JSON files of benches, so that no figure is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEAD = """# Figures
Measured here, by the commands shown; this page is written by `pld bench page` from the JSON files
in `docs/figures/`. Robot time unless a unit says otherwise. The machines were shared and noisy:
compare figures of one run with each other, and read the load beside them.
"""


def page(paths: Sequence[Path]) -> str:
    """The page's text from bench documents, in the order of their file names."""
    return "\n".join([HEAD, *(_section(json.loads(path.read_text())) for path in sorted(paths))])


def _section(document: dict[str, Any]) -> str:
    machine = document["machine"]
    lines = [
        f"## {document['title']}",
        f"`{document['command']}`  ",
        f"{machine['cores']} cores, load {machine['load_1min']} at the end, "
        f"Python {machine['python']}, kernel {machine['kernel']}",
        "",
        "| figure | value | aim | met |",
        "|---|---|---|---|",
    ]
    for figure in document["figures"]:
        met = {None: "", True: "yes", False: "**no**"}[figure["met"]]
        value = f"{figure['value']:.4g} {figure['unit']}"
        lines.append(f"| {figure['name']} | {value} | {figure['aim']} | {met} |")
    return "\n".join([*lines, ""])
