"""`chimera run --dry-run`: sixty-four ranks in one process, and no word of having run them."""

from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_sixty_four_ranks_are_walked_through_and_nothing_is_executed(chimera: Any) -> None:
    done = chimera(
        "run", "chimera", "--stages", 64, "--microbatches", 128, "--model", "gpt-2-64", "--dry-run", "--json"
    )
    assert done.status == 0 and "nothing was executed" in done.stderr
    found = done.document
    assert found["executed"] is False and len(found["ranks"]) == 64
    # 128 micro-batches cross 63 boundaries there and back; a message is 4 x 632 x 1280 floats
    assert sum(rank["sent"] for rank in found["ranks"]) == 2 * 128 * 63
    assert {rank["sent_bytes"] // rank["sent"] for rank in found["ranks"]} == {4 * 632 * 1280 * 4}
    # two replicas of the 1,389,327,360 parameters that `chimera models` shows
    assert sum(rank["parameters"] for rank in found["ranks"]) == 2 * 1_389_327_360


def test_ranks_that_do_the_same_share_a_row(chimera: Any) -> None:
    done = chimera("run", "gpipe", "--stages", 4, "--microbatches", 4, "--model", "gpt-tiny", "--width", 2, "--dry-run")
    assert done.status == 0 and "not executed" in done.stdout
    assert [line.split("│")[1].strip() for line in done.stdout.splitlines() if line.startswith("│")] == [
        "0, 4",
        "1-2, 5-6",
        "3, 7",
    ]
