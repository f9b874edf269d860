"""The twin's side of the graph: lays the scene anew where a lab has an operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pld_interfaces.srv import ResetScene

from pld.errors import PldError
from pld.twin.control import ControlClient
from pld_nodes.ros.node import GraphNode, run_node


@dataclass(frozen=True)
class TwinConfig:
    """Parameters of the node: the folder in which the twin keeps its page and its socket."""

    twin_dir: str


class TwinNode(GraphNode):
    """Offers `scene/reset`."""

    def __init__(self) -> None:
        super().__init__("twin_node")
        folder = Path(self.config(TwinConfig).twin_dir)
        self._twin = ControlClient(folder / "twin.sock")
        self.create_service(ResetScene, "scene/reset", self._on_reset)

    def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        try:
            answer = self._twin.call("reset", task=request.task, seed=int(request.seed))
        except PldError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.region = True, str(answer["region"])
        return response


def main() -> None:
    """Entry point of the node."""
    run_node(TwinNode)


if __name__ == "__main__":
    main()
