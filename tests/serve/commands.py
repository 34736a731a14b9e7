"""Runs the commands of electra.serve in this process, with a model that a test has loaded."""

import importlib
from types import SimpleNamespace

from electra.serve import model as model_module

_SHARED = {
    **dict.fromkeys(("vocab_file", "text", "input", "input_format", "quoted", "text_column")),
    **dict.fromkeys(("id_column", "output", "output_format", "task")),
    "model_dir": "m",
    "batch_size": 32,
    "precision": "float32",
}
_OWN = {
    "detect": {},
    "fill_mask": {"top_k": 5},
    "predict": dict.fromkeys(("text_b", "text_b_column", "question_column", "context_column")),
    "zero_shot": {
        "hypothesis_template": "w9 {}",
        "multi_label": False,
        **dict.fromkeys(("entailment_label", "contradiction_label")),
    },
}


def run(monkeypatch, name, model, **flags):
    """Runs the command `name` on a LoadedModel, with these flags."""
    module = importlib.import_module(f"electra.serve.{name}")
    values = SimpleNamespace(**{**_SHARED, **_OWN[name], **flags})
    monkeypatch.setattr(module.flags, "FLAGS", values)
    monkeypatch.setattr(model_module, "load", lambda path, **options: model)
    module.main([])
