"""Random tests draw the same examples every time in CI, and report how to repeat them elsewhere."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("default", deadline=None, max_examples=40)
settings.load_profile("ci" if os.environ.get("CI") else "default")
