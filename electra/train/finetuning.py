"""The runner behind run_finetuning.py: config in, trained trials and their scores out.

It reads and featurises the tasks, builds the model and its programs once, and runs trial after
trial: weights as pre-trained, heads drawn anew, training, scores. A trial that was killed goes on
from its checkpoint; one that has its scores is not run again.
"""

import dataclasses
import functools
import json
import os
import signal
import time

import keras
import numpy as np
from absl import logging

from electra.data import batches
from electra.finetune import scoring
from electra.finetune.dataset import Splits
from electra.finetune.featurize import HOST_FEATURES
from electra.finetune.model import FinetuningModel
from electra.finetune.readers import find_file, resolve_labels
from electra.finetune.tasks import CLASSIFICATION, QA, TAGGING
from electra.optim.adamw import AdamW
from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at
from electra.text.vocab import read_vocab
from electra.text.wordpiece import WordPieceTokenizer
from electra.train import checkpoints, trials
from electra.train.finetuning_step import FinetuningLoop, FinetuningStep, Programs
from electra.train.folder import read_hparams, refuse_non_finite, write_folder
from electra.train.interval import Interval
from electra.train.logs import RunLog
from electra.train.loop import next_boundary, stopping_signals
from electra.train.strategy import placement_of

_NEW_TASK = "Go on with the old one, or choose another model_name or model_dir"


def run_finetuning(config):
    """Trains and scores as config says.

    Args:
        config: FinetuningConfig.
    Returns: exit status: 0, also after SIGTERM; 130 after an interrupt from the keyboard. The
        trial's state is saved in both cases.
    Raises:
        ValueError, FileNotFoundError: what the user can mend, before the first step where it can
            be known then.
        NonFiniteLossError: the training diverged.
    """
    run = Finetuning(config)
    stopped_by = run.run()
    return 128 + signal.SIGINT if stopped_by == signal.SIGINT else 0


@dataclasses.dataclass(frozen=True)
class Dev:
    """A split to score: `name` is the task's, with the split's own part (mnli_mismatched)."""

    name: str
    task: object
    split: str
    examples: list
    features: object


class Finetuning:
    """One run: its data, its programs, its trials.

    Args:
        config: FinetuningConfig.
    Attributes:
        config: as the run goes on with it.
        tasks: list of Task with their labels.
        splits: electra.finetune.dataset.Splits.
        tokenizer: WordPieceTokenizer.
    """

    def __init__(self, config):
        found = [t for t in trials.planned(config) if os.path.isdir(t.folder)]
        recorded = read_hparams(found[0].folder) if found else None
        if recorded is not None:
            takes = ["precision"]
            if not config.do_train:
                takes = [name for name, each in config.knobs.items() if not each.may_change]
            config = config.going_on(recorded, found[0].folder, takes, refuses=config.do_train)
        self.config = config
        self.vocab = read_vocab(config.vocab_file)
        config.check_vocab(self.vocab)
        self.tokenizer = WordPieceTokenizer(self.vocab, config.do_lower_case, config.strip_accents)
        self.splits = Splits(
            config.raw_data_dir, config.preprocessed_data_dir, self.tokenizer,
            language=config.language, double_unordered=config.double_unordered,
            refresh=not config.use_tfrecords_if_existing, max_seq_length=config.max_seq_length,
            max_query_length=config.max_query_length, doc_stride=config.doc_stride,
        )  # fmt: skip
        self.tasks = [
            resolve_labels(task, config.raw_data_dir, config.language) for task in config.tasks
        ]
        if recorded is not None:
            self._check_tasks(recorded.get("tasks"), found[0].folder)
        if config.do_train and not config.from_scratch:
            checkpoints.read(config.pretrained, verify=False)
        self.dev = self._read_dev() if config.do_eval else []
        self.train = self._read_train() if config.do_train else {}
        self.placement = placement_of(config)
        self._check_shares()

    def run(self):
        """Runs the trials that are left and writes the results. Returns: the signal that stopped
        it, or None."""
        config, finished, retries = self.config, [], []
        for trial in trials.planned(config):
            stopped_by = self._run_trial(trial, finished)
            is_new = bool(finished) and finished[-1]["trial"] == trial.name
            if not stopped_by and config.retry_collapsed and is_new and finished[-1]["collapsed"]:
                stopped_by = self._run_trial(trial.retry(), retries)
            if stopped_by:
                return stopped_by
        if not finished:
            raise FileNotFoundError(
                f"{config.model_dir}_1 holds no model to score. Train first (do_train)"
            )
        if config.do_eval:
            trials.write_results(self, finished, retries)
        return None

    # ---- before the first step ----

    def _check_tasks(self, recorded, folder):
        for task, before in zip(self.described_tasks(), recorded or (), strict=False):
            changed = [name for name in task if before.get(name) != task[name]]
            for name in changed[:1]:
                raise ValueError(
                    f"{folder} holds a model of another task {task['name']!r}: {name} was "
                    f"{before.get(name)!s:.200} and is now {task[name]!s:.200}. {_NEW_TASK}"
                )

    def described_tasks(self):
        """Returns the tasks' rows, labels included, as JSON values."""
        return json.loads(json.dumps([dataclasses.asdict(task) for task in self.tasks]))

    def _read_dev(self):
        """Reads what is scored: the dev split, and further ones that are there."""
        found = []
        for task in self.tasks:
            for split in ["dev", *(each for each in task.sources if each.startswith("dev_"))]:
                if split != "dev" and not self._has(task, split):
                    logging.info("Task %r: no file for %s, which is not scored", task.name, split)
                    continue
                examples = self.splits.examples(task, split)
                features = self.splits.features(task, split, examples)
                found.append(Dev(task.name + split[3:], task, split, examples, features))
        return found

    def _has(self, task, split):
        try:
            return bool(find_file(task, split, self.config.raw_data_dir, self.config.language))
        except FileNotFoundError:
            return False

    def _read_train(self):
        """Returns dict task -> Features to train on."""
        found = {}
        for task in self.tasks:
            features = self.splits.features(task, "train")
            numbers = features.columns["example"]
            if self.config.max_train_examples is not None:
                order = np.random.default_rng(0).permutation(int(numbers[-1]) + 1)
                kept = order[: self.config.max_train_examples]
                features = features.take(np.flatnonzero(np.isin(numbers, kept)))
            found[task.name] = features
            if self.config.log_examples:
                shown = features.row(0)["input_ids"]
                pieces = " ".join(self.vocab.tokens[i] for i in shown)
                logging.info("%s: %d features, the first: %s", task.name, len(features), pieces)
        return found

    def _check_shares(self):
        replicas = self.placement.num_replicas
        if self.placement.num_workers > 1:
            raise ValueError(
                "Fine-tuning runs in one process: unset TF_CONFIG, or set strategy to 'one' or "
                "'mirrored'"
            )
        if self.config.train_batch_size % replicas:
            raise ValueError(
                f"train_batch_size {self.config.train_batch_size} must be a multiple of the "
                f"{replicas} replicas"
            )

    # ---- model and programs, once for all trials ----

    @functools.cached_property
    def programs(self):
        """The Programs of the run, made when first needed."""
        with self.placement.strategy.scope():
            model = self._new_model()
            self.variables = model.named_variables()
            self.optimizer = step = None
            if self.config.do_train:
                self.optimizer = self._optimizer()
                step = FinetuningStep(
                    model, self.optimizer, self.placement.num_replicas,
                    self.placement.compile_step,
                )  # fmt: skip
        self.pretrained = self._read_pretrained() if self.config.do_train else {}
        return Programs(model, self.placement, step)

    def _new_model(self):
        config = self.config
        qa = {
            name: getattr(config, name)
            for name in ("joint_prediction", "answerable_classifier", "beam_size",
                         "answerable_uses_start_logits", "answerable_weight")
        }  # fmt: skip
        heads = {}
        for task in self.tasks:
            heads[task.name] = {"kind": task.family}
            if task.family in (CLASSIFICATION, TAGGING):
                heads[task.name]["num_labels"] = len(task.labels)
            elif task.family == QA:
                heads[task.name].update(qa)
        return FinetuningModel(config.encoder, heads, dtype=self.placement.dtype)

    def _optimizer(self):
        config, multipliers = self.config, None
        if config.layerwise_lr_decay:
            multipliers = layer_wise_multipliers(
                self.variables, decay=config.layerwise_lr_decay,
                num_layers=config.encoder.num_hidden_layers,
            )  # fmt: skip
        return AdamW(
            self.variables,
            learning_rate=lambda step: learning_rate_at(
                step, learning_rate=config.learning_rate, num_train_steps=self.num_train_steps,
                warmup_proportion=config.warmup_proportion,
                lr_decay_power=config.lr_decay_power,
            ),
            rate_multipliers=multipliers,
            weight_decay_rate=config.weight_decay_rate,
            compiled=not self.placement.compile_step,
        )  # fmt: skip

    def _read_pretrained(self):
        """Returns dict name -> array of the encoder as it was pre-trained; {} from scratch."""
        if self.config.from_scratch:
            logging.info("From scratch: all weights are drawn anew")
            return {}
        checkpoint = checkpoints.read(self.config.pretrained)
        encoder = {k: v for k, v in self.variables.items() if k.startswith("electra/")}
        report = checkpoints.restore(encoder, checkpoint, require_all=True)
        logging.info(
            "%s: matched the %d variables of the encoder; %d others are not used; drawn anew: %s",
            checkpoint.path, len(report.matched), len(report.unused),
            ", ".join(sorted(set(self.variables) - set(encoder))),
        )  # fmt: skip
        return {name: variable.numpy() for name, variable in encoder.items()}

    # ---- a trial ----

    @functools.cached_property
    def _lengths(self):
        """(lengths of all training features, lengths of batches)."""
        lengths = batches.joined_lengths(self.train)
        fewest = max(4 * self.config.train_batch_size, len(lengths) // 20)
        return lengths, batches.choose_lengths(lengths, self.config.max_seq_length, fewest)

    @property
    def steps_per_epoch(self):
        return -(-len(self._lengths[0]) // self.config.train_batch_size)

    @property
    def num_train_steps(self):
        return max(1, round(self.steps_per_epoch * self.config.num_train_epochs))

    def _run_trial(self, trial, finished):
        """Runs a trial and appends its record. Returns: the signal that stopped it, or None."""
        record = trials.read_record(trial)
        if self.config.do_train and record is not None:
            logging.info("Trial %s is finished: %s", trial.name, trials.readable(record["scores"]))
            finished.append(record)
            return None
        if not self.config.do_train and checkpoints.latest(trial.folder) is None:
            return None
        record = record or {"trial": trial.name, "seed": trial.seed, "collapsed": ""}
        if self.config.do_train:
            stopped_by, record = self._train_trial(trial, record)
            if stopped_by:
                return stopped_by
        else:
            self.restore(trial)
        record["scores"] = {}
        for dev in self.dev:
            predictions, loss = self.predict(dev.task, dev.examples, dev.features)
            scores = self.score(dev, predictions)
            record["scores"][dev.name] = {**scores, **({} if loss is None else {"loss": loss})}
            if scoring.is_constant(dev.task, dev.examples, predictions):
                record["collapsed"] = f"{dev.name}: one label for everything"
        if record["collapsed"]:
            logging.warning("Trial %s collapsed: %s", trial.name, record["collapsed"])
        logging.info("Trial %s: %s", trial.name, trials.readable(record["scores"]))
        trials.write_record(trial, record)
        finished.append(record)
        return None

    def _train_trial(self, trial, record):
        """Trains from the trial's checkpoint, or from the start. Returns: (signal, record)."""
        config, programs, last = self.config, self.programs, self.num_train_steps
        interval, curve, started = Interval(), trials.Curve(last), time.monotonic()
        step = 0
        checkpoint = checkpoints.latest(trial.folder)
        if checkpoint is None:
            described = {"tasks": self.described_tasks(), "trial_seed": trial.seed}
            write_folder(trial.folder, {**config.to_json(), **described}, config.vocab_file)
            self._draw(trial.seed)
        else:
            opened = self.restore(trial)
            step, state = opened.step, opened.state
            if step < last:
                checkpoints.restore_slots(self.optimizer.slots, opened)
            interval.load(state.get("interval"))
            curve.load(state.get("curve"))
            started -= state.get("seconds", 0)
            logging.info("Trial %s goes on from %s, step %d", trial.name, opened.path, step)
        loop = FinetuningLoop(programs, functools.partial(self._batch_at, trial.seed), trial.seed)
        saved_step, saved_at = step, time.monotonic()

        def save(tensors):
            log.flush()
            seconds = round(time.monotonic() - started, 1)
            state = {"interval": interval.dump(), "curve": curve.sums, "seconds": seconds}
            checkpoints.save(trial.folder, step, tensors, state, keep_max=1)

        with RunLog(trial.folder, resume_step=step, last_step=last) as log, stopping_signals(loop):
            loop.on_progress = log.progress
            log.hparams({**config.to_json(), "model_name": trial.folder, "seed": trial.seed})
            while step < last and not loop.stop_signal:
                due = next_boundary(
                    step, last, config.log_every_steps, config.save_checkpoints_steps
                )
                steps = loop.run(step, min(due - step, config.iterations_per_loop))
                refuse_non_finite(steps, trial.folder, "warmup_proportion")
                interval.add(steps)
                curve.add(steps)
                step += len(steps)
                if step % config.log_every_steps == 0 or step == last:
                    log.train(step, interval.finish())
                is_late = time.monotonic() - saved_at >= config.save_checkpoints_seconds
                is_due = step % config.save_checkpoints_steps == 0 or is_late
                if step < last and (is_due or loop.stop_signal) and saved_step != step:
                    save({**self.variables, **self.optimizer.slots})
                    saved_step, saved_at = step, time.monotonic()
            if step == last and saved_step != step:
                save(self.variables)  # the moments have served
        if step < last:
            logging.info("Stopped at step %d; the same command goes on from there", step)
            return loop.stop_signal, None
        about = {"steps": last, "seconds": round(time.monotonic() - started, 1)}
        return None, {**record, **about, **curve.summary(), "collapsed": curve.collapsed()}

    def _draw(self, seed):
        """Sets all weights to the start of a trial, and the moments to 0."""
        keras.utils.set_random_seed(seed)
        fresh = self._new_model().named_variables()
        for name, variable in self.variables.items():
            variable.assign(self.pretrained.get(name, fresh[name].value))
        for slot in self.optimizer.slots.values():
            slot.assign(np.zeros(slot.shape, np.float32))

    def restore(self, trial):
        """Loads the weights of a trial's newest checkpoint. Returns: Checkpoint."""
        _ = self.programs
        opened = checkpoints.read(trial.folder)
        checkpoints.restore(self.variables, opened, require_all=True)
        return opened

    def _batch_at(self, seed, step):
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self.config.train_batch_size
        batch = self._plan(seed, epoch)[place]
        return batches.padded(self.train, batch, size, leave=HOST_FEATURES)

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def _plan(self, seed, epoch):
        return batches.plan(*self._lengths, self.config.train_batch_size, order=(seed, epoch))

    # ---- predictions ----

    def predict(self, task, examples, features, batch_size=None):
        """Predicts a split with the weights as they are.

        Args:
            task: Task, one of the run's.
            examples: list; features: Features of them.
            batch_size: None for eval_batch_size.
        Returns: (predictions as in finetune/scoring.py, mean loss or None without labels).
        """
        config, replicas = self.config, self.placement.num_replicas
        size = -(-(batch_size or config.eval_batch_size) // replicas) * replicas
        names = scoring.needed_outputs(
            task, joint_prediction=config.joint_prediction,
            answerable_classifier=config.answerable_classifier,
        )  # fmt: skip
        lengths = features.lengths()
        chosen = batches.choose_lengths(lengths, config.max_seq_length, 8 * size)
        outputs = {}
        for batch in batches.plan(lengths, chosen, size):
            arrays = batches.padded({task.name: features}, batch, size, leave=HOST_FEATURES)
            found = self.programs.predict(arrays, task.name, (*names, "loss"))
            for name, rows in found.items():
                column = outputs.setdefault(name, [None] * len(lengths))
                for row, values in zip(batch.rows, rows, strict=False):
                    column[row] = values
        loss = outputs.pop("loss", None)
        if loss is not None:  # of a word in tagging, else of an example
            parts = len(features.ragged["labels"][0]) if task.family == TAGGING else len(features)
            loss = float(np.sum(loss) / parts)
        answering = {}
        if task.family == QA:
            answering = {name: getattr(config, name) for name in
                         ("answerable_classifier", "n_best_size", "max_answer_length")}  # fmt: skip
        made = scoring.predict(task, examples, features, outputs, self.tokenizer, **answering)
        return made, loss

    def score(self, dev, predictions):
        """Returns the scores of predictions on a Dev split: dict metric -> float."""
        return scoring.score(
            dev.task, dev.examples, predictions, qa_na_threshold=self.config.qa_na_threshold
        )
