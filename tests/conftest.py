"""Random tests draw the same examples every time; `--hypothesis-profile explore` looks for new ones."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("default", derandomize=True, deadline=None, max_examples=40)
settings.register_profile("explore", deadline=None, max_examples=400, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
