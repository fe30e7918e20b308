"""Who starts the ranks: torchrun's variables first, then srun's."""

from __future__ import annotations

import re

import pytest

from chimera.executor.ranks.environment import Membership, membership, without_launcher
from chimera.pipeline.errors import InputError

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "29401",
}
SRUN = {
    "SLURM_JOB_ID": "12345",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "2",
    "SLURM_NTASKS": "3",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_NNODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "MASTER_ADDR": "10.0.0.8",
}


def test_a_plain_process_is_no_rank() -> None:
    assert membership({}) is None


def test_torchruns_variables_are_used_as_they_are() -> None:
    assert membership(TORCHRUN) == Membership(3, 4, 1, 2, "10.0.0.7", 29401)


def test_torchrun_inside_slurm_goes_before_slurm() -> None:
    assert membership(SRUN | TORCHRUN) == membership(TORCHRUN)


def test_srun_gives_rank_and_port() -> None:
    # Port: 20000 + job id mod 10000 (reference/slurm.md)
    assert membership(SRUN) == Membership(2, 3, 0, 1, "10.0.0.8", 22345)


def test_a_single_host_needs_no_address() -> None:
    given = SRUN | {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "3"}
    del given["MASTER_ADDR"]
    found = membership(given)
    assert found is not None and (found.address, found.local_ranks) == ("127.0.0.1", 3)


def test_tasks_per_node_are_read_in_slurms_short_form() -> None:
    found = membership(SRUN | {"SLURM_NTASKS": "7", "SLURM_STEP_TASKS_PER_NODE": "3(x2),1"})
    assert found is not None and found.local_ranks == 3


def test_a_batch_script_starts_its_own_ranks() -> None:
    # sbatch sets SLURM_PROCID for the script as well, but no step.
    assert membership({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None
    assert membership(SRUN | {"SLURM_NTASKS": "1"}) is None


def test_membership_and_variables_are_the_same_thing() -> None:
    found = membership(TORCHRUN)
    assert found is not None and membership(found.variables()) == found


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"RANK": "9", "WORLD_SIZE": "2"}, "RANK=9: is no whole number from 0 to 1"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK=-1: is no whole number from 0 to 1"),
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE=two: is no whole number of 1 or more"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "127.0.0.1"}, "MASTER_PORT=127.0.0.1: is no whole number"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "0"}, "MASTER_PORT=0: is no whole number from 1 to 65535"),
        ({"RANK": "0"}, "RANK=0 without WORLD_SIZE: is half"),
        ({"RANK": "", "WORLD_SIZE": "2"}, "WORLD_SIZE=2 without RANK: is half"),
        (SRUN | {"SLURM_NTASKS": "x"}, "SLURM_NTASKS=x: is no whole number of 1 or more"),
        ({"TORCH_DISTRIBUTED_DEBUG": "yes"}, "TORCH_DISTRIBUTED_DEBUG=yes: is none of OFF, INFO, DETAIL"),
    ],
)
def test_a_malformed_variable_is_named_with_its_range(variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        membership(variables)
    assert caught.value.remedy


def test_empty_variables_count_as_unset() -> None:
    assert membership({"RANK": "", "WORLD_SIZE": " ", "MASTER_PORT": ""}) is None


def test_ranks_that_we_start_inherit_nothing_of_a_launcher() -> None:
    left = {"TORCHELASTIC_USE_AGENT_STORE": "True", "PET_NNODES": "2", "GROUP_RANK": "0", "RANK": "0", "HOME": "/root"}
    assert without_launcher(left) == {"HOME": "/root"}
