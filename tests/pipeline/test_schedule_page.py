"""docs/schedules.md says what the generators do."""

from benchmarks.schedule_page import PAGE, page
from chimera.pipeline.schedules import catalogue


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m benchmarks.schedule_page"


def test_every_schedule_states_its_formulas() -> None:
    assert [entry.name for entry in catalogue() if not (entry.source and entry.bubble and entry.activations)] == []
