"""An exported model, in a process that has TensorFlow only, gives what the loaded model gives."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import electra
from electra.model import kernels
from electra.serve import export as export_module
from electra.serve.signatures import cut, framed
from electra.text.vocab import Vocabulary
from tests.serve.models import write_finetuned, write_pretrained
from tests.shared import ROOT
from tests.text.tiny import TINY

LONG = " ".join(f"w{5 + i % 30}" for i in range(40))
TEXTS = ["W5 w6\xa0w7", "w8", LONG, "w5 Élan 汉字 w6", ""]
MASKED = ["w5 [MASK] w6", "[MASK]w7, [MASK] w8 [mask]", "w9 [MASK]"]
SENTENCES = ["w5 w6 Unknown!", "w5 \u200b w6", LONG, "w7"]
PAIRS = (["w5 w6", LONG, LONG, "w7"], ["w7", LONG, "", "w8 " + LONG])
QUESTIONS = (["w5 w6 w7 w8 w9", "w5"], ["w9  w10, w11", LONG])
IDS = {
    "input_ids": [[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]],
    "input_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]],
    "segment_ids": [[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]],
}
# What the process without electra runs: {file: [signature, inputs]} enters, outputs leave.
CLIENT = """
import json, sys
import tensorflow as tf
found = {}
for name, (folder, signature, inputs) in json.load(open(sys.argv[1])).items():
    loaded = tf.saved_model.load(folder)
    function = loaded.signatures[signature]
    types = function.structured_input_signature[1]
    outputs = function(**{k: tf.constant(v, types[k].dtype) for k, v in inputs.items()})
    found[name] = {k: v.numpy() for k, v in outputs.items()}
assert not {"electra", "keras_nlp", "tensorflow_text"} & sys.modules.keys()
result = {name: {k: v.tolist() for k, v in outputs.items()} for name, outputs in found.items()}
print(json.dumps(result, default=bytes.decode))
"""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return electra.load(write_pretrained(tmp_path_factory.mktemp("pre")), precision="float32")


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    return electra.load(write_finetuned(tmp_path_factory.mktemp("fine")), precision="float32")


@pytest.fixture(scope="module")
def paired(finetuned):
    """The topic task, whose rows have two texts."""
    task = finetuned.tasks["topic"]
    (source,) = task.sources["train"]
    source = dataclasses.replace(source, columns={"text_a": 0, "text_b": 1})
    finetuned.tasks["topic"] = dataclasses.replace(task, sources={"train": (source,)})
    yield finetuned
    finetuned.tasks["topic"] = task


@pytest.fixture(scope="module")
def served(tmp_path_factory, pretrained, finetuned):
    """What the exported models give, by "task", of strings, and "task of ids"."""
    folder = tmp_path_factory.mktemp("served")
    inputs = {"fill_mask": {"text": MASKED}, "chunk": {"text": SENTENCES}}
    inputs["ask"] = dict(zip(("question", "context"), QUESTIONS, strict=True))
    requests = {}
    models = {**dict.fromkeys(("encode", "detect", "fill_mask"), pretrained)}
    models |= dict.fromkeys(finetuned.tasks, finetuned)
    for task, model in models.items():
        written = model.export(folder / task, task=task, top_k=3)
        assert written == str(folder / task / "1")
        requests[task] = written, "serving_default", inputs.get(task, {"text": TEXTS})
        requests[f"{task} of ids"] = written, "ids", IDS
    written = pretrained.export(folder / "bf16", precision="bfloat16", outputs=["cls"])
    requests["bfloat16"] = written, "serving_default", {"text": TEXTS}
    (folder / "requests.json").write_text(json.dumps(requests))
    command = [sys.executable, "-c", CLIENT, str(folder / "requests.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def _near(found, expected, atol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def _heads(model, task, batch):
    """What the loaded model's head gives of a batch."""
    batch = {name: tf.constant(values, tf.int32) for name, values in batch.items()}
    with kernels.use_islands(False):
        return {k: v.numpy() for k, v in model._network(batch, tasks=[task])[task].items()}


def test_encoding_equals(served, pretrained):
    outputs = served[1]["encode"]
    assert sorted(outputs) == ["cls", "last_hidden_state", "mean", "tokens"]
    _near(outputs["cls"], pretrained.encode(TEXTS))
    _near(outputs["mean"], pretrained.encode(TEXTS, pooling="mean"))
    vectors = pretrained.encode(TEXTS, per_token=True)
    rows = zip(outputs["tokens"], outputs["last_hidden_state"], vectors, strict=True)
    for tokens, states, expected in rows:
        assert tokens == expected.tokens + [""] * (16 - len(expected.tokens))
        _near(states[: len(expected.tokens)], expected.vectors)


def test_bfloat16_is_near(served, pretrained):
    (name,) = served[1]["bfloat16"]
    found = served[1]["bfloat16"][name]
    assert name == "cls" and np.abs(found).max() > 1
    # Numbers of order one with 8 bits each, which the loaded model rounds at other places.
    loaded = electra.load(pretrained._opened.path, precision="bfloat16")
    _near(found, loaded.encode(TEXTS), atol=0.05)
    _near(found, pretrained.encode(TEXTS), atol=0.05)
    assert not np.allclose(found, served[1]["encode"]["cls"], atol=1e-5)


def test_scores_of_tokens_equal(served, pretrained):
    outputs, texts = served[1]["detect"], [TEXTS[i] for i in (0, 1, 3)]
    for i, expected in zip((0, 1, 3), pretrained.detect(texts), strict=True):
        assert outputs["tokens"][i][1 : len(expected) + 1] == [token for token, _ in expected]
        _near(outputs["replaced_scores"][i][1 : len(expected) + 1], [s for _, s in expected])


def test_guesses_equal(served, pretrained):
    outputs = served[1]["fill_mask"]
    expected = pretrained.fill_mask(MASKED, top_k=3)
    assert [len(guesses) for guesses in expected] == [1, 2, 1]
    for i, guesses in enumerate(expected):
        for m, row in enumerate(guesses):
            assert outputs["tokens"][i][m] == [token for token, _ in row]
            _near(outputs["probabilities"][i][m], [p for _, p in row])
    assert outputs["tokens"][0][1] == [""] * 3 and outputs["positions"][0] == [2, -1]
    assert served[1]["fill_mask of ids"]["token_ids"] == [[], []]


def test_labels_equal(served, finetuned):
    outputs, expected = served[1]["topic"], finetuned.predict(TEXTS, "topic")
    assert outputs["label"] == [row["label"] for row in expected]
    assert outputs["labels"] == [["no", "yes"]] * len(TEXTS)
    probabilities = [list(row["probabilities"].values()) for row in expected]
    _near(outputs["probabilities"], probabilities)
    _near(tf.nn.softmax(outputs["logits"]), probabilities)


def test_values_equal(served, finetuned):
    expected = [row["value"] for row in finetuned.predict(TEXTS, "grade")]
    assert list(served[1]["grade"]) == ["value"]
    _near(served[1]["grade"]["value"], expected)


def test_tags_of_words_equal(served, finetuned):
    outputs, expected = served[1]["chunk"], finetuned.predict(SENTENCES, "chunk")
    for words, tags, row in zip(outputs["words"], outputs["tags"], expected, strict=True):
        padding = [""] * (40 - len(row["words"]))
        assert words == [*row["words"], *padding]
        assert tags == [*row["tags"], *padding]
    assert np.shape(outputs["probabilities"]) == (4, 40, 5)


def test_scores_of_answers_equal(served, finetuned):
    outputs, task = served[1]["ask"], finetuned.tasks["ask"]
    _, features = finetuned._finetuned._features(task, list(zip(*QUESTIONS, strict=True)))
    windows = features.columns["window"].tolist()
    for i, row in enumerate([place for place, window in enumerate(windows) if window == 0]):
        feature = features.row(row)
        batch = {name: [feature[name]] for name in IDS}
        tokens = [finetuned.vocab.tokens[id_] for id_ in feature["input_ids"]]
        assert [token for token in outputs["tokens"][i] if token] == tokens
        expected = _heads(finetuned, "ask", batch)
        for name in outputs.keys() - {"tokens", "starts", "ends"}:
            _near(outputs[name][i], expected[name][0])
    spans = zip(outputs["starts"][0], outputs["ends"][0], strict=True)
    texts = [QUESTIONS[1][0][start:end] for start, end in spans if start >= 0]
    assert texts == ["w9", "w10", ",", "w11"]
    assert outputs["starts"][0][:6] == [-1] * 6  # [CLS], the first four of the question, [SEP]


@pytest.mark.parametrize("task", ["topic", "chunk", "ask"])
def test_ids_give_what_the_head_gives(served, finetuned, task):
    batch = dict(IDS)
    if task == "chunk":
        batch["chunk_labeled_positions"] = [list(range(5))] * 2
    expected = _heads(finetuned, task, batch)
    outputs = served[1][f"{task} of ids"]
    assert outputs.keys() & expected.keys()
    for name in outputs.keys() & expected.keys():
        _near(outputs[name], expected[name])


def test_a_model_tells_about_itself(served):
    folder = served[0]
    about = json.loads((folder / "topic" / "1" / "assets.extra" / "about.json").read_text())
    assert (about["model"], about["task"], about["labels"]) == ("f", "topic", ["no", "yes"])
    tokens = (folder / "topic" / "1" / "assets.extra" / "vocab.txt").read_text().split("\n")
    assert tokens[:3] == ["[PAD]", "[UNK]", "[CLS]"]


def test_programs_are_made_of_core_operations(served):
    for path in served[0].glob("*/1/saved_model.pb"):
        graph = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs[0].graph_def
        functions = graph.library.function
        assert not any(function.attr["_XlaMustCompile"].b for function in functions)
        nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
        operations = {node.op for node in nodes}
        assert "UnicodeDecode" in operations
        # TensorFlow warns of each when it loads them: their gradients are not saved.
        assert not [node.name for node in nodes if "_gradient_op_type" in node.attr]
        # What a library beside TensorFlow adds has its name before ">", or is one of text's.
        assert not [op for op in operations if ">" in op or "Xla" in op or "Wordpiece" in op]


def test_two_texts_are_read_where_the_task_has_them(paired):
    signature = export_module.signature_of(paired, "topic")
    assert signature.texts == ("text", "text_pair")
    batch, _ = signature.features(*map(tf.constant, PAIRS))
    outputs = signature.outputs(batch)
    expected = paired.predict(list(zip(*PAIRS, strict=True)), "topic")
    _near(outputs["probabilities"], [list(row["probabilities"].values()) for row in expected])


def test_pairs_are_cut_as_the_features_are():
    """A text and its pair of all lengths: the longer one gives way piece by piece."""
    vocab = Vocabulary(TINY)
    for room in (9, 10):
        lengths = [(a, b) for a in range(12) for b in range(12)]
        first = tf.ragged.constant([[5] * a for a, _ in lengths], dtype=tf.int32)
        second = tf.ragged.constant([[6] * b for _, b in lengths], dtype=tf.int32)
        batch = framed(vocab, *cut(first, second, room))
        for row, (a, b) in enumerate(lengths):
            while b and a + b > room - 3:
                a, b = (a - 1, b) if a > b else (a, b - 1)
            expected = [2, *[5] * min(a, room - 2), 3] + [6] * b + [3] * (b > 0)
            count = int(tf.reduce_sum(batch["input_mask"][row]))
            assert batch["input_ids"][row, :count].numpy().tolist() == expected
            segments = [0] * (min(a, room - 2) + 2) + [1] * (len(expected) - min(a, room - 2) - 2)
            assert batch["segment_ids"][row, :count].numpy().tolist() == segments


def test_requests_that_do_not_fit_say_so(served):
    folder = served[0]
    fill = tf.saved_model.load(str(folder / "fill_mask" / "1")).signatures
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"A text has no \[MASK\]"):
        fill["serving_default"](text=tf.constant(["w5"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="longer than the model reads"):
        fill["serving_default"](text=tf.constant([f"[MASK] {LONG}"]))
    ids = tf.ones((1, 600), tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than the 512 tokens"):
        fill["ids"](input_ids=ids, input_mask=ids, segment_ids=ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "cola"}, "task must be one of encode, detect, fill_mask. Received: 'cola'"),
        ({"precision": "int8"}, "precision must be float32 or bfloat16. Received: 'int8'"),
        ({"top_k": 0}, "top_k must be 1 to 40. Received: 0"),
        ({"version": -1}, "version must be a whole number, 0 or above. Received: -1"),
    ],
)
def test_impossible_exports_are_refused(pretrained, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        pretrained.export(tmp_path, **options)


def test_a_task_that_the_model_lacks_is_refused(finetuned, tmp_path):
    with pytest.raises(ValueError, match="task must be one of topic, grade, chunk, ask"):
        finetuned.export(tmp_path, task="encode")
    folder = write_pretrained(tmp_path, uniform_generator=True)
    with pytest.raises(ValueError, match="a pre-trained model: it cannot fill_mask"):
        electra.load(folder).export(tmp_path, task="fill_mask")


def test_unknown_outputs_are_refused(finetuned, tmp_path):
    for outputs in (["scores"], ["label", "logits", "scores"]):
        with pytest.raises(ValueError, match="outputs: .*scores.*none of .*logits"):
            finetuned.export(tmp_path, task="topic", outputs=outputs)
    assert list(tmp_path.iterdir()) == []


def test_versions_count_up_and_failures_leave_nothing(pretrained, tmp_path, monkeypatch):
    (tmp_path / "7").mkdir()
    with pytest.raises(ValueError, match="7 exists. Give another version"):
        pretrained.export(tmp_path, version=7)

    def fail(*_):
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(export_module, "_write_about", fail)
        with pytest.raises(OSError, match="no room"):
            pretrained.export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["7"]


def test_the_command_writes_the_next_version(pretrained, tmp_path):
    command = [sys.executable, "-m", "electra.serve.export", "--outputs=cls"]
    command += [f"--model_dir={pretrained._opened.path}", f"--output_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == f"Wrote {tmp_path}/1\n"
    assert (tmp_path / "1" / "saved_model.pb").exists()
