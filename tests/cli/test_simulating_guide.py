"""The guide tells the truth: its commands run, its numbers are those of its commands, and it names every option."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from chimera.cli.options.network import NetworkOptions
from chimera.cli.options.what_if import WhatIfOptions

GUIDE = (Path(__file__).parents[2] / "docs" / "simulating.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", LINES)
def test_its_commands_run(chimera: Any, line: str) -> None:
    done = chimera(*shlex.split(line)[1:])
    assert done.status == 0, done.stderr


def test_the_head_of_line_bubble_is_as_large_as_it_says(chimera: Any) -> None:
    commands = [line for line in LINES if "interleaved" in line and "--p2p" in line]
    found = [chimera(*shlex.split(line)[1:], "--json").document["iteration_s"] for line in commands]
    (said,) = re.findall(r"They take ([\d.]+) ms, ([\d.]+) ms and ([\d.]+) ms", GUIDE)
    assert [f"{seconds * 1e3:.4g}" for seconds in found] == list(said)


@pytest.mark.parametrize("group", [NetworkOptions, WhatIfOptions])
def test_it_names_every_option(group: type[Any]) -> None:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        (option,) = hints[field.name].__metadata__
        for name in "/".join(option.param_decls).split("/"):
            assert f"`{name}" in GUIDE or f" {name}" in GUIDE, name


def test_limits_are_those_it_explains(chimera: Any) -> None:
    (line,) = [line for line in LINES if "--half-duplex --explain" in line]
    explained = chimera(*shlex.split(line)[1:], "--json").document["explain"]
    assert explained["limit"] == "network"
