"""A loaded model: what it reads, what it gives, and what it refuses."""

import doctest
import functools
import inspect
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import electra
from electra.data.features import collect
from electra.saving import checkpoints
from electra.serve import finetuned as finetuned_module
from electra.serve import forward, keras_parts
from electra.serve import model as model_module
from electra.serve.results import Guess, TokenScore
from tests.pretrain.runs import TOKENS
from tests.serve.models import TEXTS, write_finetuned, write_pretrained
from tests.shared import FIXTURES, ROOT, TENSOR, assert_close, needs_fixtures


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return write_pretrained(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="module")
def model(pretrained):
    return electra.load(pretrained, precision="float32")


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    return electra.load(write_finetuned(tmp_path_factory.mktemp("finetuned")), precision="float32")


def test_a_model_knows_what_it_is(model, finetuned):
    assert (model.step, model.max_seq_length, model.tasks) == (7, 16, {})
    assert model.config.hidden_size == 16 and len(model.vocab) == 40
    assert list(finetuned.tasks) == ["topic", "grade", "chunk", "ask"]
    assert "fine-tuned on topic, grade, chunk, ask, step 9" in repr(finetuned)


def test_encoding_gives_the_state_of_cls(model):
    vectors = model.encode(TEXTS)
    assert vectors.shape == (4, 16) and vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        tokens, states = model.encode(text, per_token=True)
        assert tokens == ["[CLS]", *text.split(), "[SEP]"]
        assert states.shape == (len(tokens), 16)
        np.testing.assert_allclose(states[0], vector, atol=1e-5)
        np.testing.assert_allclose(model.encode(text), vector, atol=1e-5)


def test_the_mean_leaves_padding_out(model):
    for text, mean in zip(TEXTS, model.encode(TEXTS, pooling="mean"), strict=True):
        vectors = model.encode(text, per_token=True).vectors
        np.testing.assert_allclose(mean, vectors.mean(axis=0), atol=1e-5)
    with pytest.raises(ValueError, match='pooling must be "cls" or "mean". Received: .max.'):
        model.encode(TEXTS, pooling="max")


def test_the_examples_of_the_docstrings_run(tmp_path, monkeypatch):
    words = "the chef ate meal . it rained a fine film bore".split()
    pretrained = electra.load(write_pretrained(tmp_path, tokens=[*TOKENS[: -len(words)], *words]))
    opened = {"electra_small": pretrained}
    for name, task in {"sst_model_1": "topic", "mnli_model_1": "nli"}.items():
        (tmp_path / name).mkdir()
        opened[name] = electra.load(write_finetuned(tmp_path / name, names=(task,)))
    monkeypatch.setattr(model_module, "load", lambda path: opened[os.path.basename(path)])
    modules = (electra, model_module, finetuned_module, keras_parts)
    examples = [test for module in modules for test in doctest.DocTestFinder().find(module)]
    globs = {"electra": electra, "model": pretrained}
    for example in examples:
        assert (
            doctest.DocTestRunner()
            .run(doctest.DocTest(example.examples, globs, example.name, None, 0, example.docstring))
            .failed
            == 0
        ), example.name
    assert sum(bool(example.examples) for example in examples) == 8


def test_encoding_does_not_depend_on_what_stands_beside(model):
    alone = np.stack([model.encode(text, batch_size=1) for text in TEXTS])
    np.testing.assert_allclose(model.encode(TEXTS * 20)[-4:], alone, atol=1e-5)


@pytest.mark.parametrize("make", [tuple, iter, np.array])
def test_texts_come_in_any_iterable(model, make):
    np.testing.assert_allclose(model.encode(make(TEXTS)), model.encode(TEXTS), atol=1e-5)


def test_columns_of_a_table_are_taken_row_by_row(model):
    class Frame:  # as pandas names it
        def itertuples(self, index, name):
            return iter([("w5", "w6"), ("w7", "w8")])

    pairs = [("w5", "w6"), ["w7", "w8"]]
    np.testing.assert_allclose(model.encode(Frame()), model.encode(pairs), atol=1e-5)
    assert model.encode(pairs[:1], per_token=True)[0].tokens == [
        "[CLS]",
        "w5",
        "[SEP]",
        "w6",
        "[SEP]",
    ]


def test_nothing_gives_nothing(model, finetuned):
    assert model.encode([]).shape == (0, 16)
    assert model.encode([], per_token=True) == model.detect([]) == model.fill_mask([]) == []
    assert finetuned.predict([], "topic") == []


@pytest.mark.parametrize("texts", [[1], [None], [("w5", "w6", "w7")], [("w5", 3)]])
def test_what_is_no_text_is_named(model, texts):
    with pytest.raises(ValueError, match="Text 0 must be a string or a pair of strings. Received"):
        model.encode(texts)


def test_every_token_gets_a_score_in_windows(model):
    text = " ".join(f"w{5 + i}" for i in range(20))  # 14 fit beside [CLS] and [SEP]
    scores = model.detect(text)
    assert [token for token, _ in scores] == text.split()
    assert scores == [
        TokenScore(token, pytest.approx(score, abs=1e-5))
        for token, score in model.detect([" ".join(text.split()[:14])])[0]
        + model.detect([" ".join(text.split()[14:])])[0]
    ]
    assert all(0 < score < 1 for _, score in scores)


@pytest.mark.parametrize("texts", [None, 3, b"w5", {"text": ["w5"]}])
def test_what_holds_no_texts_is_named(model, finetuned, texts):
    for use in (
        model.encode,
        model.detect,
        model.fill_mask,
        lambda x: finetuned.predict(x, "topic"),
    ):
        with pytest.raises(ValueError, match="Texts must be a string, or a list or other iterable"):
            use(texts)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "2", None])
def test_a_batch_holds_something(model, finetuned, batch_size):
    for use in (model.encode, lambda x, **sizes: finetuned.predict(x, "topic", **sizes)):
        with pytest.raises(
            ValueError, match="batch_size must be an integer of at least 1. Received"
        ):
            use("w5", batch_size=batch_size)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hparams": {"lower_case": False}}, "'lower_case' is unknown. Closest: 'do_lower_case'"),
        ({"precision": "fp16"}, "'precision' must be one of .*Received: 'fp16'"),
        ({"strategy": "cpu"}, "'strategy' must be one of .*Received: 'cpu'"),
    ],
)
def test_options_that_do_not_exist_are_refused(pretrained, options, message):
    with pytest.raises(ValueError, match=message):
        electra.load(pretrained, **options)


def test_help_shows_what_loading_takes():
    assert list(inspect.signature(electra.load).parameters)[:2] == ["path", "vocab_file"]
    assert "vocab.txt beside" in inspect.getdoc(electra.load)
    assert {"load", "LoadedModel"} <= set(dir(electra))
    runs = {"FinetuningConfig", "PretrainingConfig", "run_finetuning", "run_pretraining"}
    assert {"load", "LoadedModel"} | runs == set(electra.__all__)
    with pytest.raises(AttributeError, match="module 'electra' has no attribute 'lode'"):
        electra.lode  # noqa: B018


def test_a_text_without_tokens_is_refused(model):
    with pytest.raises(ValueError, match="Text 1 has no tokens"):
        model.detect(["w5", " "])


def test_masks_are_guessed_best_first(model):
    (first, second), (only,) = model.fill_mask(["w5 [MASK] w6 [MASK]", "[MASK]"], top_k=40)
    for guesses in (first, second, only):
        assert isinstance(guesses[0], Guess)
        probabilities = [guess.probability for guess in guesses]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert {guess.token for guess in guesses} == set(model.vocab.tokens)
    assert first != second
    assert [g.token for g in model.fill_mask("[MASK]", 3)[0]] == [g.token for g in only[:3]]


@pytest.mark.parametrize(
    "text, top_k, message",
    [
        ("w5", 5, "Text 0 has no [MASK]"),
        ("[MASK]" * 15, 5, "more than the 14 that fit"),
        ("[MASK]", 0, "top_k must be 1 to 40. Received: 0"),
        ("[MASK]", 2.5, "top_k must be 1 to 40. Received: 2.5"),
    ],
)
def test_what_cannot_be_filled_is_refused(model, text, top_k, message):
    with pytest.raises(ValueError) as refused:
        model.fill_mask(text, top_k)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "hparams, kind, guesses",
    [
        ({"electra_objective": False}, "a masked LM", True),
        ({"electric_objective": True}, "Electric", True),
        ({"uniform_generator": True}, "", False),
    ],
)
def test_each_objective_does_what_it_can(tmp_path, hparams, kind, guesses):
    model = electra.load(write_pretrained(tmp_path, **hparams), precision="float32")
    assert model.encode("w5").shape == (16,)
    if kind:
        with pytest.raises(ValueError, match=f"holds {kind}: it has no discriminator"):
            model.detect("w5")
    if guesses:
        assert len(model.fill_mask("w5 [MASK]", 2)[0]) == 2
    else:
        with pytest.raises(ValueError, match="it has no generator"):
            model.fill_mask("w5 [MASK]")


def test_every_family_predicts(finetuned):
    topic = finetuned.predict([*TEXTS, ("w5", "w6")], "topic")
    assert [row["id"] for row in topic] == ["0", "1", "2", "3", "4"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4) for row in topic)
    assert {row["label"] for row in topic} <= {"no", "yes"}
    assert np.isfinite(finetuned.predict("w5", "grade")["value"])
    tagged = finetuned.predict(["w5 w6", ["w7", "w8", "w9"]], "chunk")
    assert [len(row["tags"]) for row in tagged] == [2, 3]
    answer = finetuned.predict([("w5", "w6 w7 w8")], "ask")[0]
    assert set(answer) == {"id", "text", "null_odds", "n_best"}


@pytest.mark.parametrize(
    "task, rows, message",
    [
        ([], ["w5"], "Received: []"),
        (None, ["w5"], "task must be one of topic, grade, chunk, ask. Received: None"),
        ("x", ["w5"], "Received: 'x'"),
        ("ask", ["w5"], "Row 0 for task 'ask' must be a pair of strings"),
        ("topic", [("a", "b", "c")], "must be a string, or a pair"),
        ("chunk", [[1]], "must be a list of words, or a string"),
    ],
)
def test_rows_of_another_form_are_refused(finetuned, task, rows, message):
    with pytest.raises(ValueError) as refused:
        finetuned.predict(rows, task)
    assert message in str(refused.value)


def test_models_tell_what_they_are_not(model, finetuned):
    with pytest.raises(ValueError, match="fine-tuned on nothing"):
        model.predict(["w5"])
    with pytest.raises(ValueError, match="holds a fine-tuned model: it has no discriminator"):
        finetuned.detect("w5")


def test_a_damaged_record_of_tasks_is_named(tmp_path):
    folder = write_finetuned(tmp_path)
    path = folder / "hparams.json"
    recorded = json.loads(path.read_text())
    for tasks in ("topic", [1], [{"name": "topic"}], [{**recorded["tasks"][0], "labels": 3}]):
        path.write_text(json.dumps({**recorded, "tasks": tasks}))
        with pytest.raises(ValueError, match="hparams.json is damaged: .*(tasks|labels)"):
            electra.load(folder)


@pytest.fixture
def run_folder(pretrained, tmp_path):
    """A copy of the pre-trained model's folder, to be damaged."""
    return shutil.copytree(pretrained, tmp_path / "m")


def change_hparams(folder, **changed):
    path = folder / "hparams.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def save_weights(folder, state, **changed):
    opened = checkpoints.read(folder)
    checkpoints.save(folder, 8, {**opened.tensors, **changed}, state)


def test_weights_that_are_not_finite_are_named(run_folder):
    name = "discriminator_predictions/dense/bias"
    save_weights(run_folder, {}, **{name: np.full(16, np.nan, np.float32)})
    with pytest.raises(ValueError, match=f"ckpt-8.safetensors: {name} holds numbers that are not"):
        electra.load(run_folder).detect("w5")


def test_a_vocabulary_cut_short_is_noticed(run_folder, model):
    save_weights(run_folder, {"vocab_sha256": model.vocab.sha256})
    assert electra.load(run_folder).step == 8
    (run_folder / "vocab.txt").write_text("\n".join(model.vocab.tokens[:-1]))
    with pytest.raises(ValueError, match="vocab.txt is not the vocabulary that .*39 tokens are"):
        electra.load(run_folder)


def test_a_vocabulary_larger_than_the_table_is_refused(run_folder, model):
    (run_folder / "vocab.txt").write_text("\n".join([*model.vocab.tokens, "dog"]))
    with pytest.raises(ValueError, match="holds 41 tokens, the model's word table 40"):
        electra.load(run_folder)


@pytest.mark.parametrize("words", [{}, {"electra/embeddings/word_embeddings": np.zeros(9, "f")}])
def test_a_checkpoint_without_the_official_shapes_is_refused(tmp_path, words):
    kernel = {"electra/encoder/layer_0/attention/self/query/kernel": np.zeros((4, 4), "f")}
    checkpoints.save(tmp_path, 1, {**kernel, **words}, {})
    with pytest.raises(ValueError, match="is no ELECTRA checkpoint: .*Expected: the official"):
        electra.load(tmp_path)


def test_a_checkpoint_of_another_size_is_refused(run_folder):
    change_hparams(run_folder, vocab_size=41)
    with pytest.raises(ValueError, match="word_embeddings has shape"):
        electra.load(run_folder).encode("w5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("3", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is damaged: it lacks model_size, vocab_size"),
    ],
)
def test_damaged_hparams_are_named(run_folder, text, message):
    (run_folder / "hparams.json").write_text(text)
    with pytest.raises(ValueError, match=f"hparams.json {message}"):
        electra.load(run_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[({"max_seq_length": x}, "'?max_seq_length'? ") for x in ("16", None, 16.0, 513, 1)],
        *[({"vocab_size": x}, "'vocab_size' must be ") for x in ("40", None, 10**9)],
        ({"model_size": [1]}, "'model_size' must be one of"),
        ({"model_hparam_overrides": [1]}, "'model_hparam_overrides' must be a dict"),
        ({"model_hparam_overrides": {"foo": 1}}, "model_hparam_overrides: 'foo' is unknown"),
        ({"do_lower_case": "yes"}, "'do_lower_case' must be true or false"),
    ],
)
def test_impossible_hparams_are_named(run_folder, change, message):
    change_hparams(run_folder, **change)
    with pytest.raises(ValueError, match=f"hparams.json is damaged: .*{message}"):
        electra.load(run_folder)


def test_a_folder_of_trials_names_them(tmp_path):
    (tmp_path / "finetuning_models" / "my_model_1").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="but trials of .*my_model_1 in .*finetuning_model"):
        electra.load(tmp_path)


def test_a_folder_without_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        electra.load(tmp_path)


def test_parts_of_a_stream_give_the_same_with_few_programs(tmp_path):
    folder, random = write_finetuned(tmp_path, names=("topic",)), np.random.default_rng(0)
    whole, stream = (electra.load(folder, streaming=streaming) for streaming in (False, True))
    for number in random.integers(300, 900, 12):
        rows = [" ".join(["w5"] * length) for length in random.integers(1, 12, number)]
        expected = [row["probabilities"]["no"] for row in whole.predict(rows)]
        found = [row["probabilities"]["no"] for row in stream.predict(rows)]
        np.testing.assert_allclose(found, expected, atol=2e-3)  # bfloat16, where it is fast
    few, many = (
        sum(program.experimental_get_tracing_count() for program in programs.values())
        for programs in (m._finetuned._predictor._predictor._programs for m in (stream, whole))
    )
    assert few <= 8 < many


def test_loading_says_nothing(pretrained):
    code = f"import electra; print(electra.load({str(pretrained)!r}).encode('w5').shape)"
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        env=environment,
    )
    assert (done.stdout, done.stderr) == ("(16,)\n", "")


# ---- official checkpoints -----------------------------------------------------------------------

CASES = sorted(path.parent for path in FIXTURES.glob("pretrain/*/config.json"))


def load_official(case, folder):
    """Loads a checkpoint of the official code; its shapes tell all but the number of heads."""
    for file in [*case.glob("model.ckpt*"), case / "checkpoint", case.parent / "vocab.txt"]:
        (folder / file.name).symlink_to(file.resolve())
    sizes = json.loads((case / "config.json").read_text())["resolved_transformer"]
    overrides = {"num_attention_heads": sizes["num_attention_heads"]}
    return electra.load(folder, precision="float32", hparams={"model_hparam_overrides": overrides})


@needs_fixtures
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_official_checkpoints_give_the_official_vectors(case, tmp_path):
    model = load_official(case, tmp_path)
    with np.load(case / "batch_0.npz") as batch:
        tower, ids = "disc", "expected/corrupted_input_ids"
        if model._opened.config.objective == "mlm":
            tower, ids = "gen", "masked_input_ids"
        inputs = {"input_ids": ids, "input_mask": "input_mask", "segment_ids": "segment_ids"}
        counts = batch["input_mask"].sum(axis=1)
        features = collect(
            {"example": row, **{k: batch[v][row, :n].tolist() for k, v in inputs.items()}}
            for row, n in enumerate(counts)
        )
        encode = functools.partial(forward.encode, model._network, output="states")
        found = {"states": model._run("states", encode, features, 2)["states"]}
        expected = {"states": batch[f"expected/{tower}_sequence_output"]}
        if model._opened.config.objective == "electra":
            detect = functools.partial(forward.detect, model._network)
            found |= model._run("scores", detect, features, 2)
            expected["scores"] = batch["expected/disc_probs"]
        for name, official in expected.items():
            for mine, theirs, n in zip(found[name], official, counts, strict=True):
                assert_close(mine[:n], theirs[:n], TENSOR, name=name)


@pytest.mark.parametrize("path", [None, 1, b"x"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="A model is opened by its path, a string. Received"):
        electra.load(path)
