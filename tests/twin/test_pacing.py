"""Robot time waits for slow peers and not for dead ones: pure logic over explicit times."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pld.twin.attendance import Attendance
from pld.twin.link import SIGNED_OFF_NS, TwinLink
from pld.twin.observer import TwinObserver
from pld.twin.pacing import LOST_LIMIT, Pacer, ReplyWatch

MS = 1_000_000
PERIOD_MS, BUDGET_MS = 50, 25
GRACE_NS = 500 * MS


def pacer() -> Pacer:
    leads_ns = {"command": (PERIOD_MS + BUDGET_MS) * MS, "wrist": 50 * MS}
    return Pacer(leads_ns, grace_ns=GRACE_NS)


def test_a_peer_never_seen_is_not_waited_for() -> None:
    watch = pacer()
    for t_ms in range(1, 2000):
        assert watch.blockers(t_ms * MS, {"command": 0, "wrist": 0}, t_ms * MS) == ()


def test_robot_time_stops_exactly_at_the_lead_and_goes_on_when_confirmed() -> None:
    watch = pacer()
    seen = {"command": 1000 * MS, "wrist": 0}
    assert watch.blockers(1075 * MS, seen, 0) == ()
    assert watch.blockers(1075 * MS + 1, seen, 0) == ("command",)
    assert watch.blockers(1075 * MS + 1, {"command": 1050 * MS, "wrist": 0}, MS) == ()


def test_every_peer_that_is_behind_is_named() -> None:
    watch = pacer()
    behind = {"command": 1000 * MS, "wrist": 1000 * MS}
    assert watch.blockers(1200 * MS, behind, 0) == ("command", "wrist")


def test_a_dead_peer_costs_one_grace_in_all() -> None:
    watch = pacer()
    seen = {"command": 100 * MS, "wrist": 0}
    wall_ns, t_ms = 0, 100
    while t_ms < 1100:
        while watch.blockers((t_ms + 1) * MS, seen, wall_ns):
            wall_ns += MS
        t_ms += 1
        wall_ns += MS
    assert watch.peers["command"].waited_ns == GRACE_NS
    assert wall_ns == 1000 * MS + GRACE_NS
    assert watch.peers["command"].silences == 1


def test_a_peer_that_comes_back_is_waited_for_again() -> None:
    watch = pacer()
    wall_ns = 0
    while watch.blockers(500 * MS, {"command": 100 * MS, "wrist": 0}, wall_ns):
        wall_ns += MS
    assert watch.blockers(600 * MS, {"command": 450 * MS, "wrist": 0}, wall_ns) == ("command",)


def test_a_twin_that_stood_still_does_not_take_its_peers_for_dead() -> None:
    watch = pacer()
    seen = {"command": 1000 * MS, "wrist": 0}
    assert watch.blockers(1100 * MS, seen, 0) == ("command",)
    assert watch.blockers(1100 * MS, seen, 10 * GRACE_NS) == ("command",)
    assert watch.peers["command"].silences == 0
    assert watch.peers["command"].waited_ns == 10 * GRACE_NS


def test_waiting_for_one_peer_does_not_use_up_the_grace_of_another() -> None:
    watch = pacer()
    seen = {"command": 1000 * MS, "wrist": 1040 * MS}
    for wall_ms in range(0, 450, 10):
        assert watch.blockers(1080 * MS, seen, wall_ms * MS) == ("command",)
    seen = {"command": 1050 * MS, "wrist": 1040 * MS}
    assert watch.blockers(1080 * MS, seen, 450 * MS) == ()
    for wall_ms in range(460, 900, 10):
        assert watch.blockers(1110 * MS, seen, wall_ms * MS) == ("wrist",)


def run_a_graph(slowness: random.Random, slowest_ms: float) -> tuple[list[int], int]:
    """Robot times [ms] at which commands arrive, and wall time spent, on a machine of that speed.

    The graph answers every control tick after 20 ms of robot time at best; its work costs random
    wall time. Each simulated millisecond costs one of wall time.
    """
    watch, arrivals = pacer(), []
    wall_ns, t_ms, confirmed_ms, answer_wall_ns = 0, 1000, 1000, None
    tick_ms = 1050
    while t_ms < 3000:
        if t_ms >= tick_ms and answer_wall_ns is None:
            answer_wall_ns = wall_ns + int(slowness.uniform(0.0, slowest_ms) * MS)
        answered = answer_wall_ns is not None and wall_ns >= answer_wall_ns
        if answered and t_ms >= tick_ms + 20:
            arrivals.append(t_ms - tick_ms)
            confirmed_ms, answer_wall_ns = tick_ms, None
            tick_ms += PERIOD_MS
        wall_ns += MS
        seen = {"command": confirmed_ms * MS, "wrist": 0}
        if not watch.blockers((t_ms + 1) * MS, seen, wall_ns):
            t_ms += 1
    return arrivals, wall_ns


def test_load_slows_a_run_and_never_changes_it() -> None:
    quick, quick_wall = run_a_graph(random.Random(1), 5.0)
    loaded, loaded_wall = run_a_graph(random.Random(1), 400.0)
    assert len(quick) == len(loaded)
    assert max(loaded) <= BUDGET_MS
    assert max(quick) == 20
    assert loaded_wall > 3 * quick_wall


def test_who_follows_the_steps_owes_something_to_the_newest_only() -> None:
    watch = Pacer({"nodes": 30 * MS}, ("nodes",), GRACE_NS)
    worked = {"nodes": 1000 * MS}
    for t_ms in range(1001, 3000):
        assert watch.blockers(t_ms * MS, worked, t_ms * MS, 1000 * MS) == ()
    assert watch.blockers(3030 * MS, worked, 3000 * MS, 3000 * MS) == ()
    assert watch.blockers(3030 * MS + 1, worked, 3000 * MS, 3000 * MS) == ("nodes",)
    assert watch.blockers(3030 * MS + 1, {"nodes": 3000 * MS}, 3001 * MS, 3000 * MS) == ()


def test_who_follows_the_steps_and_hangs_costs_one_grace_in_all() -> None:
    watch = Pacer({"nodes": 30 * MS}, ("nodes",), GRACE_NS)
    wall_ns = 0
    for t_ms in range(1000, 2000):
        step_ns = t_ms // PERIOD_MS * PERIOD_MS * MS
        while watch.blockers((t_ms + 1) * MS, {"nodes": 1000 * MS}, wall_ns, step_ns):
            wall_ns += MS
    assert wall_ns == GRACE_NS
    assert watch.peers["nodes"].silences == 1


def test_the_newest_step_that_all_worked_on_says_how_far_they_have_come() -> None:
    came = Attendance()
    assert came.done_ns is None
    came = came.on_state(7, 700)
    assert came.done_ns is None
    assert came.on_attended(6).done_ns is None
    came = came.on_attended(7).on_state(8, 800)
    assert came.done_ns == 700
    assert came.on_attended(8).done_ns == 800
    assert came.on_attended(9).done_ns == 800


def test_a_silent_client_costs_one_grace_and_then_nothing() -> None:
    watch = ReplyWatch(GRACE_NS)
    patience = []
    for _ in range(LOST_LIMIT):
        patience.append(watch.patience_ns())
        watch.lost(in_transit=False)
    assert patience == [GRACE_NS] + [0] * (LOST_LIMIT - 1)
    assert watch.violated
    watch.answered()
    assert watch.patience_ns() == GRACE_NS
    assert not watch.violated


@pytest.mark.parametrize(("lost", "violated"), [(LOST_LIMIT - 1, False), (LOST_LIMIT, True)])
def test_twenty_lost_packets_in_a_row_violate_the_constraints(lost: int, violated: bool) -> None:
    watch = ReplyWatch()
    watch.answered()
    for _ in range(lost):
        watch.lost(in_transit=True)
    assert watch.violated is violated
    assert watch.patience_ns() > 0


def test_the_success_rate_is_the_share_of_the_last_hundred_replies() -> None:
    watch = ReplyWatch()
    assert watch.success_rate == 0.0
    for i in range(300):
        if i % 4 == 0:
            watch.lost(in_transit=True)
        else:
            watch.answered()
    assert watch.success_rate == pytest.approx(0.75)
    for _ in range(100):
        watch.answered()
    assert watch.success_rate == 1.0
    watch.restart()
    assert watch.success_rate == 0.0
    assert watch.missed == 75


def test_no_command_is_awaited_while_the_driver_looks_away(tmp_path: Path) -> None:
    link = TwinLink(tmp_path / "twin.link", create=True)
    observer = TwinObserver(tmp_path / "twin.link")
    seen = []
    for tell, t_ns in (
        (observer.reading, 100 * MS),
        (observer.applied, 100 * MS),
        (observer.reading, None),
        (observer.applied, 100 * MS),
        (observer.reading, 300 * MS),
        (observer.applied, 300 * MS),
    ):
        tell(t_ns)
        seen.append(link.confirmed("command")[0])
    away = SIGNED_OFF_NS
    assert seen == [0, 100 * MS, away, away, away, 300 * MS]
