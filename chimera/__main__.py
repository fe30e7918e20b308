"""`python -m chimera` is the command `chimera`."""

from __future__ import annotations

from chimera.cli import main

if __name__ == "__main__":
    main()
