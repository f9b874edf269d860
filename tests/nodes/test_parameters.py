"""Launch parameters are checked before anything starts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pld import errors
from pld.errors import ConfigError, PldError, RecordingError, RobotError
from pld.probing.arbitrator import NEVER
from pld.recording.durable import require_room
from pld.run_folder import episode_folders
from pld_nodes import graph
from pld_nodes.graph import Deployment
from pld_nodes.parameters import (
    SUCCESS_STEPS,
    RunParameters,
    node_parameters,
    parse_arguments,
    takeover_limit,
    with_weights_found,
)
from pld_nodes.processes import command_line
from pld_nodes.resuming import next_episode
from pld_nodes.run import (
    check_ports_free,
    check_weights,
    claimed,
    make_ready,
    refuse_other_files,
    refuse_used,
)
from tests.nodes.test_graph_probing import random_base, random_specialist

SIM = Deployment.SIM


def test_a_real_arm_is_never_unattended() -> None:
    assert parse_arguments(SIM, ["unattended:=true"]).unattended
    with pytest.raises(ConfigError, match="recovered by the operator beside it"):
        parse_arguments(Deployment.ROBOT, ["unattended:=true"])


def test_a_learned_detector_must_be_sure_and_the_others_know(tmp_path: Path) -> None:
    weights = tmp_path / "reward.safetensors"
    weights.touch()
    arbitrator = next(p for p in graph.PROCESSES if p.name == "arbitrator_node")

    def steps(detector: str) -> int:
        return node_parameters(arbitrator, RunParameters(detector=detector), SIM, tmp_path)[
            "success_steps"
        ]

    assert (steps("twin"), steps("operator")) == (1, 1)
    assert steps(str(weights)) == SUCCESS_STEPS > 1


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("task:=cube", "unknown task 'cube'; valid: cube_pickup, peg_insertion"),
        ("mode:=fly", "unknown mode 'fly'; valid: collect"),
        ("tusk:=cube_pickup", "unknown parameter 'tusk'; valid: task, mode"),
        ("task", "not of the form name:=value"),
        ("episodes:=0", "episodes: 0"),
        ("episodes:=many", "'many' is not a int"),
        ("rate_hz:=7", "unknown rate_hz '7.0'; valid: 10.0, 20.0"),
        ("rate_hz:=nan", "not finite"),
        ("seed:=-1", "seed: -1"),
        ("seed:=99999999999999999999", "too large; give one below 4611686018427387904"),
        ("horizon_s:=0.01", "horizon_s: 0.01 is less than a control step"),
        ("robot_ip:=arm.lab", "'arm.lab' is not an IPv4 address"),
        ("robot_ip:=::1", "'::1' is not an IPv4 address"),
        ("policy:=gpt", "unknown policy 'gpt'; valid: scripted"),
        ("mode:=probe", "mode probe needs specialist:=FILE.safetensors"),
        ("specialist:=actor.safetensors", "mode collect has no specialist"),
        ("alpha:=2.1", "probing alpha is 2.1; it must be in [0, 2]"),
        ("depth:=maybe", "'maybe' is not a bool; valid: true, false"),
        ("run:=../x", "is not a folder name"),
        ("run:=a b", "run: 'a b' is not a folder name; give up to 100 letters, digits"),
        ("run:=prüf", "is not a folder name"),
        ("run:=.x", "is not a folder name"),
        (f"run:={'x' * 101}", "is not a folder name"),
        ("namespace:=replay", "where bags are played"),
        ("namespace:=replay/pld", "where bags are played"),
        ("namespace:=a b", "namespace: 'a b' is no ROS name; give letters"),
        ("namespace:=/pld", "namespace: '/pld' is no ROS name"),
        ("namespace:=", "namespace: '' is no ROS name"),
        ("namespace:=1cell", "namespace: '1cell' is no ROS name"),
    ],
)
def test_a_wrong_argument_is_refused_with_value_and_valid_ones(argument: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_arguments(Deployment.SIM, [argument])
    assert words in str(caught.value)


def test_nothing_is_learned_from_the_starts_of_evaluations() -> None:
    words = ["mode:=learn", "policy:=base.safetensors", "rate_hz:=10", "seed:=999999990"]
    parse_arguments(SIM, [*words, "episodes:=10"])
    with pytest.raises(ConfigError, match="999999990 to 1000000000; give seeds below 1000000000"):
        parse_arguments(SIM, [*words, "episodes:=11"])


@pytest.mark.parametrize("name", ["pld", "cell_1/pld", "A/_b/c2"])
def test_a_ros_name_is_a_namespace(name: str) -> None:
    assert parse_arguments(Deployment.SIM, [f"namespace:={name}"]).namespace == name


def test_a_specialist_needs_the_weights_of_a_trained_base() -> None:
    arguments = ["mode:=evaluate", "specialist:=actor.safetensors"]
    with pytest.raises(ConfigError, match="policy 'scripted' has no specialist"):
        parse_arguments(Deployment.SIM, arguments)


def test_weights_that_are_not_there_are_named_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"no weights at 'nowhere\.safetensors'"):
        with_weights_found("nowhere.safetensors")
    assert with_weights_found("expert") == "expert"


def test_the_specialist_takes_over_at_once_in_an_evaluation_and_never_without_one() -> None:
    plain = parse_arguments(Deployment.SIM, [])
    assert takeover_limit(plain) == NEVER
    files = ["policy:=a.safetensors", "specialist:=b.safetensors"]
    assert takeover_limit(parse_arguments(Deployment.SIM, ["mode:=evaluate", *files])) == 0


def test_hardware_differs_from_the_twin_only_in_parameters() -> None:
    sim = parse_arguments(Deployment.SIM, [])
    robot = parse_arguments(Deployment.ROBOT, [])
    assert (sim.realtime, robot.realtime) == ("ignore", "enforce")
    assert robot.detector == "operator"
    assert sim.limits == robot.limits
    assert sim.rate_hz == robot.rate_hz


@pytest.mark.parametrize("deployment", list(Deployment))
def test_every_process_gets_every_parameter_that_it_names(
    deployment: Deployment, tmp_path: Path
) -> None:
    parameters = RunParameters(run="r", output_dir=str(tmp_path))
    for row in graph.processes(deployment):
        told = node_parameters(row, parameters, deployment, tmp_path)
        assert set(told) == set(row.parameters)
        line = command_line(row, told, "pld")
        assert all(isinstance(part, str) for part in line)


def test_an_address_that_is_not_ours_cannot_carry_the_twin() -> None:
    with pytest.raises(RobotError, match="robot_ip"):
        check_ports_free("192.0.2.1")


def test_a_bag_folder_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"cannot write bags into .*output_dir:=FOLDER"):
        require_room(tmp_path / "file" / "runs")


def test_every_error_is_of_the_one_family() -> None:
    kinds = {k for k in vars(errors).values() if getattr(k, "__module__", "") == errors.__name__}
    assert {ConfigError, RecordingError, RobotError} < kinds
    assert not [kind for kind in kinds if not issubclass(kind, PldError)]


@pytest.fixture
def ended_run(tmp_path: Path) -> Path:
    """A sim run of five episodes that ended after its third."""
    folder = tmp_path / "r"
    for index in range(3):
        (folder / "episodes" / f"r-{index:05d}").mkdir(parents=True)
    kept = dataclasses.asdict(
        parse_arguments(SIM, ["task:=peg_insertion", "episodes:=5", "seed:=40", "run:=r"])
    )
    (folder / "parameters.json").write_text(json.dumps({"deployment": "sim", **kept}))
    (folder / "termination.json").write_text("{}")
    return folder


def resumed(ended_run: Path, *more: str) -> RunParameters:
    return parse_arguments(SIM, ["resume:=r", f"output_dir:={ended_run.parent}", *more])


def test_a_resumed_run_keeps_its_parameters_and_goes_on_with_the_next_episode(ended_run) -> None:
    found = resumed(ended_run)
    assert (found.run, found.task, found.episodes, found.seed) == ("r", "peg_insertion", 5, 40)
    row = next(p for p in graph.PROCESSES if p.name == "arbitrator_node")
    told = node_parameters(row, found, SIM, None)
    assert (told["first_episode"], told["episodes"], told["seed"]) == (3, 5, 40)
    fresh = node_parameters(row, dataclasses.replace(found, run="other", resume=""), SIM, None)
    assert fresh["first_episode"] == 0


def test_a_resumed_run_may_record_more_but_not_something_else(ended_run) -> None:
    assert resumed(ended_run, "episodes:=8").episodes == 8
    with pytest.raises(ConfigError, match="task: a resumed run keeps its own"):
        resumed(ended_run, "task:=cube_pickup")
    with pytest.raises(ConfigError, match="is a sim run; use pld up sim resume:=r"):
        parse_arguments(
            Deployment.ROBOT, ["resume:=r", f"output_dir:={ended_run.parent}", "episodes:=8"]
        )
    with pytest.raises(ConfigError, match=r"no run 'q' in .*; known: r"):
        parse_arguments(SIM, ["resume:=q", f"output_dir:={ended_run.parent}"])


def test_what_else_lies_among_the_episodes_is_no_episode(ended_run) -> None:
    for name in (".ipynb_checkpoints", ".Trash-1000", "r-0001 copy", "notes"):
        (ended_run / "episodes" / name).mkdir()
    assert next_episode(ended_run) == 3
    assert episode_folders(ended_run) == []
    (ended_run / "episodes" / "r-00001" / "verdict.json").write_text("{}")
    assert [f.name for f in episode_folders(ended_run)] == ["r-00001"]


def test_a_resumed_run_keeps_the_weights_that_it_began_with(tmp_path: Path) -> None:
    (tmp_path / "checkpoints.json").write_text(json.dumps({"policy": "sha256:1"}))
    refuse_other_files(tmp_path, {"policy": "sha256:1"})
    for now in ({"policy": "sha256:2"}, {"policy": "sha256:1", "specialist": "sha256:1"}):
        with pytest.raises(ConfigError, match="its file is not the one that the run in"):
            refuse_other_files(tmp_path, now)


def test_a_new_run_begins_in_no_used_folder(ended_run: Path, tmp_path: Path) -> None:
    refuse_used(tmp_path / "new")
    with pytest.raises(ConfigError, match="choose another name, or go on with it: resume:=r"):
        refuse_used(ended_run)
    (tmp_path / "flywheel").mkdir()
    refuse_used(tmp_path / "flywheel")
    (tmp_path / "flywheel" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"'flywheel' exists in .* and is no run of the graph"):
        refuse_used(tmp_path / "flywheel")


def test_a_machine_has_one_graph_per_namespace_and_domain(monkeypatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "99")
    first = claimed("test/one")
    claimed("test/other").close()
    with pytest.raises(RobotError, match=r"another run is up in namespace 'test/one' .*domain 99"):
        claimed("test/one")
    monkeypatch.setenv("ROS_DOMAIN_ID", "98")
    claimed("test/one").close()
    monkeypatch.setenv("ROS_DOMAIN_ID", "99")
    first.close()
    claimed("test/one").close()


def test_a_run_with_all_its_episodes_is_not_resumed(ended_run) -> None:
    with pytest.raises(ConfigError, match="has its 3 episodes; for ten more, say episodes:=13,"):
        make_ready(ended_run, 3)
    assert (ended_run / "termination.json").exists()
    make_ready(ended_run, 4)
    assert not (ended_run / "termination.json").exists()


def test_weights_that_do_not_fit_are_refused_before_anything_starts(tmp_path: Path) -> None:
    base = random_base(tmp_path / "base.safetensors")
    other = random_base(tmp_path / "other.safetensors", seed=1)
    random_specialist(tmp_path / "actor.safetensors", base)
    words = ["mode:=probe", "task:=cube_pickup", f"specialist:={tmp_path / 'actor.safetensors'}"]
    policy = f"policy:={tmp_path / 'base.safetensors'}"
    check_weights(parse_arguments(SIM, [*words, policy, "rate_hz:=10"]))
    with pytest.raises(ConfigError, match="was trained at 10 Hz and the run is at 20 Hz"):
        check_weights(parse_arguments(SIM, [*words, policy, "rate_hz:=20"]))
    wider = SimpleNamespace(policy_id=base.policy_id, feature_dim=base.feature_dim + 1)
    random_specialist(tmp_path / "wider.safetensors", wider)
    sees_more = [*words[:2], f"specialist:={tmp_path / 'wider.safetensors'}", policy, "rate_hz:=10"]
    with pytest.raises(ConfigError, match=r"sees \d+ features, and here there are"):
        check_weights(parse_arguments(SIM, sees_more))
    wrong = f"policy:={tmp_path / 'other.safetensors'}"
    with pytest.raises(ConfigError, match=f"the base is {other.policy_id}"):
        check_weights(parse_arguments(SIM, [*words, wrong, "rate_hz:=10"]))
    detector = f"detector:={tmp_path / 'base.safetensors'}"
    with pytest.raises(ConfigError, match="is no pld-success-classifier file"):
        check_weights(parse_arguments(SIM, ["rate_hz:=10", detector]))
