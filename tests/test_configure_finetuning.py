"""The hparams of fine-tuning: official names and defaults, what travels with a model."""

import json

import pytest

from electra.finetune.config import FinetuningConfig
from electra.finetune.tasks import TASKS
from electra.pretrain.config import PretrainingConfig
from electra.text.vocab import Vocabulary
from tests.pretrain.runs import TOKENS

OFFICIAL = {
    "debug": False,
    "log_examples": False,
    "num_trials": 1,
    "do_train": True,
    "do_eval": True,
    "keep_all_models": True,
    "model_size": "small",
    "task_names": ["chunk"],
    "model_hparam_overrides": {},
    "embedding_size": 128,
    "vocab_size": 30522,
    "do_lower_case": True,
    "learning_rate": 1e-4,
    "weight_decay_rate": 0.01,
    "layerwise_lr_decay": 0.8,
    "num_train_epochs": 3.0,
    "warmup_proportion": 0.1,
    "save_checkpoints_steps": 1000000,
    "iterations_per_loop": 1000,
    "use_tfrecords_if_existing": True,
    "write_test_outputs": False,
    "n_writes_test": 5,
    "max_seq_length": 256,
    "train_batch_size": 32,
    "eval_batch_size": 32,
    "predict_batch_size": 32,
    "double_unordered": True,
    "max_query_length": 64,
    "doc_stride": 128,
    "n_best_size": 20,
    "max_answer_length": 30,
    "answerable_classifier": True,
    "answerable_uses_start_logits": True,
    "answerable_weight": 0.5,
    "joint_prediction": True,
    "beam_size": 20,
    "qa_na_threshold": -2.75,
    "use_tpu": False,
    "num_tpu_cores": 1,
    "tpu_job_name": None,
    "tpu_name": None,
    "tpu_zone": None,
    "gcp_project": None,
    "vocab_file": "D/vocab.txt",
    "init_checkpoint": None,
    "model_dir": "D/models/M/finetuning_models/chunk_model",
    "results_txt": "D/models/M/results/chunk_results.txt",
    "results_pkl": "D/models/M/results/chunk_results.pkl",
    "preprocessed_data_dir": "D/models/M/finetuning_tfrecords/chunk_tfrecords",
}


def config(data_dir="D", **hparams):
    return FinetuningConfig("M", str(data_dir), **hparams)


@pytest.fixture
def pretrained(tmp_path):
    """A data folder whose model M was pre-trained with other sizes than the defaults."""
    model = tmp_path / "models" / "M"
    model.mkdir(parents=True)
    recorded = {
        "model_size": "small",
        "vocab_size": 50,
        "embedding_size": 128,
        "do_lower_case": False,
        "strip_accents": False,
        "learning_rate": 5e-4,
        "max_seq_length": 32,
        "model_hparam_overrides": {"hidden_size": 128, "max_position_embeddings": 300},
    }
    (model / "hparams.json").write_text(json.dumps(recorded))
    return tmp_path


def test_names_and_defaults_are_the_official_ones():
    values = config().to_json()
    assert {name: values[name] for name in OFFICIAL} == OFFICIAL


@pytest.mark.parametrize(
    ("hparams", "expected"),
    [
        ({"task_names": ["cola"]}, {"num_train_epochs": 3, "max_seq_length": 128}),
        ({"task_names": ["rte"]}, {"num_train_epochs": 10, "max_seq_length": 128}),
        ({"task_names": ["sts"]}, {"num_train_epochs": 10}),
        *(
            ({"task_names": [name]}, {"num_train_epochs": 2, "max_seq_length": 512})
            for name, task in TASKS.items()
            if task.family == "qa"
        ),
        ({"model_size": "large"}, {"learning_rate": 5e-5, "layerwise_lr_decay": 0.9}),
        ({"model_size": "large", "learning_rate": 1e-5}, {"learning_rate": 1e-5}),
        ({"model_size": "mini"}, {"learning_rate": 5e-4}),
        ({"model_size": "base"}, {"embedding_size": 768, "learning_rate": 1e-4}),
        ({"task_names": ["rte"], "num_train_epochs": 1}, {"num_train_epochs": 1}),
        ({"task_names": ["cola", "chunk"]}, {"num_train_epochs": 3, "max_seq_length": 256}),
        ({"debug": True}, {"from_scratch": True, "log_examples": True}),
        ({"do_lower_case": False}, {"strip_accents": False}),
    ],
)
def test_defaults_follow_task_and_size(hparams, expected):
    values = config(**hparams).to_json()
    assert {name: values[name] for name in expected} == expected


def test_a_models_sizes_flags_and_vocabulary_travel_with_it(pretrained):
    (pretrained / "vocab.txt").write_text("not the model's")
    result = config(pretrained, model_size="small", task_names=["cola"])
    assert (result.encoder.hidden_size, result.encoder.max_position_embeddings) == (128, 300)
    assert (result.vocab_size, result.do_lower_case, result.strip_accents) == (50, False, False)
    assert (result.learning_rate, result.max_seq_length) == (1e-4, 128)
    assert result.vocab_file == str(pretrained / "vocab.txt")
    (pretrained / "models" / "M" / "vocab.txt").write_text("the model's")
    assert config(pretrained).vocab_file == str(pretrained / "models" / "M" / "vocab.txt")
    elsewhere = FinetuningConfig("N", str(pretrained), init_checkpoint=result.pretrained.path)
    assert elsewhere.encoder == result.encoder
    assert elsewhere.vocab_file == str(pretrained / "models" / "M" / "vocab.txt")
    rates = config(pretrained, model_hparam_overrides={"hidden_dropout_prob": 0.2}).encoder
    assert (rates.hidden_dropout_prob, rates.hidden_size) == (0.2, 128)


@pytest.mark.parametrize(
    "hparams",
    [
        {"model_size": "base"},
        {"vocab_size": 60},
        {"embedding_size": 64},
        {"do_lower_case": True},
        {"strip_accents": True},
        {"model_hparam_overrides": {"hidden_size": 64}},
    ],
)
def test_what_contradicts_the_model_is_refused(pretrained, hparams):
    with pytest.raises(ValueError, match="was pre-trained with .* Leave it out"):
        config(pretrained, **hparams)


def test_all_that_contradicts_the_model_is_in_one_message(pretrained):
    with pytest.raises(ValueError) as error:
        config(pretrained, vocab_size=60, do_lower_case=True)
    for part in ("'vocab_size' is 60, but", "'do_lower_case' is True, but"):
        assert str(error.value).count(part) == 1


def test_from_scratch_another_network_may_be_chosen(pretrained):
    assert config(pretrained, from_scratch=True).encoder.hidden_size == 128
    result = config(pretrained, from_scratch=True, model_hparam_overrides={"hidden_size": 64})
    assert result.encoder.hidden_size == 64


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"lerning_rate": 1}, "'lerning_rate' is unknown. Closest: 'learning_rate'"),
        ({"task_names": "cola"}, "'task_names' must be a list. Received: 'cola'"),
        ({"task_names": ["colla"]}, "Task 'colla' is unknown. Closest: 'cola'"),
        ({"task_names": ["cola", "cola"]}, "holds a task twice"),
        ({"task_names": ["ax"]}, "'ax' has no training data. It is predicted with the model of"),
        ({"do_train": False, "do_eval": False}, "nothing to do"),
        ({"num_trials": 0}, "'num_trials' must be at least 1"),
        ({"num_train_epochs": 1e300}, "'num_train_epochs' must be above 0 and at most 1048576"),
        ({"max_seq_length": 513}, "max_seq_length 513 is more than the position table"),
        ({"model_hparam_overrides": {"hiden_size": 1}}, "'hiden_size' is unknown. Closest"),
        ({"task_files": ["none.json"]}, "none.json"),
        ({"task_names": [5]}, r"'task_names' must be a list of strings. Received: \[5\]"),
        ({"model_size": ["large"]}, r"'model_size' must be one of .* Received: \['large'\]"),
        ({"init_checkpoint": 5}, "'init_checkpoint' must be a string or null. Received: 5"),
        ({"strategy": "multi_worker"}, '\'strategy\' must be one of "auto", "one", "mirrored"'),
        ({"results_txt": "."}, r"results_txt \. is a folder"),
    ],
)
def test_what_makes_no_sense_is_refused(hparams, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        config(**hparams)


def test_a_vocabulary_of_another_size_than_the_word_table_is_refused(tmp_path):
    vocab = Vocabulary(TOKENS)
    with pytest.raises(ValueError, match=f"holds {len(TOKENS)} tokens, the word table 30522"):
        config(tmp_path).check_vocab(vocab)
    config(tmp_path, vocab_size=len(TOKENS)).check_vocab(vocab)
    config(tmp_path, vocab_size=len(TOKENS) + 8).check_vocab(vocab)  # rows that nothing uses
    with pytest.raises(ValueError, match=f"the word table {len(TOKENS) - 1}. Set vocab_file"):
        config(tmp_path, vocab_size=len(TOKENS) - 1).check_vocab(vocab)


def test_a_models_own_vocabulary_must_fit_its_word_table(pretrained):
    tokens = [*TOKENS, *(f"more{i}" for i in range(51 - len(TOKENS)))]
    (pretrained / "models" / "M" / "vocab.txt").write_text("\n".join(tokens) + "\n")
    with pytest.raises(ValueError, match="holds 51 tokens, the word table 50. Set vocab_file"):
        config(pretrained).check_vocab(Vocabulary(tokens))


def test_two_task_files_may_not_name_one_task(tmp_path):
    row = {"name": "my", "family": "qa", "files": {"train": "a.json"}}
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path in paths:
        with open(path, "w") as file:
            json.dump(row, file)
    with pytest.raises(ValueError, match="Two of the task_files have a task 'my'"):
        config(task_files=paths, task_names=["my"])


def test_a_config_is_frozen_and_replaced(tmp_path):
    result = config(tmp_path, task_names=["cola"])
    with pytest.raises(AttributeError, match="FinetuningConfig is frozen: vocab_file cannot be"):
        result.vocab_file = "v.txt"
    other = result.replace(vocab_file="v.txt", precision="float32")
    assert (other.vocab_file, other.precision, other.given) == ("v.txt", "float32", {"task_names"})
    assert other.replace(precision="bfloat16").vocab_file == "v.txt"


def test_what_is_written_goes_to_output_dir(tmp_path):
    result = config(tmp_path, output_dir="out")
    assert result.pretrained.path == str(tmp_path / "models" / "M")
    assert result.model_dir == "out/finetuning_models/chunk_model"
    assert result.results_txt == "out/results/chunk_results.txt"


def test_a_task_file_brings_its_task_and_its_defaults(tmp_path):
    row = {
        "name": "my",
        "family": "classification",
        "files": {"train": "a.tsv"},
        "columns": {"text_a": 0, "label": 1},
        "hparams": {"num_train_epochs": 7},
    }
    path = tmp_path / "my.json"
    path.write_text(json.dumps(row))
    result = config(task_files=[str(path)])
    assert (result.task_names, result.num_train_epochs) == (["my"], 7)
    path.write_text(json.dumps(row | {"hparams": {"num_train_epoch": 7}}))
    with pytest.raises(ValueError, match="Task 'my': hparam 'num_train_epoch' is unknown"):
        config(task_files=[str(path)])
    path.write_text(json.dumps(row | {"hparams": {"model_size": "large"}}))
    with pytest.raises(ValueError, match=r"Task 'my': \['model_size'\] are no task's"):
        config(task_files=[str(path)])


def test_a_task_sets_numbers_and_switches_of_training_and_no_place(tmp_path):
    row = {"name": "my", "family": "qa", "files": {"train": "a.json"}}
    path = tmp_path / "my.json"
    for name, field in FinetuningConfig.fields.items():
        if field.of_task:  # what is written, read, run or run on is named by strings
            assert set(field.kinds) <= {int, float, bool} and not field.choices, name
            continue
        path.write_text(json.dumps(row | {"hparams": {name: field.default}}))
        with pytest.raises(ValueError, match=rf"\['{name}'\] are no task's. .* beam_size, dev_f"):
            config(task_files=[str(path)])
    for names in (["my"], ["my", "squad"]):
        path.write_text(json.dumps(row | {"hparams": {"max_seq_length": "x"}}))
        with pytest.raises(ValueError, match="Task 'my': hparam 'max_seq_length' must be a whole"):
            config(task_files=[str(path)], task_names=names)


@pytest.mark.parametrize("kind", [FinetuningConfig, PretrainingConfig])
def test_recorded_hparams_make_the_same_config(kind):
    recorded = kind("M", "D", max_seq_length=64).to_json()
    hparams = {name: value for name, value in recorded.items() if name != "model_name"}
    assert kind("M", "D", **hparams).to_json() == recorded


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_size", [1]),
        ("vocab_size", None),
        ("model_hparam_overrides", None),
        ("do_lower_case", "yes"),
    ],
)
def test_an_odd_record_is_named_with_its_file(pretrained, name, value):
    (pretrained / "models" / "M" / "hparams.json").write_text(json.dumps({name: value}))
    message = f"models/M/hparams.json is damaged: hparam '{name}' must be"
    with pytest.raises(ValueError, match=message):
        config(pretrained)
