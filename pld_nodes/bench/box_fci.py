"""The arm of `pld bench box --fci`: the genuine driver and client against a simulated Franka."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from pld.config import load_yaml
from pld.errors import RobotError
from pld.robots.franka import FrankaArm
from pld.robots.franka_config import FrankaConfig
from pld.share import share_path
from pld.twin.control import ControlClient
from pld.twin.process import running_twin
from pld.types import ArmState, Command, ControlMode

ARM_CONFIG = "launch/config/arm_twin.yaml"
ATTEMPTS = 3


@dataclass
class FciArm:
    """The driver, and the control line of the twin that it is connected to."""

    driver: FrankaArm
    scene: ControlClient
    seed: int

    def reset(self) -> ArmState:
        """Recover the arm if it stopped, take it home and lay the scene anew.

        It may stop again on its way out of what it stood in; an operator tries again, too.
        """
        for attempt in range(ATTEMPTS):
            if self.driver.fault:
                self.driver.recover()
            try:
                self.driver.reset()
                break
            except RobotError:
                if attempt == ATTEMPTS - 1:
                    raise
        self.scene.call("reset", task="cube_pickup", seed=self.seed)
        return self.driver.wait_step()

    def step(self, command: Command) -> tuple[ArmState, bool]:
        """One control step, and whether a reflex stopped the arm in it."""
        self.driver.apply(command)
        state = self.driver.wait_step()
        return state, state.control_mode is ControlMode.FAULT


@contextmanager
def fci_arm(address: str, rate_hz: float, seed: int) -> Iterator[FciArm]:
    """A twin at `address` and the driver connected to it.

    Raises RobotError when the twin does not come up or the arm cannot be recovered.
    """
    config = replace(
        load_yaml(share_path(ARM_CONFIG), FrankaConfig),
        address=address,
        rate_hz=rate_hz,
        realtime="ignore",
    )
    with (
        running_twin(address) as twin,
        closing(FrankaArm(config, twin.observer().reading)) as driver,
    ):
        driver.connect()
        yield FciArm(driver, twin.control, seed)
