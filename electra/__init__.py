"""ELECTRA for TensorFlow 2 and Keras 3.

>>> import electra
>>> model = electra.load("data/models/electra_small")
>>> len(model.encode(["The chef ate the meal.", "It rained."]))
2

`run_pretraining(PretrainingConfig(...))` and `run_finetuning(FinetuningConfig(...))` train.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electra.finetune.config import FinetuningConfig
    from electra.finetune.runner import run_finetuning
    from electra.pretrain.config import PretrainingConfig
    from electra.pretrain.runner import run_pretraining
    from electra.serve.model import LoadedModel, load

__version__ = "0.2.0"  # setup.py reads it
__all__ = [
    "FinetuningConfig",
    "LoadedModel",
    "PretrainingConfig",
    "load",
    "run_finetuning",
    "run_pretraining",
]
# Imported only when asked for: every command imports electra.
_PLACES = {
    "FinetuningConfig": "electra.finetune.config",
    "LoadedModel": "electra.serve.model",
    "PretrainingConfig": "electra.pretrain.config",
    "load": "electra.serve.model",
    "run_finetuning": "electra.finetune.runner",
    "run_pretraining": "electra.pretrain.runner",
}


if not TYPE_CHECKING:  # whose names are the imports above, and no others

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module 'electra' has no attribute {name!r}")
        if name.startswith("run_"):  # what runs imports TensorFlow
            from electra.cli import import_tensorflow_quietly, make_tensorflow_quiet

            make_tensorflow_quiet()
            import_tensorflow_quietly()
        return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
