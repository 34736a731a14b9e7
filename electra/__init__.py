"""ELECTRA for TensorFlow 2 and Keras 3.

>>> import electra
>>> model = electra.load("data/models/electra_small")
>>> model.encode(["The chef ate the meal."]).shape
(1, 256)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.serve.model import LoadedModel

__all__ = ["load"]


def load(path: Any, **options: Any) -> LoadedModel:
    """Opens a trained model by its folder or checkpoint; see electra.serve.model.load."""
    from electra.serve.model import load

    return load(path, **options)
