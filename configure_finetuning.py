"""Every fine-tuning hparam: its default, unit and source, and what must hold between them.

Enters: `--model_name`, `--data_dir` and the dict of `--hparams`. Leaves: a FinetuningConfig that
has checked itself. `python configure_finetuning.py` prints the table of hparams in Markdown.
"""

import dataclasses
import os
import sys

from configure_pretraining import LARGEST, PretrainingConfig, RunConfig
from electra.door import exit_status
from electra.finetune.tasks import get_task, read_task_file
from electra.hparams import Knob, checked_record, refuse_unknown
from electra.saving.folder import OF_MODEL, ModelFolder
from electra.text.vocab import read_vocab

# What `debug` stands for; hparams given beside it win.
DEBUG = {
    "num_trials": 1,
    "iterations_per_loop": 1,
    "log_every_steps": 1,
    "train_batch_size": 32,
    "num_train_epochs": 3.0,
    "use_tfrecords_if_existing": False,
    "log_examples": True,
    "from_scratch": True,
}
LARGE = {"learning_rate": 5e-5, "layerwise_lr_decay": 0.9}  # defaults of the large model
# Fields of EncoderConfig that fine-tuning may change: they are no sizes.
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")
_PRETRAINING = PretrainingConfig.knobs


class FinetuningConfig(RunConfig):
    """Settings of one fine-tuning run: its trials and tasks.

    Args:
        model_name: names the pre-trained model's folder under data_dir.
        data_dir: root of the data layout.
        **hparams: any of the knobs below; they win over every derived default.
    Attributes: one per knob, and
        given: frozenset of the hparams' names.
        tasks: list of Task, in the order of task_names.
        encoder: EncoderConfig.
        pretrained: path of the checkpoint, or of a folder of checkpoints, to start from.
        recorded: dict, the hparams of the pre-training run; {} where it left none (TF1).
    Raises:
        ValueError: an unknown name or task, a wrong type, an impossible value, or one that
            contradicts the pre-trained model.
        FileNotFoundError: a task file is missing.
    Source: configure_finetuning.py of the official code. Differs from source: sizes, case and
        accent flags travel with the model; every QA task has the QA defaults; several tasks get
        the longest of their lengths; results are JSON.
    """

    elsewhere = "output_dir"

    # --- what to do ---
    debug = Knob(False, "A run from scratch with a line a step.", may_change=True)
    log_examples = Knob(False, "Log some training examples.", may_change=True)
    num_trials = Knob(
        1,
        "Runs with the seeds seed, seed + 1, ...",
        unit="trials",
        at_least=1,
        at_most=LARGEST,
        may_change=True,
        of_task=True,
    )
    do_train = Knob(True, "Train; finished trials are not run again.", may_change=True)
    do_eval = Knob(True, "Score on the dev files.", may_change=True)
    do_predict = Knob(
        False, "Predict predict_files with the best trial's model.", source="ours", may_change=True
    )
    keep_all_models = Knob(True, "Keep every trial's model; false: the best.", may_change=True)
    retry_collapsed = Knob(
        False,
        "Repeat a collapsed trial with another seed. The table and the mean keep it; its retry "
        "is reported apart.",
        source="ours",
        may_change=True,
    )
    ensemble = Knob(
        False, "Score the mean of the trials' outputs too.", source="ours", may_change=True
    )
    seed = Knob(
        0,
        "Of the first trial: new weights, order, dropout.",
        source="ours",
        at_least=0,
        at_most=2**30,
        of_task=True,
    )

    # --- tasks ---
    task_names = Knob(["chunk"], "Tasks to learn, several of them together.")
    task_files = Knob(
        [], "JSON files with tasks of your own; see make_task.", source="ours", may_change=True
    )
    language = Knob("es", "Language of tasks that have files for several.", source="ours")
    max_train_examples = Knob(
        None,
        "Train on so many examples of each task, drawn at random; null: on all.",
        unit="examples",
        source="ours",
        kinds=(int,),
        at_least=1,
        of_task=True,
    )

    # --- network: as pre-trained ---
    init_checkpoint = Knob(
        None,
        "Checkpoint, or folder of checkpoints, to start from. null: D/models/M",
        may_change=True,
    )
    from_scratch = Knob(
        False, "Draw all weights anew: the same network, not pre-trained.", source="ours"
    )

    # --- optimization ---
    learning_rate = Knob(1e-4, "Highest learning rate; large: 5e-5.", above=0, of_task=True)
    layerwise_lr_decay = Knob(
        0.8,
        "Rate of a layer as a share of the one above; large: 0.9; 0: no such decay.",
        at_least=0,
        at_most=1,
        of_task=True,
    )
    num_train_epochs = Knob(
        3.0, "Passes over the data; rte and sts: 10, QA: 2.", unit="epochs", above=0, of_task=True
    )
    warmup_proportion = Knob(
        0.1, "Warm-up as a share of the steps.", at_least=0, at_most=1, of_task=True
    )

    # --- training ---
    iterations_per_loop = dataclasses.replace(_PRETRAINING["iterations_per_loop"], default=1000)
    save_checkpoints_steps = dataclasses.replace(
        _PRETRAINING["save_checkpoints_steps"], default=1000000
    )
    save_checkpoints_seconds = Knob(
        300,
        "Seconds between checkpoints, from which a killed trial goes on.",
        unit="seconds",
        source="ours",
        at_least=0,
        may_change=True,
    )
    use_tfrecords_if_existing = Knob(
        True,
        "Use featurised data of an earlier run where nothing that shaped it changed.",
        may_change=True,
    )

    # --- predictions ---
    write_test_outputs = Knob(
        False, "Write predictions of the test files as the leaderboards take them.", may_change=True
    )
    n_writes_test = Knob(
        5,
        "Test predictions are written for the first so many trials.",
        unit="trials",
        at_least=1,
        may_change=True,
    )
    test_predictions = Knob(
        None, "Folder of predictions. null: D/models/M/test_predictions", may_change=True
    )

    predict_files = Knob(
        [],
        "Files to predict, labels not needed, laid out as the task's own; of several tasks a "
        "dict of such lists.",
        source="ours",
        kinds=(list, dict),
        may_change=True,
    )

    # --- sizes ---
    max_seq_length = Knob(
        128, "Longest example L; chunk, csl: 256, QA: 512.", unit="tokens", at_least=5, of_task=True
    )
    train_batch_size = Knob(
        32, "Examples of an update.", unit="examples", at_least=1, at_most=LARGEST, of_task=True
    )
    eval_batch_size = Knob(
        32,
        "Examples of max_seq_length scored at once; mostly more of shorter ones.",
        unit="examples",
        at_least=1,
        at_most=LARGEST,
        may_change=True,
        of_task=True,
    )
    predict_batch_size = Knob(
        32,
        "Examples of max_seq_length predicted at once; mostly more of shorter ones.",
        unit="examples",
        at_least=1,
        at_most=LARGEST,
        may_change=True,
        of_task=True,
    )
    double_unordered = Knob(True, "Train mrpc and sts on both orders of the texts.", of_task=True)

    # --- question answering ---
    max_query_length = Knob(64, "Longest question.", unit="tokens", at_least=1, of_task=True)
    doc_stride = Knob(
        128, "Distance between the starts of two windows.", unit="tokens", at_least=1, of_task=True
    )
    n_best_size = Knob(20, "Answers kept of a question.", unit="answers", at_least=1, of_task=True)
    max_answer_length = Knob(30, "Longest answer.", unit="tokens", at_least=1, of_task=True)
    answerable_classifier = Knob(True, "Score whether a question has an answer.", of_task=True)
    answerable_uses_start_logits = Knob(
        True, "The answerable score also uses the likely starts.", of_task=True
    )
    answerable_weight = Knob(
        0.5, "Weight of the answerable score's loss.", at_least=0, of_task=True
    )
    joint_prediction = Knob(True, "The end of an answer is scored given its start.", of_task=True)
    beam_size = Knob(20, "Starts, and ends of each, that are tried.", at_least=1, of_task=True)
    qa_na_threshold = Knob(
        -2.75, "Null odds above which a question counts as unanswered.", of_task=True
    )

    # --- devices ---
    strategy = dataclasses.replace(
        _PRETRAINING["strategy"],
        choices=("auto", "one", "mirrored", "tpu"),
        help="How devices share the work. auto: tpu with use_tpu, mirrored with several GPUs, else "
        "one.",
    )

    # --- places; null: from data_dir (D), model_name (M) and the names of the tasks (T) ---
    output_dir = Knob(
        None, "Folder for all that is written. null: D/models/M", source="ours", may_change=True
    )
    vocab_file = Knob(
        None,
        "Vocabulary. null: vocab.txt beside init_checkpoint, in D/models/M, or in D",
        may_change=True,
    )
    raw_data_dir = Knob(None, "The tasks' folders. null: D/finetuning_data", may_change=True)
    preprocessed_data_dir = Knob(
        None, "Featurised data. null: D/models/M/finetuning_tfrecords/T_tfrecords", may_change=True
    )
    model_dir = Knob(
        None,
        "Prefix of the trials' folders; _1, _2, ... follow. null: "
        "D/models/M/finetuning_models/T_model",
        may_change=True,
    )
    results_txt = Knob(
        None,
        "Scores as text, and beside it as JSON. null: D/models/M/results/T_results.txt",
        may_change=True,
    )
    qa_eval_file = Knob(
        None,
        "QA scores of the best trial; {:} is the task. null: D/models/M/results/T_qa/{:}_eval.json",
        may_change=True,
    )
    qa_preds_file = Knob(
        None, "QA answers of the best trial. null: .../T_qa/{:}_preds.json", may_change=True
    )
    qa_na_file = Knob(
        None, "QA null odds of the best trial. null: .../T_qa/{:}_null_odds.json", may_change=True
    )

    def __init__(self, model_name, data_dir, **hparams):
        self.model_name = model_name
        self.data_dir = os.fspath(data_dir)
        refuse_unknown(hparams, self.knobs)
        for name, value in hparams.items():
            self.knobs[name].checked(name, value)
        names, files = (hparams.get(name, []) for name in ("task_names", "task_files"))
        for name, values in (("task_names", names), ("task_files", files)):
            if not all(type(each) is str and "\0" not in each for each in values):
                raise ValueError(f"hparam {name!r} must be a list of strings. Received: {values}")
        own = [read_task_file(path) for path in files]
        names = names or [task.name for task in own] or ["chunk"]
        self.tasks = [get_task(name, own) for name in names]
        home = os.path.join(self.data_dir, "models", model_name)
        self.pretrained = hparams.get("init_checkpoint") or home
        self.recorded = ModelFolder.of(self.pretrained).recorded() or {}
        derived = {"task_names": names, **self._of_model(hparams)}
        if hparams.get("model_size", derived.get("model_size")) == "large":
            derived |= LARGE
        derived |= _of_tasks(self.tasks)
        if hparams.get("debug") is True:
            derived |= DEBUG
        self.fill(hparams, derived)
        if self.strip_accents is None:
            self.strip_accents = self.do_lower_case
        self._fill_network()
        self._fill_places(home)
        self._check()

    def check_vocab(self, vocab):
        """Compares the vocabulary with the pre-trained model's.

        Args:
            vocab: Vocabulary.
        Raises:
            ValueError: it is another vocabulary, or does not fit the size of the word table.
        """
        beside = ModelFolder.of(self.pretrained).vocab_file
        of_model = vocab
        if not self.from_scratch and os.path.exists(beside):
            of_model = read_vocab(beside)
        if of_model.sha256 != vocab.sha256:
            raise ValueError(
                f"{self.vocab_file} is not the vocabulary this model was trained with, {beside}. "
                "Leave vocab_file out"
            )
        unused = self.vocab_size - len(vocab)
        if unused < 0 or (unused and "vocab_size" not in {*self.given, *self.recorded}):
            raise ValueError(
                f"{self.vocab_file} holds {len(vocab)} tokens, the word table {self.vocab_size}. "
                "Set vocab_file to the vocabulary of the pre-trained model, or vocab_size to the "
                "rows of its word table"
            )

    def _of_model(self, hparams):
        """Returns what the pre-trained model has fixed. Raises: ValueError for a contradiction."""
        fixed = checked_record(
            self.recorded, OF_MODEL, _PRETRAINING, ModelFolder.of(self.pretrained).path
        )
        for name, value in fixed.items():
            given = hparams.get(name)
            if name != "model_hparam_overrides" and given not in (None, value):
                self._refuse(name, given, value, hparams)
        return fixed

    def _fill_network(self):
        """Resolves the encoder; rates of dropout may be other than in pre-training."""
        before = self.recorded.get("model_hparam_overrides", {})
        if self.from_scratch and "model_hparam_overrides" in self.given:
            before = {}
        self.model_hparam_overrides = {**before, **self.model_hparam_overrides}
        encoder = self.make_encoder(self.model_hparam_overrides)
        if self.recorded:
            old, new = (dataclasses.asdict(each) for each in (self.make_encoder(before), encoder))
            for name in sorted(set(old) - set(_RATES)):
                if old[name] != new[name]:
                    self._refuse(name, new[name], old[name], {"from_scratch": self.from_scratch})
        self.set_encoder(encoder)

    def _refuse(self, name, given, value, hparams):
        if hparams.get("from_scratch") is not True:
            raise ValueError(
                f"hparam {name!r} is {given!r}, but the model in {self.pretrained} was "
                f"pre-trained with {value!r}. Leave it out: it is taken over"
            )

    def _fill_places(self, home):
        tasks = ",".join(self.task_names)
        folders = (ModelFolder.of(self.pretrained), *map(ModelFolder, (home, self.data_dir)))
        files = [folder.vocab_file for folder in folders]
        found = [path for path in files if os.path.exists(path)]
        self.vocab_file = self.vocab_file or (found or files[-1:])[0]
        home = self.output_dir or home
        places = {
            "raw_data_dir": (self.data_dir, "finetuning_data"),
            "preprocessed_data_dir": (home, "finetuning_tfrecords", f"{tasks}_tfrecords"),
            "model_dir": (home, "finetuning_models", f"{tasks}_model"),
            "results_txt": (home, "results", f"{tasks}_results.txt"),
            "test_predictions": (home, "test_predictions"),
            "results_pkl": (home, "results", f"{tasks}_results.pkl"),
            "qa_eval_file": (home, "results", f"{tasks}_qa", "{:}_eval.json"),
            "qa_preds_file": (home, "results", f"{tasks}_qa", "{:}_preds.json"),
            "qa_na_file": (home, "results", f"{tasks}_qa", "{:}_null_odds.json"),
        }
        for name, parts in places.items():
            setattr(self, name, getattr(self, name) or os.path.join(*parts))

    def _check(self):
        """Checks the values against each other. Raises: ValueError."""
        self.check_run()
        if len(set(self.task_names)) < len(self.task_names):
            raise ValueError(f"task_names holds a task twice: {self.task_names}")
        for task in self.tasks:
            if self.do_train and "train" not in task.sources:
                of = f"It is predicted with the model of {task.model_of!r}"
                advice = of if task.model_of else "Name its train file, or set do_train to false"
                raise ValueError(f"Task {task.name!r} has no training data. {advice}")
        if not (self.do_train or self.do_eval or self.do_predict or self.write_test_outputs):
            raise ValueError(
                "do_train, do_eval, do_predict and write_test_outputs are false: nothing to do. "
                "Set one to true"
            )
        self._check_predict_files()

    def _check_predict_files(self):
        """Makes predict_files a dict task -> list of paths. Raises: ValueError."""
        names, given = self.task_names, self.predict_files
        if type(given) is list and (len(names) == 1 or not given):
            given = dict.fromkeys(names, given)
        is_right = (
            type(given) is dict
            and set(given) <= set(names)
            and all(
                type(paths) is list and all(type(path) is str for path in paths)
                for paths in given.values()
            )
        )
        if not is_right or (self.do_predict and not any(given.values())):
            raise ValueError(
                "do_predict wants predict_files: a list of paths, of several tasks a dict with a "
                f"list for each of {', '.join(names)}. Received: {self.predict_files!r}"
            )
        self.predict_files = given


def _of_tasks(tasks):
    """Returns the defaults of the tasks' rows; of several tasks the longest length only."""
    knobs = FinetuningConfig.knobs
    allowed = sorted(name for name, each in knobs.items() if each.of_task)
    for task in tasks:
        where = f"Task {task.name!r}: "
        refuse_unknown(task.hparams, knobs, f"{where}hparam")
        if wrong := sorted(set(task.hparams) - set(allowed)):
            raise ValueError(
                f"{where}{wrong} are no task's. Give them with --hparams. Expected of a task: "
                f"{', '.join(allowed)}"
            )
        for name, value in task.hparams.items():
            try:
                knobs[name].checked(name, value)
            except ValueError as error:
                raise ValueError(f"{where}{error}") from None
    if len(tasks) == 1:
        return dict(tasks[0].hparams)
    lengths = [task.hparams.get("max_seq_length", 0) for task in tasks]
    return {"max_seq_length": max(*lengths, knobs["max_seq_length"].default)}


if __name__ == "__main__":
    sys.exit(exit_status(lambda: print(FinetuningConfig.markdown())))
