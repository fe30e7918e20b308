"""`chimera models`: every model there is, or the layers of one."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from typing import Any

import typer

from chimera.cli.reports.output import note, print_json, print_table
from chimera.pipeline.models import Layer, ModelConfig, config_dict, layers, model_config, model_names

HELP = """List every model, or the layers of one: parameters, forward FLOPs, activations, boundaries.

Examples:

    chimera models

    chimera models bert-48

    chimera models cnn-tiny --json
"""
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def command(
    name: str | None = typer.Argument(None, help="A model; all of them by default."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Prints the catalogue, or one model."""
    configs = [model_config(each) for each in (model_names() if name is None else [name])]
    if as_json:
        documents = [_document(config, in_full=name is not None) for config in configs]
        print_json({"schema_version": 1, "models": documents})
    elif name is None:
        _print_all(configs)
        note("next: chimera models bert-48")
    else:
        _print_layers(configs[0])
        note(f"next: chimera run dapple --model {name} --stages 2 --microbatches 4")


def _document(config: ModelConfig, *, in_full: bool) -> dict[str, Any]:
    described = layers(config)
    document: dict[str, Any] = {
        "name": config.name,
        "family": config.family,
        "config": config_dict(config),
        "layer_count": len(described),
        "parameters": sum(layer.parameters for layer in described),
        "forward_flops_per_sample": sum(layer.forward_flops for layer in described),
        "largest_boundary_elements": _largest_boundary(described).boundary_elements,
    }
    if in_full:
        document["layers"] = [_layer_document(layer) for layer in described]
    return document


def _layer_document(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "parameters": layer.parameters,
        "forward_flops_per_sample": layer.forward_flops,
        "activation_elements": layer.activation_elements,
        "boundary_shape": list(layer.boundary_shape),
        "boundary_elements": layer.boundary_elements,
    }


def _largest_boundary(described: tuple[Layer, ...]) -> Layer:
    """The layer after which a cut would cost the largest messages; the last has none behind it."""
    return max(described[:-1], key=lambda layer: layer.boundary_elements)


def _print_all(configs: list[ModelConfig]) -> None:
    rows = []
    for config in configs:
        described = layers(config)
        counts = (sum(layer.parameters for layer in described), sum(layer.forward_flops for layer in described))
        boundary = _shape(_largest_boundary(described))
        rows.append((config.name, config.family, str(len(described)), f"{counts[0]:,}", _short(counts[1]), boundary))
    columns = ("model", "family", "layers", "parameters", "forward FLOPs a sample", "largest boundary")
    print_table("Models", columns, rows, numbers_from=2)


def _print_layers(config: ModelConfig) -> None:
    described = layers(config)
    rows = [
        (
            layer.name,
            f"{layer.parameters:,}",
            _short(layer.forward_flops),
            f"{layer.activation_elements:,}",
            _shape(layer),
        )
        for layer in described
    ]
    total = f"{sum(layer.parameters for layer in described):,} parameters"
    columns = ("layer", "parameters", "forward FLOPs", "kept for the backward", "output")
    print_table(f"{config.name}: {total}; figures of one sample, elements not bytes", columns, rows)


def _shape(layer: Layer) -> str:
    return " x ".join(map(str, layer.boundary_shape))


def _short(count: int) -> str:
    for size, prefix in _PREFIXES:
        if count >= size:
            return f"{count / size:.4g} {prefix}"
    return str(count)
