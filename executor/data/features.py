"""Labelled features: images, or vectors labelled by a teacher for models that take vectors."""

from __future__ import annotations

__all__ = ["FeatureInputs"]

from dataclasses import dataclass

from chimera.executor.data.batch import Draw, Microbatch
from chimera.executor.data.images import IMAGES, draw_images, held_out_images, load_images
from chimera.executor.data.source import DATA_NAMES, TEXT_NAMES, Source
from chimera.executor.data.vectors import draw_vectors
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.models import ModelConfig, input_shape, layers


@dataclass(frozen=True, slots=True)
class FeatureInputs:
    """Samples for families that tell classes apart: see `chimera.executor.modules.family.Inputs`.

    A model takes [features] or [colours, side, side] and gives [classes], as its config's layers say.
    """

    default: str
    """the data of a source without a name"""

    def name_source(self, config: ModelConfig, source: Source) -> Source:
        """Any data but text. Raises UnknownNameError for another name."""
        name = source.name or self.default
        if name in TEXT_NAMES or name not in DATA_NAMES:
            features = [item for item in DATA_NAMES if item not in TEXT_NAMES]
            raise UnknownNameError(f"data for {config.name}", name, features)
        return source.located(name)

    def load(self, config: ModelConfig, source: Source) -> None:
        """Reads images. Raises InputError for ones that do not fit, and for vectors where images are taken."""
        if source.name in IMAGES:
            load_images(source, config)
        elif len(input_shape(config)) > 1:
            remedy = f"use one of {', '.join(IMAGES)}"
            raise InputError(f"data {source.name!r} for {config.name}", "holds no images", remedy)

    def draw_batch(self, config: ModelConfig, source: Source, draw: Draw) -> Microbatch:
        """Images, every one once an epoch; or random vectors."""
        if source.name in IMAGES:
            return draw_images(config, load_images(source, config), draw)
        return self._vectors(config, draw)

    def held_out(self, config: ModelConfig, source: Source, draw: Draw) -> Microbatch:
        """Images kept for scoring, or vectors of no training iteration."""
        if source.name in IMAGES:
            return held_out_images(config, load_images(source, config), draw)
        return self._vectors(config, draw)

    def _vectors(self, config: ModelConfig, draw: Draw) -> Microbatch:
        (features,), (classes,) = input_shape(config), layers(config)[-1].boundary_shape
        return draw_vectors(features, classes, draw)
