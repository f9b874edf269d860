"""A supervisor for benches that lets robot time go on after the driver's death."""

from __future__ import annotations

import time

from pld_nodes.processes import Child
from pld_nodes.supervisor import Supervisor

LINGER_S = 4.0


class LingeringSupervisor(Supervisor):
    """Ends the run 4 s of the clock after the driver.

    Without one, the twin waits a second, once, for each node that follows the control steps: a run
    that ends at once shows some 15 ms of robot time of what the arm does, this one more than 100.
    """

    def _on_exit(self, child: Child) -> int:
        if child.name == "franka_node":
            time.sleep(LINGER_S)
        return super()._on_exit(child)
