"""The models that ship with the project, by name."""

from __future__ import annotations

__all__ = ["PRESETS"]

from chimera.pipeline.models.bert import BERT
from chimera.pipeline.models.cnn import CNN
from chimera.pipeline.models.gpt import GPT
from chimera.pipeline.models.mlp import MLP

_GPT_2, _BERT = 50257, 30522
"""sizes of the published vocabularies"""


def _gpt_2(name: str, blocks: int, hidden: int, heads: int) -> GPT:
    return GPT(name, blocks, hidden, heads, sequence=1024, vocabulary=_GPT_2)


def _gpt_3(name: str, blocks: int, hidden: int, heads: int) -> GPT:
    return GPT(name, blocks, hidden, heads, sequence=2048, vocabulary=_GPT_2)


def _bert(name: str, blocks: int, hidden: int, heads: int) -> BERT:
    return BERT(name, blocks, hidden, heads, sequence=128, vocabulary=_BERT, positions=512)


PRESETS: dict[str, GPT | BERT | CNN | MLP] = {
    model.name: model
    for model in (
        GPT("gpt-tiny", blocks=8, hidden=128, heads=4, sequence=128, vocabulary=256),
        GPT("gpt-mini", blocks=12, hidden=256, heads=8, sequence=128, vocabulary=256),
        _gpt_2("gpt-2-small", 12, 768, 12),
        _gpt_2("gpt-2-medium", 24, 1024, 16),
        _gpt_2("gpt-2-large", 36, 1280, 20),
        _gpt_2("gpt-2-xl", 48, 1600, 25),
        # Chimera paper, section 4: "GPT-2" of 64 layers, and its 32-layer variant
        GPT("gpt-2-32", blocks=32, hidden=1280, heads=20, sequence=632, vocabulary=_GPT_2, positions=1024),
        GPT("gpt-2-64", blocks=64, hidden=1280, heads=20, sequence=632, vocabulary=_GPT_2, positions=1024),
        # arXiv 2005.14165, table 2.1. Its 24 heads of 128 do not make a width of 2048, and 40 of 128 not 5140:
        # 16 heads, and a width of 5120.
        _gpt_3("gpt-3-1.3b", 24, 2048, 16),
        _gpt_3("gpt-3-2.7b", 32, 2560, 32),
        _gpt_3("gpt-3-6.7b", 32, 4096, 32),
        _gpt_3("gpt-3-13b", 40, 5120, 40),
        _gpt_3("gpt-3-175b", 96, 12288, 96),
        # bytes, and the three special tokens
        BERT("bert-tiny", blocks=8, hidden=128, heads=4, sequence=128, vocabulary=259),
        BERT("bert-mini", blocks=12, hidden=256, heads=8, sequence=128, vocabulary=259),
        _bert("bert-base", 12, 768, 12),
        _bert("bert-large", 24, 1024, 16),
        # Chimera paper, section 4: 48 layers, sequences of 128 tokens
        _bert("bert-48", 48, 1024, 16),
        CNN("cnn-tiny", blocks=6, sizes=3, channels=16, groups=8, image=8, colours=1, classes=10),
        CNN("cnn-mnist", blocks=6, sizes=3, channels=16, groups=8, image=28, colours=1, classes=10),
        # as deep and as wide as ResNet-18, for the images of CIFAR-10
        CNN("cnn", blocks=8, sizes=4, channels=64, groups=32, image=32, colours=3, classes=10),
        MLP("mlp-tiny", blocks=8, hidden=512, features=64, classes=10),
        MLP("mlp-wide", blocks=16, hidden=2048, features=256, classes=10),
    )
}
