"""A dataclass of options is one parameter of a command and many of its command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from chimera.cli.options.grouped import grouped


@dataclass(frozen=True)
class Speed:
    """Options that two commands might share."""

    fast: Annotated[bool, typer.Option("--fast/--slow", help="How quick.")] = False
    gears: Annotated[list[int], typer.Option("--gear", help="Repeatable.")] = field(default_factory=list)


def made() -> tuple[typer.Typer, list[tuple[str, Speed, int]]]:
    app, calls = typer.Typer(), []

    @app.command()
    @grouped
    def go(where: str = typer.Argument(...), speed: Speed = Speed(), times: int = typer.Option(1, "--times")) -> None:
        calls.append((where, speed, times))

    return app, calls


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["home"], ("home", Speed(), 1)),
        (["home", "--fast", "--gear", "2", "--gear", "3", "--times", "4"], ("home", Speed(True, [2, 3]), 4)),
    ],
)
def test_fields_are_options_and_come_as_the_dataclass(arguments: list[str], expected: tuple[str, Speed, int]) -> None:
    app, calls = made()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert calls == [expected]


def test_the_help_has_the_fields_where_the_parameter_stands() -> None:
    text = CliRunner().invoke(made()[0], ["--help"]).stdout
    assert text.index("--fast") < text.index("--gear") < text.index("--times")
    assert "--speed" not in text and "How quick." in text
