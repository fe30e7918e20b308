"""Random tests draw the same examples every time; `--hypothesis-profile explore` looks for new ones."""

from hypothesis import HealthCheck, settings

from tests.sizes import ALL, examples

settings.register_profile("default", derandomize=True, deadline=None, max_examples=examples(60))
settings.register_profile("ci", settings.get_profile("default"), suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=400, print_blob=True)
settings.load_profile("ci" if ALL else "default")
