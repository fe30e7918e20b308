"""What ranks measure outside pipelined runs, on the clock that runs use: layers, messages, all-reduces, overlap.

Each kind of probe is a value in a file of its own, with what measures it. The functions run inside the
ranks, all ranks at once, because a layer alone on an idle machine is faster than the same layer beside busy
neighbours. They only measure: `chimera.calibration.fitting` makes a Profile of it.
"""

from __future__ import annotations

__all__ = ["AllReduceProbe", "LayerProbe", "MessageProbe", "OverlapProbe", "RankProbes", "measure"]

from chimera.calibration.measuring.probes.all_reduce import AllReduceProbe
from chimera.calibration.measuring.probes.layer import LayerProbe
from chimera.calibration.measuring.probes.message import MessageProbe
from chimera.calibration.measuring.probes.overlap import OverlapProbe
from chimera.calibration.measuring.probes.rank import RankProbes, measure
