"""From what devices compute to a plan with every message, all-reduce and step explicit."""
