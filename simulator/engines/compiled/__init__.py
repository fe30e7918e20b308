"""The compiled engine: the plan as a graph, solved for many cost samples at once."""
