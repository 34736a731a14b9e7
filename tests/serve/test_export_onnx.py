"""A model in ONNX gives under onnxruntime what the loaded model's network gives."""

import numpy as np
import pytest
import tensorflow as tf

import electra
from electra.model import kernels
from electra.serve import export as export_module
from tests.serve.models import write_finetuned
from tests.serve.test_export import IDS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return electra.load(write_finetuned(tmp_path_factory.mktemp("model")), precision="float32")


def test_outputs_equal(model, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    written = model.export(tmp_path, task="topic", format="onnx")
    session = onnxruntime.InferenceSession(f"{written}/model.onnx")
    names = [output.name for output in session.get_outputs()]
    assert names == ["logits", "probabilities"]
    for copies in 1, 3:  # of the batch, and half of the length
        batch = {
            name: np.tile(np.array(values, np.int32), (copies, 1))[:, : 6 - copies]
            for name, values in IDS.items()
        }
        found = session.run(names, batch)
        with kernels.use_islands(False):
            outputs = model._network(
                {name: tf.constant(values) for name, values in batch.items()}, tasks=["topic"]
            )
        np.testing.assert_allclose(found[0], outputs["topic"]["logits"], rtol=0, atol=1e-5)


def test_what_cannot_be_is_refused(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="format must be one of saved_model, onnx. Received: 'h5'"):
        model.export(tmp_path, task="topic", format="h5")
    with pytest.raises(ValueError, match="onnx is written in float32. Received: precision bfl"):
        model.export(tmp_path, task="topic", format="onnx", precision="bfloat16")
    monkeypatch.setattr(export_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs tf2onnx. Install it: pip install -e '..onnx.'"):
        model.export(tmp_path, task="topic", format="onnx")
