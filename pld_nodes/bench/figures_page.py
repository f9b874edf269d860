"""Write `docs/figures.md` from the JSON files of benches, so that no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pld.errors import ConfigError
from pld.files import read_json
from pld_nodes.bench.aims import told

HEAD = """# Figures
Measured here, by the commands shown; this page is written by `pld bench page` from the JSON files
in `docs/figures/`. Robot time unless a unit says otherwise. The machines were shared and noisy:
compare figures of one run with each other, and read the load beside them.
"""


def documents_in(folder: Path) -> list[Path]:
    """The JSON files of a folder; raises ConfigError when there is none."""
    if found := sorted(folder.glob("*.json")):
        return found
    raise ConfigError(
        f"no JSON file in {str(folder)!r}; write one with `pld bench graph --json FILE`, or give "
        "another --folder"
    )


def page(paths: Sequence[Path]) -> str:
    """The page's text from bench documents, in the order of their file names."""
    return "\n".join([HEAD, *(_section(_document(path)) for path in sorted(paths))])


def _document(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not {"title", "machine", "figures"} <= set(content):
        raise ConfigError(f"{str(path)!r} was not written by a bench's --json; move it elsewhere")
    return content


def _section(document: dict[str, Any]) -> str:
    machine = document["machine"]
    lines = [
        f"## {document['title']}",
        f"`{document['command']}`  ",
        f"{machine.get('date', 'date not kept')}, {machine['cores']} cores, "
        f"load {machine['load_1min']} at the end, Python {machine['python']}, "
        f"kernel {machine['kernel']}",
        "",
        "| figure | value | aim | met |",
        "|---|---|---|---|",
    ]
    for figure in document["figures"]:
        met = {None: "", True: "yes", False: "**no**"}[figure["met"]]
        value = told(figure["value"], figure["unit"])
        lines.append(f"| {figure['name']} | {value} | {figure['aim']} | {met} |")
    return "\n".join([*lines, ""])
