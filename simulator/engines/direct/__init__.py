"""The reference engine: SimPy processes that follow a plan, on links and cores they share."""
