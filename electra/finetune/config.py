"""Every fine-tuning hparam: its default, unit and source, and what must hold between them.

Enters: `--model_name`, `--data_dir` and the dict of `--hparams`. Leaves: a FinetuningConfig that
has checked itself. `python configure_finetuning.py` prints the table of hparams in Markdown.
"""

import dataclasses
import os
from collections.abc import Sized
from typing import Any

from electra.cloud import mirror
from electra.finetune.checks import are_strings, checked
from electra.finetune.defaults import DEBUG, Pretrained, defaults_of_tasks
from electra.finetune.readers import pull_files
from electra.finetune.task_files import read_task_file
from electra.finetune.tasks import get_task
from electra.hparams import Field
from electra.train.config import COUNT, EXAMPLES, LARGEST, SHARE, STEPS, Place, RunConfig


class FinetuningConfig(RunConfig):
    """Settings of one fine-tuning run: its trials and tasks.

    Args: as in RunConfig.
    Attributes: one per field, and
        given: frozenset of the hparams' names.
        tasks: list of Task, in the order of task_names.
        encoder: EncoderConfig.
        pretrained: electra.finetune.defaults.Pretrained, the model to start from.
    Raises:
        ValueError: an unknown name or task, a wrong type, an impossible value, or one that
            contradicts the pre-trained model.
        FileNotFoundError: a task file is missing.
    Source: configure_finetuning.py of the official code. Differs from source: sizes, case and
        accent flags travel with the model; every QA task has the QA defaults; several tasks get
        the longest of their lengths; results are JSON.
    """

    folder_hparam, pretrains = "output_dir", False

    # --- what to do ---
    debug = Field(False, "A run from scratch with a line a step.", may_change=True)
    log_examples = Field(False, "Log some training examples.", may_change=True)
    num_trials = Field(
        1,
        "Runs with the seeds seed, seed + 1, ...",
        unit="trials",
        at_most=LARGEST,
        may_change=True,
        **COUNT,
    )
    do_train = Field(True, "Train; finished trials are not run again.", may_change=True)
    do_eval = Field(True, "Score on the dev files.", may_change=True)
    do_predict = Field(
        False, "Predict predict_files with the best trial's model.", source="ours", may_change=True
    )
    keep_all_models = Field(True, "Keep every trial's model; false: the best.", may_change=True)
    retry_collapsed = Field(
        False,
        "Repeat a collapsed trial with another seed. The table and the mean keep it; its retry "
        "is reported apart.",
        source="ours",
        may_change=True,
    )
    ensemble = Field(
        False, "Score the mean of the trials' outputs too.", source="ours", may_change=True
    )
    seed = Field(
        0,
        "Of the first trial: new weights, order, dropout.",
        source="ours",
        at_least=0,
        at_most=2**30,
        of_task=True,
    )

    # --- tasks ---
    task_names = Field(["chunk"], "Tasks to learn, several of them together.")
    task_files = Field(
        [],
        "JSON files with tasks of your own: see docs/own_data.md.",
        source="ours",
        may_change=True,
    )
    language = Field("es", "Language of tasks that have files for several.", source="ours")
    max_train_examples = Field(
        None,
        "Train on so many examples of each task, drawn at random; null: on all.",
        unit="examples",
        source="ours",
        kinds=(int,),
        **COUNT,
    )

    dev_fraction = Field(
        0.1,
        "Share of the training file that is held out to be scored on, where a task of your own has "
        "no dev file; 0: none.",
        source="ours",
        at_least=0,
        below=1,
        of_task=True,
    )

    # --- network: as pre-trained ---
    init_checkpoint = Place("Checkpoint, or folder of checkpoints, to start from. null: D/models/M")
    from_scratch = Field(
        False, "Draw all weights anew: the same network, not pre-trained.", source="ours"
    )

    classifier_head = Field(
        "official",
        'Head of texts. "official": a linear layer; "huggingface": the two layers of '
        "ElectraForSequenceClassification, which electra.convert then writes as they are.",
        source="ours",
        choices=("official", "huggingface"),
    )

    # --- optimization ---
    learning_rate = Field(
        1e-4, "Highest learning rate; large: 5e-5, mini: 5e-4.", above=0, of_task=True
    )
    layerwise_lr_decay = Field(
        0.8,
        "Rate of a layer as a share of the one above; large: 0.9; 0: no such decay.",
        of_task=True,
        **SHARE,
    )
    num_train_epochs = Field(
        3.0,
        "Passes over the data; rte and sts: 10, QA: 2.",
        unit="epochs",
        above=0,
        at_most=LARGEST,
        of_task=True,
    )
    warmup_proportion = Field(0.1, "Warm-up as a share of the steps.", of_task=True, **SHARE)

    # --- training ---
    iterations_per_loop = Field(1000, "Steps per call into the graph.", **STEPS)
    save_checkpoints_steps = Field(1000000, "Steps between checkpoints.", **STEPS)
    save_checkpoints_seconds = Field(
        300,
        "Seconds between checkpoints, from which a killed trial goes on.",
        unit="seconds",
        source="ours",
        at_least=0,
        may_change=True,
    )
    use_tfrecords_if_existing = Field(
        True,
        "Use featurised data of an earlier run where nothing that shaped it changed.",
        may_change=True,
    )

    # --- evaluation while training ---
    eval_every_steps = Field(
        None,
        'Steps between scores on the dev files while training; "epoch": one epoch. null, 0: '
        "none before the end.",
        unit="steps",
        source="ours",
        kinds=(int,),
        words=("epoch",),
        at_least=0,
    )
    load_best_model_at_end = Field(
        False,
        "A trial's model and scores are those of its evaluation with the best main score (of "
        "several dev files their mean), not of its last step.",
        source="ours",
    )
    early_stopping_patience = Field(
        None,
        "End a trial after so many evaluations in a row without a better main score. null: never.",
        unit="evaluations",
        source="ours",
        kinds=(int,),
        at_least=1,
    )
    early_stopping_min_delta = Field(
        0.0, "A score counts as better if it is higher by more.", source="ours", at_least=0
    )

    # --- predictions ---
    write_test_outputs = Field(
        False, "Write predictions of the test files as the leaderboards take them.", may_change=True
    )
    n_writes_test = Field(
        5,
        "Test predictions are written for the first so many trials.",
        unit="trials",
        at_least=1,
        may_change=True,
    )
    test_predictions = Place("Folder of predictions. null: D/models/M/test_predictions")

    predict_files = Field(
        [],
        "Files to predict, labels not needed, laid out as the task's own; of several tasks a "
        "dict of such lists.",
        source="ours",
        kinds=(list, dict),
        may_change=True,
    )

    # --- sizes ---
    max_seq_length = Field(
        128, "Longest example L; chunk, csl: 256, QA: 512.", unit="tokens", at_least=5, of_task=True
    )
    train_batch_size = Field(32, "Examples of an update.", of_task=True, **EXAMPLES)
    eval_batch_size = Field(
        32,
        "Examples of max_seq_length scored at once; mostly more of shorter ones.",
        may_change=True,
        of_task=True,
        **EXAMPLES,
    )
    predict_batch_size = Field(
        32,
        "Examples of max_seq_length predicted at once; mostly more of shorter ones.",
        may_change=True,
        of_task=True,
        **EXAMPLES,
    )
    double_unordered = Field(True, "Train mrpc and sts on both orders of the texts.", of_task=True)

    # --- question answering ---
    max_query_length = Field(64, "Longest question.", unit="tokens", **COUNT)
    doc_stride = Field(128, "Distance between the starts of two windows.", unit="tokens", **COUNT)
    n_best_size = Field(20, "Answers kept of a question.", unit="answers", **COUNT)
    max_answer_length = Field(30, "Longest answer.", unit="tokens", **COUNT)
    answerable_classifier = Field(True, "Score whether a question has an answer.", of_task=True)
    answerable_uses_start_logits = Field(
        True, "The answerable score also uses the likely starts.", of_task=True
    )
    answerable_weight = Field(
        0.5, "Weight of the answerable score's loss.", at_least=0, of_task=True
    )
    joint_prediction = Field(True, "The end of an answer is scored given its start.", of_task=True)
    beam_size = Field(20, "Starts, and ends of each, that are tried.", **COUNT)
    qa_na_threshold = Field(
        -2.75, "Null odds above which a question counts as unanswered.", of_task=True
    )

    # --- devices ---
    strategy = dataclasses.replace(
        RunConfig.strategy,
        choices=("auto", "one", "mirrored", "tpu"),
        help="How devices share the work. auto: tpu with use_tpu, mirrored with several GPUs, else "
        "one.",
    )

    # --- places; null: from data_dir (D), model_name (M) and the names of the tasks (T) ---
    output_dir = Place("Folder for all that is written. null: D/models/M", source="ours")
    vocab_file = Place("Vocabulary. null: vocab.txt beside init_checkpoint, in D/models/M, or in D")
    raw_data_dir = Place("The tasks' folders. null: D/finetuning_data")
    preprocessed_data_dir = Place(
        "Featurised data. null: D/models/M/finetuning_tfrecords/T_tfrecords"
    )
    model_dir = Place(
        "Prefix of the trials' folders; _1, _2, ... follow. null: "
        "D/models/M/finetuning_models/T_model"
    )
    results_txt = Place(
        "Scores as text, and beside it as JSON. null: D/models/M/results/T_results.txt"
    )
    qa_eval_file = Place(
        "QA scores of the best trial; {:} is the task. null: D/models/M/results/T_qa/{:}_eval.json"
    )
    qa_preds_file = Place("QA answers of the best trial. null: .../T_qa/{:}_preds.json")
    qa_na_file = Place("QA null odds of the best trial. null: .../T_qa/{:}_null_odds.json")

    def pull(self, hparams: dict[str, Any], home: str, start: str | None) -> None:
        super().pull(hparams, home, start)
        if isinstance(home, str):
            mirror.pull_file(os.path.join(home, "vocab.txt"))

    def resolve(self, hparams: dict[str, Any]) -> None:
        self.check_given(hparams)
        names, files = (hparams.get(name, []) for name in ("task_names", "task_files"))
        for name, values in (("task_names", names), ("task_files", files)):
            if not are_strings(values):
                raise ValueError(f"hparam {name!r} must be a list of strings. Received: {values}")
        own = [read_task_file(path) for path in files]
        names = names or [task.name for task in own] or ["chunk"]
        self.tasks = [get_task(name, own) for name in names]
        home = os.path.join(self.data_dir, "models", self.model_name)
        self.pretrained = Pretrained(hparams.get("init_checkpoint") or home)
        derived = {"task_names": names, **self.pretrained.defaults(hparams, self.fields)}
        derived |= defaults_of_tasks(self.tasks, self.fields)
        if hparams.get("debug") is True:
            derived |= DEBUG
        self.fill(hparams, derived)
        self.model_hparam_overrides = self.pretrained.overrides(self)
        encoder = self.make_encoder(self.model_hparam_overrides)
        self.pretrained.check_encoder(self, encoder)
        self.set_encoder(encoder)
        self._fill_places(home)
        self.check_run()
        self.predict_files = checked(self)

    def check_vocab(self, vocab: Sized) -> None:
        """Compares the vocabulary with the word table.

        Args:
            vocab: Vocabulary.
        Raises:
            ValueError: it does not fit the size of the word table.
        """
        unused = self.vocab_size - len(vocab)
        if unused < 0 or (unused and "vocab_size" not in {*self.given, *self.pretrained.recorded}):
            raise ValueError(
                f"{self.vocab_file} holds {len(vocab)} tokens, the word table {self.vocab_size}. "
                "Set vocab_file to the vocabulary of the pre-trained model, or vocab_size to the "
                "rows of its word table"
            )

    def _fill_places(self, home):
        tasks = ",".join(self.task_names)
        folders = (self.pretrained.folder, home, self.data_dir)
        files = [os.path.join(folder, "vocab.txt") for folder in folders]
        existing = [path for path in files if os.path.exists(path)]
        self.vocab_file = self.vocab_file or (existing or files[-1:])[0]
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
        self.check_results()
        mirror.pull_like(f"{self.model_dir}_")
        mirror.pull(os.path.dirname(self.results_txt), is_shared=True)
        for task in self.tasks:
            pull_files(task, self.raw_data_dir)
