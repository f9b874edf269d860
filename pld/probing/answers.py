"""What has been answered for the newest control step, and when that is enough to choose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pld.probing.arbitrator import Offers, specialist_acts
from pld.types import Array


@dataclass(frozen=True)
class Answers:
    """Offers by step. Topics are not ordered: an answer may overtake the state that it answers.

    `newest` is the step that a choice is wanted for. Answers to older ones are refused and counted,
    and so are those to steps further on than the next: who counts wrongly would be executed later.
    """

    newest: int = -1
    refused: int = 0
    offers: dict[int, Offers] = field(default_factory=dict)

    def on_state(self, step: int) -> Answers:
        """A new control step began; what was on offer for older ones is forgotten."""
        kept = {s: offers for s, offers in self.offers.items() if s >= step}
        return replace(self, newest=step, offers=kept)

    def on_answer(
        self,
        step: int,
        *,
        base: Array | None = None,
        residual: Array | None = None,
    ) -> Answers:
        """Somebody answered `step`; the first answer of each kind counts."""
        if not self.newest <= step <= self.newest + 1:
            return replace(self, refused=self.refused + 1)
        before = self.offers.get(step, Offers())
        offers = Offers(
            base if before.base is None else before.base,
            residual if before.residual is None else before.residual,
        )
        return replace(self, offers={**self.offers, step: offers})

    def complete(self, episode_step: int, takeover_step: int) -> Offers | None:
        """The offers for the newest step once nobody who matters there is missing, else None."""
        offers = self.offers.get(self.newest)
        if offers is None:
            return None
        corrected = offers.residual is not None or not specialist_acts(episode_step, takeover_step)
        return offers if offers.base is not None and corrected else None
