"""--partition where nothing is started: a prediction cuts the layers of its profile as it is told."""

from pathlib import Path
from typing import Any

import pytest

from chimera.simulator import save_profile
from chimera.simulator.costs.profile import LayerCost, Profile, SizeCost

# One layer as costly as three others: by cost a stage of its own, by number it has a companion.
TIMES_MS = (1, 1, 1, 3)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    costs = [SizeCost(1, forward_ns=ms * 1_000_000, backward_ns=2 * ms * 1_000_000) for ms in TIMES_MS]
    path = tmp_path / "profile.json"
    save_profile(
        Profile("by hand", tuple(LayerCost(f"layer-{index}", (cost,)) for index, cost in enumerate(costs))), path
    )
    return path


# GPipe on two stages with one micro-batch: (F + B) of all layers, 6 ms + 12 ms, whatever the cut; the busiest
# device's compute is 3 x (forward) of its layers.
@pytest.mark.parametrize(("partition", "busiest_ms"), [("balanced", 9), ("count", 12), ("2,2", 12), ("1,3", 15)])
def test_the_busiest_device_is_as_busy_as_its_layers(
    chimera: Any, profile: Path, partition: str, busiest_ms: int
) -> None:
    size = ("--stages", 2, "--microbatches", 1)
    document = chimera("simulate", "gpipe", *size, "--profile", profile, "--partition", partition, "--json").document
    assert document["pipeline_s"] == pytest.approx(0.018)
    assert document["ideal_s"] == pytest.approx(busiest_ms / 1e3)


def test_equal_stages_have_no_layers_to_cut(chimera: Any) -> None:
    costs = ("--forward", "1ms", "--backward", "2ms")
    done = chimera("simulate", "gpipe", "--stages", 2, "--microbatches", 1, *costs, "--partition", "1,1")
    assert done.status == 2 and "know no layers" in done.stderr
