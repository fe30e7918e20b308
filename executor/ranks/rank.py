"""The entry of one rank: `python -m executor.ranks.rank module:function FOLDER`, started by our launcher.

torchrun can start it as well, with the payload in FOLDER/payload.json:
`torchrun --standalone --nproc-per-node 2 -m executor.ranks.rank module:function FOLDER`.

What must come before torch is loaded is done here: dying with the parent, and pinning, since
torch's threads inherit the cores of the thread that starts them.
"""

from __future__ import annotations

__all__ = ["main"]

import ctypes
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from chimera.executor.ranks.environment import membership

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serves the target with the payload that the launcher left in the folder."""
    target, folder = sys.argv[1], Path(sys.argv[2])
    _die_with_parent()
    place = membership()
    assert place is not None, "the launcher sets RANK and WORLD_SIZE"
    payload = json.loads((folder / "payload.json").read_text())
    member = import_module("chimera.executor.ranks.member")
    member.serve(target, payload, place, folder, gather=False)
    # All is written: what torch's threads do while the interpreter is torn down must not end a good run badly.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _die_with_parent() -> None:
    """Asks the kernel to kill us when the launcher dies; it may have died before we could ask."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if str(os.getppid()) != os.environ.get("CHIMERA_LAUNCHER", str(os.getppid())):
            sys.exit("the launcher is gone")


if __name__ == "__main__":
    main()
