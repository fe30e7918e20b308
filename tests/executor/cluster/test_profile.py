"""A cluster profile is read strictly: what is wrong is named with its place and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.executor.cluster.profile_file import load_cluster, parse_cluster, shipped_clusters
from chimera.pipeline.errors import InputError, UnknownNameError
from tests.executor.cluster.sites import KNOWN

START = 'schema_version = 1\nname = "site"\n'


@pytest.mark.parametrize("name", shipped_clusters())
def test_every_shipped_profile_is_valid(name: str) -> None:
    assert load_cluster(name, known=KNOWN).name == name


def test_the_b200_profile_asks_as_its_site_wants() -> None:
    # reference: partition hpg-b200, --gres=gpu:b200:N, account and qos by group, output under a blue storage path
    found = load_cluster("hipergator", known=KNOWN)
    assert (found.request.partition, found.request.account, found.request.qos) == ("hpg-b200", "engines", "engines")
    assert (found.gpus.style, found.gpus.kind) == ("gres", "b200")
    assert found.paths.work == "/blue/engines/ada/chimera"
    assert found.software.activate == ("conda activate /home/ada/chimera/env",)


def test_an_unknown_key_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"site: request.partitoin") as error:
        parse_cluster(START + '[request]\npartitoin = "x"\n', "site", known=KNOWN)
    assert "did you mean 'partition'?" in error.value.remedy
    assert (
        "account, constraint, cpus_per_rank, extra, memory_per_node, partition, qos, time, warning"
        in error.value.remedy
    )


def test_an_unknown_section_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"site: gpu\b") as error:
        parse_cluster(START + '[gpu]\nkind = "b200"\n', "site", known=KNOWN)
    assert "did you mean 'gpus'?" in error.value.remedy


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[nodes]\nmost = 0\n", "nodes.most = 0"),
        ('[gpus]\nstyle = "gpus-per-task"\n', "gpus.style = 'gpus-per-task'"),
        ('launcher = "mpirun"\n', "launcher = 'mpirun'"),
        ("[request]\ncpus_per_rank = 'many'\n", "request.cpus_per_rank = 'many'"),
        ("[variables]\nNCCL_DEBUG = 1\n", "variables.NCCL_DEBUG = 1"),
    ],
)
def test_a_wrong_value_is_shown_with_its_place(text: str, place: str) -> None:
    with pytest.raises(InputError) as error:
        parse_cluster(START + text, "site", known=KNOWN)
    assert place in str(error.value)


def test_gpus_per_task_is_refused_wherever_it_hides() -> None:
    with pytest.raises(InputError, match="GPUs of its peers"):
        parse_cluster(START + '[request]\nextra = ["--gpus-per-task=1"]\n', known=KNOWN)


@pytest.mark.parametrize("text", ["", "schema_version = 2\nname = 'x'\n", "name = 'x'\n"])
def test_a_file_of_another_version_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_cluster(text, known=KNOWN)


def test_times_and_sizes_need_units() -> None:
    with pytest.raises(InputError, match="has no unit"):
        parse_cluster(START + '[request]\ntime = "60"\n', known=KNOWN)
    with pytest.raises(InputError, match="has no unit"):
        parse_cluster(START + '[request]\nmemory_per_node = "64"\n', known=KNOWN)


@pytest.mark.parametrize(
    ("text", "minutes", "warning_s"), [("10s", 1, 0), ("90s", 2, 0), ("2h", 120, 60), ("60min", 60, 60)]
)
def test_the_limit_is_in_whole_minutes_and_warns_only_where_there_is_room(
    text: str, minutes: int, warning_s: int
) -> None:
    request = parse_cluster(START, settings=[f"request.time={text}"], known=KNOWN).request
    assert (request.minutes, request.warning_s) == (minutes, warning_s)


def test_settings_go_over_the_file() -> None:
    settings = ["request.account=other", "nodes.most=3", "gpus.style=gpus", "variables.NCCL_DEBUG='INFO'"]
    found = parse_cluster(START, settings=settings, known=KNOWN)
    assert (found.request.account, found.nodes.most, found.gpus.style) == ("other", 3, "gpus")
    assert found.variables == {"NCCL_DEBUG": "INFO"}


def test_a_placeholder_that_stands_for_nothing_is_refused_and_shell_variables_are_left_alone() -> None:
    with pytest.raises(InputError, match=r"\{usr\} stands for nothing") as error:
        parse_cluster(START + '[paths]\nwork = "/blue/{usr}"\n', known=KNOWN)
    assert "{user}" in error.value.remedy
    text = START + '[software]\nactivate = ["source ${HOME}/env/bin/activate"]\n'
    assert parse_cluster(text, known=KNOWN).software.activate == ("source ${HOME}/env/bin/activate",)


def test_a_name_that_is_no_profile_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown cluster 'hypergator'") as unknown:
        load_cluster("hypergator", known=KNOWN)
    assert "did you mean 'hipergator'?" in unknown.value.remedy
    with pytest.raises(InputError, match="is not a file"):
        load_cluster(str(tmp_path / "none.toml"), known=KNOWN)
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(InputError, match="is not TOML"):
        load_cluster(str(tmp_path / "bad.toml"), known=KNOWN)
