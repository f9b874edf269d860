"""What a simulated arm feels of its contacts; the same for the FCI twin and the lockstep twin."""

from __future__ import annotations

import mujoco
import numpy as np

from pld.twin.reflexes import ExternalEffort
from pld.twin.scene import ARM_DOF, EE_SITE, PREFIX
from pld.types import Array


class ContactSense:
    """The estimate of external joint torques and wrench, as the robot itself would make it.

    Contacts anywhere on arm and hand count; the two sides of a grasp cancel, and what is left of it
    is the held object's weight and pushes.
    """

    def __init__(self, model: mujoco.MjModel, period_s: float, prefix: str = PREFIX) -> None:
        self._model = model
        self._hand = model.body(f"{prefix}hand").id
        self._links = slice(model.body(f"{prefix}fr3_link1").id, self._hand + 3)
        first = int(model.joint(f"{prefix}fr3_joint1").dofadr[0])
        self._dofs = slice(first, first + ARM_DOF)
        self._site = model.site(EE_SITE).id
        self._root = model.body_rootid[self._hand]
        bodies = self._links.stop - self._links.start
        self._bears = np.triu(np.ones((ARM_DOF, bodies)))
        self._borne, self._moment = np.zeros((ARM_DOF, 6)), np.zeros(3)
        self.effort = ExternalEffort(period_s)

    def reset(self) -> None:
        """Forget what was felt."""
        self.effort = ExternalEffort(self.effort.period_s)

    def feel(self, data: mujoco.MjData) -> None:
        """Take in the contacts of the step just made."""
        mujoco.mj_rnePostConstraint(self._model, data)
        efforts = data.cfrc_ext[self._links]
        self.effort.update(self._external(data, efforts) if np.count_nonzero(efforts) else None)

    def _external(self, data: mujoco.MjData, efforts: Array) -> Array:
        """Joint torques and wrench (13,) at EE in O from spatial forces on the arm's bodies.

        MuJoCo keeps both the forces `cfrc_ext` and the joints' motions `cdof` about the centre of
        mass of the tree; each joint bears what acts on the links from its own on.
        """
        effort = np.empty(ARM_DOF + 6)
        borne = np.matmul(self._bears, efforts, out=self._borne)
        np.einsum("ij,ij->i", data.cdof[self._dofs], borne, out=effort[:ARM_DOF])
        hand = borne[-1]
        mujoco.mju_cross(
            self._moment, data.subtree_com[self._root] - data.site_xpos[self._site], hand[3:]
        )
        effort[ARM_DOF : ARM_DOF + 3] = hand[3:]
        np.add(hand[:3], self._moment, out=effort[ARM_DOF + 3 :])
        return np.negative(effort, out=effort)
