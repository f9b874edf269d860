"""Statistics, seeds and outcomes of evaluations."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from pld.errors import ConfigError
from pld.evaluation.film import Film, animation, strip
from pld.evaluation.intervals import compare_paired, mcnemar_exact, wilson
from pld.evaluation.report import Report, write_report
from pld.evaluation.results import EpisodeResult, Evaluation, paired
from pld.evaluation.results_page import write_results_page
from pld.evaluation.seeds import (
    MAX_RUN_SEED,
    PER_ROUND,
    PER_RUN,
    Purpose,
    evaluation_seeds,
    purpose_of,
    refuse_overlap,
    seed_range,
)
from pld.residual.trainer import training_seed

FIRST = evaluation_seeds(0, 1)[0]


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 100), (1, 3), (50, 100), (98, 100), (100, 100)])
def test_the_wilson_interval_equals_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_trials_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    with pytest.raises(ConfigError, match="0 <= successes <= trials"):
        wilson(k, n)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (3, 9), (12, 12), (0, 40), (1090, 1210)])
def test_mcnemars_exact_p_value_equals_the_binomial_test(a: int, b: int) -> None:
    expected = binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert mcnemar_exact(a, b) == pytest.approx(expected, abs=1e-12)


def test_a_paired_comparison_counts_who_won_where_the_other_lost() -> None:
    pair = compare_paired([True, True, False, False, False], [True, False, True, True, False])
    assert (pair.only_first, pair.only_second, pair.both, pair.neither) == (1, 2, 1, 1)
    assert pair.difference == pytest.approx(1 / 5)


def test_outcomes_of_different_numbers_cannot_be_paired() -> None:
    with pytest.raises(ConfigError, match="cannot be paired"):
        compare_paired([True], [True, False])


@pytest.mark.parametrize("run", [0, 1, 7, MAX_RUN_SEED])
def test_no_two_purposes_share_a_seed(run: int) -> None:
    ranges = [
        seed_range(purpose, run, part)
        for purpose in Purpose
        for part in range(PER_RUN // PER_ROUND if purpose is not Purpose.SPECIALIST else 1)
    ]
    edges = sorted((r[0], r[-1]) for r in ranges)
    assert all(low[1] < high[0] for low, high in itertools.pairwise(edges))


def test_runs_do_not_share_seeds() -> None:
    assert not set(seed_range(Purpose.PROBING, 3, 9)) & set(seed_range(Purpose.PROBING, 4, 0))


@pytest.mark.parametrize("run", [0, 5, MAX_RUN_SEED])
def test_the_specialists_training_seeds_lie_in_their_block(run: int) -> None:
    owned = seed_range(Purpose.SPECIALIST, run)
    assert training_seed(run, 0) == owned[0]
    assert training_seed(run, PER_RUN - 1) == owned[-1]
    assert purpose_of(owned[0]) is purpose_of(owned[-1]) is Purpose.SPECIALIST


@pytest.mark.parametrize("purpose", Purpose)
def test_every_seed_knows_its_purpose(purpose: Purpose) -> None:
    owned = seed_range(purpose, 2)
    assert purpose_of(owned[0]) is purpose
    assert purpose_of(owned[-1]) is purpose


def test_a_seed_that_was_trained_on_is_no_evaluation_seed() -> None:
    with pytest.raises(ConfigError, match="were trained on"):
        refuse_overlap([1, 2, FIRST], [FIRST, FIRST + 1])
    refuse_overlap(seed_range(Purpose.PROBING, 0, 1), evaluation_seeds(0, 100))


def test_an_evaluation_on_training_seeds_cannot_be_written_down() -> None:
    episode = EpisodeResult(training_seed(0, 3), True, 9, "corner")
    with pytest.raises(ConfigError, match="specialist seed"):
        Evaluation("base", "cube_pickup", "x", 0, (episode,))


def _evaluation(name: str, outcomes: str, first: int = FIRST) -> Evaluation:
    regions = ("centre", "corner")
    episodes = tuple(
        EpisodeResult(first + i, o == "1", 10 + i, regions[i % 2], task="cube_pickup")
        for i, o in enumerate(outcomes)
    )
    return Evaluation(name, "cube_pickup", name, 0, episodes)


def test_success_is_counted_by_region_and_length_over_successes_only() -> None:
    evaluation = _evaluation("base", "1011")
    assert str(evaluation.rate).startswith("3/4")
    assert {r: (v.k, v.n) for r, v in evaluation.regions.items()} == {
        "centre": (2, 2),
        "corner": (1, 2),
    }
    assert evaluation.median_success_steps == 12


def test_an_evaluation_survives_json() -> None:
    evaluation = _evaluation("base", "10110")
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.as_json()))) == evaluation


def test_policies_are_compared_on_the_same_starts_only() -> None:
    pair = paired(_evaluation("a", "0000"), _evaluation("b", "1101"), "corner")
    assert (pair.only_second, pair.n) == (2, 2)
    with pytest.raises(ConfigError, match="different starts"):
        paired(_evaluation("a", "00"), _evaluation("b", "11", FIRST + 1))


@pytest.mark.parametrize("success", [True, False])
def test_a_films_strip_shows_first_and_last_image_and_the_outcome(success: bool) -> None:
    images = np.zeros((5, 2, 84, 84, 3), np.uint8)
    images[0], images[-1] = 10, 250
    picture = strip(Film("base", "t", 1, "corner", success, images), moments=3, scale=1)
    assert picture.shape == (90, 3 * 84, 3)
    assert (picture[0, 0, 0], picture[0, -1, 0]) == (10, 250)
    assert bool(picture[-1, 0, 1] > picture[-1, 0, 0]) is success


def test_the_report_is_one_page_with_every_policy_and_film(tmp_path: Path) -> None:
    film = Film("base", "cube_pickup", 4, "corner", False, np.zeros((4, 2, 84, 84, 3), np.uint8))
    assert animation(film)[:4] == b"RIFF"
    policies = {"base": "0101", "distilled-2": "1111", "distilled-2@corner": "1110"}
    evaluations = [_evaluation(name, found) for name, found in policies.items()]
    write_report(tmp_path / "r.html", Report("run", "distilled-2", evaluations, [film]))
    page = (tmp_path / "r.html").read_text()
    assert "2/4" in page
    assert "4/4" in page
    assert "3/4" in page
    assert "base fails (corner start" in page
    assert page.count("data:image/png") == 3
    assert "src='http" not in page


def test_the_results_page_is_made_of_summaries_and_refuses_anything_else(tmp_path: Path) -> None:
    summary = {
        "tasks": ["cube_pickup"],
        "seed": 3,
        "rates": [
            {
                "task": "cube_pickup",
                "name": "base",
                "successes": 41,
                "trials": 100,
                "median_success_steps": 30.0,
                "regions": {"corner": [2, 30]},
            }
        ],
        "comparisons": [],
        "stages": [{"name": "base", "cpu_s": 80.4, "figures": {}}],
    }
    (tmp_path / "a.json").write_text(json.dumps(summary))
    write_results_page(tmp_path / "results.md", [tmp_path / "a.json"])
    page = (tmp_path / "results.md").read_text()
    low, high = wilson(41, 100)
    assert (
        f"| cube_pickup seed 3 | cube_pickup | base | 41/100 [{low:.3f}, {high:.3f}] | 30 |" in page
    )
    assert "![cube_pickup](figures/results-cube_pickup.png)" in page
    assert (tmp_path / "figures" / "results-cube_pickup.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ConfigError, match="no summary"):
        write_results_page(tmp_path / "results.md", [tmp_path / "b.json"])
    told = summary | {"config": {"demonstrated_in": "middle"}}
    (tmp_path / "a.json").write_text(json.dumps(told))
    write_results_page(tmp_path / "other.md", [tmp_path / "a.json"])
    page = (tmp_path / "other.md").read_text()
    assert "| cube_pickup seed 3, demonstrated in middle | cube_pickup | base |" in page
    assert f"`pld results {tmp_path}/*.json --out {tmp_path}/other.md`" in page
    assert "(figures/other-cube_pickup.png)" in page, "pages do not share their plots"
    (tmp_path / "c.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"a.json' and .*c.json' are both of 'cube_pickup seed 3"):
        write_results_page(tmp_path / "other.md", [tmp_path / "a.json", tmp_path / "c.json"])


def test_the_results_page_says_how_each_run_is_made_again(tmp_path: Path) -> None:
    names = ("base", "base@corner", "control-alpha-0.3", "control-probing-25", "control-alpha-0.6")
    rates = [
        {
            "task": "cube_pickup",
            "name": name,
            "successes": 4,
            "trials": 10,
            "median_success_steps": 3.0,
            "regions": {},
        }
        for name in names
    ]
    summary = {
        "tasks": ["cube_pickup", "peg_insertion"],
        "seed": 3,
        "rounds": 3,
        "config": {"demonstrated_in": "middle"},
        "rates": rates,
        "comparisons": [],
        "stages": [],
    }
    (tmp_path / "a.json").write_text(json.dumps(summary))
    write_results_page(tmp_path / "results.md", [tmp_path / "a.json"])
    page = (tmp_path / "results.md").read_text()
    assert (
        "`pld flywheel --task all --seed 3 --run runs/flywheel/all-middle-seed3 --rounds 3 "
        "--demonstrated-in middle --controls alpha-sweep,fewer-episodes` |" in page
    )
    assert "--run runs/flywheel/all-middle-seed3 --starts-in corner`, POLICY each of base |" in page
