"""A model whose layers share weights, from its first step to a task: trained, gone on with, opened,
fine-tuned."""

import shutil

import numpy as np
import pytest

import electra
from electra.finetune.config import FinetuningConfig
from electra.finetune.runner import Finetuning
from electra.saving import checkpoints
from electra.saving.shapes import infer_hparams
from electra.train.compare import differences
from tests.finetune.runs import HPARAMS, make_data
from tests.pretrain import runs

LAYERS = {**runs.TINY["model_hparam_overrides"], "num_hidden_layers": 4, "num_layer_groups": 2}
HOW = {
    "model_hparam_overrides": LAYERS,
    "generator_layers": 0.5,
    "generator_layer_groups": 1,
    "keep_checkpoint_max": 0,
    "precision": "float32",
}


def test_shared_layers_are_trained_gone_on_with_opened_and_fine_tuned(tmp_path):
    data = runs.make_data(tmp_path / "data")
    assert runs.train(data, "whole", **HOW) == 0
    whole, half = data / "models" / "whole", data / "models" / "half"
    shutil.copytree(whole, half)
    for step in (8, 12):
        (half / f"model.ckpt-{step}.safetensors").unlink()
    assert runs.train(data, "half", **HOW) == 0
    assert differences(whole, half) == []

    shapes = checkpoints.read(whole).tensors.shapes()
    layers = {name.split("/")[2] for name in shapes if name.startswith("electra/encoder/layer_")}
    assert layers == {"layer_0", "layer_1"}
    assert any(name.startswith("generator/encoder/layer_0") for name in shapes)
    assert not any(name.startswith("generator/encoder/layer_1") for name in shapes)

    model = electra.load(whole, precision="float32")
    assert model.config.num_hidden_layers == 4
    vectors = model.encode(["w5 w6"])
    assert np.isfinite(vectors).all()

    alone = tmp_path / "alone"  # its shapes tell the sets of weights, not the layers
    alone.mkdir()
    for name in ("model.ckpt-12.safetensors", "vocab.txt"):
        shutil.copy(whole / name, alone)
    heads = {"model_hparam_overrides": {"num_attention_heads": 2}}
    found = electra.load(alone, hparams=heads, precision="float32")
    assert (found.config.num_hidden_layers, found.config.num_layer_groups) == (4, 2)
    assert (found.hparams["generator_layers"], found.hparams["generator_layer_groups"]) == (0.5, 1)
    np.testing.assert_array_equal(found.encode(["w5 w6"]), vectors)
    assert found.fill_mask("w5 [MASK]") == model.fill_mask("w5 [MASK]")

    tasks = make_data(tmp_path / "tasks")
    hparams = {"init_checkpoint": str(whole), "vocab_file": str(whole / "vocab.txt")}
    hparams |= {"output_dir": str(tmp_path / "out"), "num_train_epochs": 1}
    decay = {"layerwise_lr_decay": 0.5, "do_eval": False}
    config = FinetuningConfig("m", str(tasks), **HPARAMS | hparams | decay)
    run = Finetuning(config)
    before = {name: value.copy() for name, value in run.trainer.pretrained.items()}
    assert run.run() is None
    name = "electra/encoder/layer_1/output/dense/kernel"
    assert np.abs(before[name] - run.trainer.variables[name].numpy()).max() > 0


@pytest.mark.parametrize("damaged", [4, {"electra": "4"}, {"generator": 2}])
def test_a_state_that_does_not_tell_the_layers_is_refused(damaged):
    shapes = {
        "electra/embeddings/word_embeddings": (9, 4),
        "electra/embeddings/position_embeddings": (8, 4),
        "electra/embeddings/token_type_embeddings": (2, 4),
        "electra/encoder/layer_0/attention/self/query/kernel": (4, 4),
        "electra/encoder/layer_0/intermediate/dense/kernel": (4, 8),
    }
    with pytest.raises(ValueError, match="of the checkpoint's state"):
        infer_hparams(shapes, {"num_hidden_layers": damaged})
