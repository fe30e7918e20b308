"""The batch script is text that a person has read: golden files, and what no script may miss.

After a deliberate change, look at the difference and write the files anew:
`python -m tests.executor.cluster.test_script`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from chimera.executor.cluster import load_cluster, render
from chimera.executor.cluster.job import Task
from chimera.pipeline.errors import InputError
from tests.executor.cluster.sites import KNOWN, ONE, RUN

GOLDEN = Path(__file__).parent / "golden"
FOLDER = Path("/home/ada/study/out/slurm")
EIGHT = Task(("run", "chimera", "--model", "gpt-tiny", "--stages", "8", "--width", "2", "--microbatches", "8"), 16)


def scripts() -> dict[str, str]:
    local, site = load_cluster("local", known=KNOWN), load_cluster("hipergator", known=KNOWN)
    torchrun = load_cluster(
        "hipergator", ["launcher=torchrun", "gpus.style=gpus", "network.interface=ib0"], known=KNOWN
    )
    return {
        "local.sh": render(local, [RUN], FOLDER),
        "hipergator.sh": render(site, [EIGHT], FOLDER, name="study"),
        "torchrun.sh": render(torchrun, [EIGHT], FOLDER),
        "array.sh": render(local, [RUN, ONE, RUN, ONE, ONE], FOLDER, array=True, pending=[0, 2, 3, 4], at_once=2),
    }


@pytest.mark.parametrize("name", ["local.sh", "hipergator.sh", "torchrun.sh", "array.sh"])
def test_rendered_text_is_the_golden_file(name: str) -> None:
    assert scripts()[name] == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", ["local.sh", "hipergator.sh", "torchrun.sh", "array.sh"])
def test_bash_can_parse_it(name: str) -> None:
    subprocess.run(["bash", "-n"], input=scripts()[name], text=True, check=True)


@pytest.mark.parametrize("name", ["local.sh", "hipergator.sh", "torchrun.sh", "array.sh"])
def test_what_no_script_may_miss(name: str) -> None:
    text = scripts()[name]
    for needed in (
        "--kill-on-bad-exit=1",
        "--cpus-per-task=",
        "NodeAddr=",
        "20000 + SLURM_JOB_ID % 10000",
        "trap stopped TERM",
    ):
        assert needed in text
    assert "--gpus-per-task" not in text


@pytest.mark.parametrize(
    ("style", "line"),
    [("gpus", "--gpus=b200:16"), ("gres", "--gres=gpu:b200:8"), ("gpus-per-node", "--gpus-per-node=b200:8")],
)
def test_each_way_of_asking_for_gpus(style: str, line: str) -> None:
    cluster = load_cluster("hipergator", [f"gpus.style={style}"], known=KNOWN)
    assert f"#SBATCH {line}\n" in render(cluster, [EIGHT], FOLDER)


def test_memory_is_in_slurms_mebibytes() -> None:
    # SLURM's M is 2**20 bytes: 64 GB are 61035.15 of them
    cluster = load_cluster("local", ["request.memory_per_node=64GB"], known=KNOWN)
    assert "#SBATCH --mem=61035M\n" in render(cluster, [RUN], FOLDER)


def test_words_reach_the_command_as_they_are(tmp_path: Path) -> None:
    awkward = Task(("run", "a b", "it's", "$HOME", "x;y", '"q"'), 2)
    text = render(load_cluster("local", known=KNOWN), [awkward], FOLDER)
    chosen = next(part for part in text.split("\n\n") if part.startswith("nodes="))
    done = subprocess.run(
        ["bash", "-c", f'{chosen}\nprintf "%s\\n" "${{command[@]}}"'], capture_output=True, text=True, check=True
    )
    assert tuple(done.stdout.splitlines()) == awkward.words


@pytest.mark.parametrize("folder", ["/out/my job", "/out/50%"])
def test_a_folder_that_slurm_would_misread_is_refused(folder: str) -> None:
    with pytest.raises(InputError, match="SLURM would misread"):
        render(load_cluster("local", known=KNOWN), [RUN], Path(folder))


if __name__ == "__main__":
    for golden, text in scripts().items():
        (GOLDEN / golden).write_text(text)
