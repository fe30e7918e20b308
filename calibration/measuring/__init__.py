"""How long things take on this machine: short real runs and probes."""
