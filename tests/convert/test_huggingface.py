"""The layout of Hugging Face's folders, and the way back; no library of theirs is needed."""

import json

import numpy as np
import pytest

import electra
from electra.convert.heads import linear_of, through_gelu
from electra.publish.formats import convert
from electra.saving.tensors import open_safetensors
from tests.convert.models import LINEAR, SIZES, TEXT_TASKS, THEIR_HEAD, write_task
from tests.pretrain.runs import TOKENS
from tests.serve.models import TEXTS, write_pretrained
from tests.shared import FIXTURES, needs_fixtures

LAYER = {
    "attention.self.query": (16, 16),
    "attention.self.key": (16, 16),
    "attention.self.value": (16, 16),
    "attention.output.dense": (16, 16),
    "intermediate.dense": (64, 16),
    "output.dense": (16, 64),
}


def shapes(folder):
    return open_safetensors(folder / "model.safetensors").shapes()


def load(folder):
    return electra.load(folder, precision="float32")


def round_trip(folder, tmp_path, **options):
    """Converts out and back. Returns: the folder of ours."""
    convert(folder, "huggingface", tmp_path / "out", **options)
    convert(tmp_path / "out", "electra", tmp_path / "back")
    return tmp_path / "back"


def test_the_tensors_have_hugging_faces_names_and_shapes(tmp_path):
    assert convert(write_pretrained(tmp_path), "huggingface", tmp_path / "o") == [
        str(tmp_path / "o" / "discriminator"),
        str(tmp_path / "o" / "generator"),
    ]
    expected = {
        "electra.embeddings.word_embeddings.weight": (40, 8),
        "electra.embeddings.position_embeddings.weight": (512, 8),
        "electra.embeddings.token_type_embeddings.weight": (2, 8),
        "electra.embeddings.LayerNorm.weight": (8,),
        "electra.embeddings.LayerNorm.bias": (8,),
        "electra.embeddings_project.weight": (16, 8),
        "electra.embeddings_project.bias": (16,),
        "discriminator_predictions.dense.weight": (16, 16),
        "discriminator_predictions.dense.bias": (16,),
        "discriminator_predictions.dense_prediction.weight": (1, 16),
        "discriminator_predictions.dense_prediction.bias": (1,),
    }
    for name, shape in LAYER.items():
        expected[f"electra.encoder.layer.0.{name}.weight"] = shape
        expected[f"electra.encoder.layer.0.{name}.bias"] = shape[:1]
    for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
        expected[f"electra.encoder.layer.0.{norm}.weight"] = (16,)
        expected[f"electra.encoder.layer.0.{norm}.bias"] = (16,)
    assert shapes(tmp_path / "o" / "discriminator") == expected
    heads = {n: s for n, s in shapes(tmp_path / "o" / "generator").items() if "generator" in n}
    assert heads == {  # the generator's H is 8, so that it has no embeddings_project
        "generator_predictions.dense.weight": (8, 8),
        "generator_predictions.dense.bias": (8,),
        "generator_predictions.LayerNorm.weight": (8,),
        "generator_predictions.LayerNorm.bias": (8,),
        "generator_lm_head.bias": (40,),
    }


def test_kernels_are_transposed(tmp_path):
    folder = write_pretrained(tmp_path)
    convert(folder, "huggingface", tmp_path / "o", part="discriminator")
    ours = open_safetensors(folder / "model.ckpt-7.safetensors")
    theirs = open_safetensors(tmp_path / "o" / "model.safetensors")
    kernel = ours["electra/encoder/layer_0/intermediate/dense/kernel"]
    other = theirs["electra.encoder.layer.0.intermediate.dense.weight"]
    np.testing.assert_array_equal(kernel.T, other)
    assert theirs.metadata["format"] == "pt"


def test_the_config_and_the_tokenizer_say_what_was_trained(tmp_path):
    flags = {"do_lower_case": False, "strip_accents": True}
    convert(write_pretrained(tmp_path, **flags), "huggingface", tmp_path / "o", part="generator")
    config = json.loads((tmp_path / "o" / "config.json").read_text())
    assert config == {
        "architectures": ["ElectraForMaskedLM"],
        "model_type": "electra",
        "embedding_size": 8,
        "vocab_size": 40,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 32,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.1,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
    }
    about = json.loads((tmp_path / "o" / "tokenizer_config.json").read_text())
    assert about["do_lower_case"] is False and about["strip_accents"] is True
    assert about["tokenize_chinese_chars"] is True and about["model_max_length"] == 16
    assert (tmp_path / "o" / "vocab.txt").read_text().split() == list(TOKENS)
    whole = json.loads((tmp_path / "o" / "tokenizer.json").read_text())
    assert whole["normalizer"]["lowercase"] is False
    assert whole["model"]["vocab"]["w7"] == 7


@pytest.mark.parametrize(
    "hparams",
    [
        {},
        {"untied_generator_embeddings": True},
        {"embedding_size": 16, "generator_hidden_size": 1.0},
        {"generator_hidden_size": 1.0},
        {"model_hparam_overrides": {**SIZES, "num_hidden_layers": 3, "num_layer_groups": 2}},
    ],
    ids=str,
)
def test_a_pair_comes_back_as_it_was(hparams, tmp_path):
    folder = write_pretrained(tmp_path, **hparams)
    before = load(folder)
    convert(folder, "huggingface", tmp_path / "o")
    pair = (tmp_path / "o" / name for name in ("discriminator", "generator"))
    convert(next(pair), "electra", tmp_path / "back", generator=next(pair))
    after = load(tmp_path / "back")
    assert after.detect(TEXTS) == before.detect(TEXTS)
    masked = "w5 [MASK] w9 [MASK]"
    assert after.fill_mask(masked, top_k=40) == before.fill_mask(masked, top_k=40)


def test_a_discriminator_alone_comes_back(tmp_path):
    folder = write_pretrained(tmp_path)
    after = load(round_trip(folder, tmp_path, part="discriminator"))
    assert after.detect(TEXTS) == load(folder).detect(TEXTS)
    assert after.hparams["uniform_generator"] is True


@pytest.mark.parametrize("hparams", [{"electra_objective": False}, {"untied_generator": False}])
def test_the_only_network_is_a_masked_lm(hparams, tmp_path):
    folder = write_pretrained(tmp_path, **hparams)
    after = load(round_trip(folder, tmp_path, part="generator"))
    masked = "w5 [MASK] w9"
    assert after.fill_mask(masked, top_k=40) == load(folder).fill_mask(masked, top_k=40)
    assert after.config.hidden_size == 16


def test_what_a_layout_cannot_hold_is_left_out_or_refused(tmp_path, caplog):
    uniform = write_pretrained(tmp_path, uniform_generator=True)
    assert convert(uniform, "huggingface", tmp_path / "o") == [str(tmp_path / "o/discriminator")]
    assert "no generator that ElectraForMaskedLM could hold: none" in caplog.text
    (tmp_path / "e").mkdir()
    electric = write_pretrained(tmp_path / "e", electric_objective=True, two_tower_generator=True)
    with pytest.raises(ValueError, match="Electric's scores add those of its two towers") as error:
        convert(electric, "huggingface", tmp_path / "x")
    assert "two towers read from one side each" in str(error.value)
    assert not (tmp_path / "x").exists()
    convert(electric, "huggingface", tmp_path / "x", part="encoder")
    assert all(not n.startswith("electra.") for n in shapes(tmp_path / "x"))
    convert(tmp_path / "x", "electra", tmp_path / "y")
    ours, encoder = load(electric), load(tmp_path / "y")
    np.testing.assert_array_equal(encoder.encode(TEXTS), ours.encode(TEXTS))
    for use in (encoder.detect, encoder.fill_mask):
        with pytest.raises(ValueError, match="holds an encoder without heads"):
            use("w5 [MASK]")


@pytest.mark.parametrize(
    ("family", "row"),
    [
        *TEXT_TASKS,
        *((family, {**row, **THEIR_HEAD}) for family, row in TEXT_TASKS),
        ("tagging", {"labels": ["O", "B-X"]}),
        ("tagging", {"labels": ["N", "V"], "metrics": "accuracy"}),
    ],
    ids=str,
)
def test_a_fine_tuned_model_comes_back(family, row, tmp_path):
    folder = write_task(tmp_path, family, **row)
    before, after = load(folder), load(round_trip(folder, tmp_path))
    assert [task.family for task in after.tasks.values()] == [family]
    ours, back = before.predict(TEXTS), after.predict(TEXTS)
    if family == "regression":
        assert [r["value"] for r in back] == pytest.approx([r["value"] for r in ours], abs=1e-5)
    else:
        assert back == ours
    kind = row.get("hparams", {}).get("classifier_head")
    assert after.hparams.get("classifier_head") == kind


def test_linear_answers_come_back(tmp_path):
    folder = write_task(tmp_path, "qa", head=LINEAR, hparams=LINEAR, metrics="squad_v1")
    rows = [("w5 w6", "w7 w8 w9 w10"), ("w6", "w9 w5 w5")]
    ours, back = load(folder).predict(rows), load(round_trip(folder, tmp_path)).predict(rows)
    assert [row["text"] for row in back] == [row["text"] for row in ours]


@pytest.mark.parametrize("name", LINEAR)
def test_an_answer_head_of_our_own_is_refused(name, tmp_path):
    head = {**LINEAR, name: True}
    folder = write_task(tmp_path, "qa", head=head, hparams=head)
    with pytest.raises(ValueError, match=f"Fine-tune with {name} false"):
        convert(folder, "huggingface", tmp_path / "o")


def test_gelu_carries_a_linear_head():
    """gelu(z) - gelu(-z) = z: two hidden units an output."""
    kernel, bias = np.float32([[1, 0], [0, 2], [0, 0], [0, 0]]), np.float32([3, 4])
    tensors = through_gelu(kernel, bias, 0, 1, "m")
    assert tensors["classifier.dense.weight"].tolist() == [
        [1, 0, 0, 0],
        [0, 2, 0, 0],
        [-1, 0, 0, 0],
        [0, -2, 0, 0],
    ]
    assert tensors["classifier.dense.bias"].tolist() == [3, 4, -3, -4]
    assert tensors["classifier.out_proj.weight"].tolist() == [[1, 0, -1, 0], [0, 1, 0, -1]]
    assert tensors["classifier.out_proj.bias"].tolist() == [0, 0]
    found = linear_of(*tensors.values())
    np.testing.assert_array_equal(found[0], kernel)
    np.testing.assert_array_equal(found[1], bias)
    with pytest.raises(ValueError, match="m has 3 outputs; .* of 4 units .*classifier_head"):
        through_gelu(np.zeros((4, 3)), np.zeros(3), 0, 1, "m")
    assert linear_of(*(value + 1 for value in tensors.values())) is None


@needs_fixtures
def test_official_checkpoints_go_out(tmp_path):
    case = FIXTURES / "pretrain" / "untied_embeddings"
    heads = json.loads((case / "config.json").read_text())["resolved_transformer"]
    overrides = {"num_attention_heads": heads["num_attention_heads"]}
    options = {"hparams": {"model_hparam_overrides": overrides}}
    options["vocab_file"] = case.parent / "vocab.txt"
    convert(case, "huggingface", tmp_path / "o", **options)
    pair = (tmp_path / "o" / name for name in ("discriminator", "generator"))
    convert(next(pair), "electra", tmp_path / "back", generator=next(pair))
    before, after = electra.load(case, precision="float32", **options), load(tmp_path / "back")
    assert after.hparams["untied_generator_embeddings"] is True
    text = " ".join(before.vocab.tokens[10:20])
    assert after.detect(text) == before.detect(text)
