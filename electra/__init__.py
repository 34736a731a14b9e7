"""ELECTRA for TensorFlow 2 and Keras 3.

>>> import electra
>>> model = electra.load("data/models/electra_small")
>>> len(model.encode(["The chef ate the meal.", "It rained."]))
2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.serve.model import LoadedModel, load

__all__ = ["LoadedModel", "load"]
__version__ = "0.1.0"  # setup.py reads it


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'electra' has no attribute {name!r}")
    from electra.serve import model  # only when asked for: every command imports electra

    return getattr(model, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
