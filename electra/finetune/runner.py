"""The runner behind run_finetuning.py: config in, trained trials and their scores out.

It reads and featurises the tasks, builds the model and its programs once, and runs trial after
trial: weights as pre-trained, heads drawn anew, training, scores. A trial that was killed goes on
from its checkpoint; one that has its scores is not run again.
"""

import functools
import os
import time

import keras
from absl import logging

from electra.finetune import ensemble, outputs, trials
from electra.finetune.families import family
from electra.finetune.model import FinetuningModel
from electra.finetune.predictor import TaskPredictor
from electra.finetune.run_data import FinetuningData
from electra.finetune.step import FinetuningLoop, FinetuningStep, Programs
from electra.optim.adamw import AdamW
from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at
from electra.saving import checkpoints
from electra.saving.folder import held, read_hparams, write_folder
from electra.stacked import assign
from electra.text.vocab import read_vocab
from electra.train.interval import Interval
from electra.train.logs import RunLog
from electra.train.loop import next_boundary, refuse_non_finite, stopping_signals
from electra.train.strategy import placement_of


def run_finetuning(config):
    """Trains and scores as config says.

    Args:
        config: FinetuningConfig.
    Returns: exit status: 0; 143 after SIGTERM and 130 after Ctrl-C, the trial's state is saved.
    Raises:
        ValueError, FileNotFoundError: what the user can mend, before the first step where it can
            be known then.
        NonFiniteLossError: the training diverged.
    """
    with held(trials.planned(config)[0].folder, config.do_train):
        stopped_by = Finetuning(config).run()
    return 128 + stopped_by if stopped_by else 0


class Finetuning:
    """One run: its data, its programs, its trials.

    Args:
        config: FinetuningConfig.
    Attributes:
        config: as the run goes on with it.
        data: FinetuningData.
        inputs: dict what trials learn from and are scored on -> its SHA-256.
        tests, files: list of Dev, what to predict of test files and of the user's.
    """

    def __init__(self, config):
        folders = [trial.folder for trial in trials.planned(config)]
        shape = trials.FOLDER_SHAPE
        found = [(each, read) for each in folders if (read := read_hparams(each, shape))]
        if found:
            folder, recorded = found[0]
            takes = ["precision"]
            if not config.do_train:
                takes = [name for name, each in config.knobs.items() if not each.may_change]
            config = config.going_on(recorded, folder, takes, refuses=config.do_train)
            if not config.do_train and "vocab_file" not in config.given:
                config.vocab_file = os.path.join(folder, "vocab.txt")
        elif not config.do_train:
            raise FileNotFoundError(f"{folders[0]} holds no model. Train first (do_train)")
        self.config = config
        self.inputs = {}
        if config.do_train and not config.from_scratch:
            opened = checkpoints.read(config.pretrained, verify=False)
            opened.check_vocab(read_vocab(config.vocab_file), config.vocab_file)
            self.inputs["pre-trained weights"] = opened.digest
        self.data = FinetuningData(config, () if config.do_train else recorded["tasks"])
        if found:
            self.data.check_tasks(recorded["tasks"], folder)
        self.inputs |= self.data.digests()
        if found and config.do_train:
            self._check_inputs(recorded.get("inputs", {}), folder)
        self.tests = outputs.read_tests(self.data) if config.write_test_outputs else []
        predict_files = config.predict_files if config.do_predict else {}
        self.files = outputs.read_files(self.data, predict_files)
        self.placement = placement_of(config)
        self._check_shares()

    def run(self):
        """Runs the trials that are left and writes the results. Returns: the signal that stopped
        it, or None."""
        config, finished, retries = self.config, [], []
        runs_trials = config.do_train or config.do_eval or config.write_test_outputs
        for trial in trials.planned(config) if runs_trials else ():
            stopped_by = self._run_trial(trial, finished)
            is_new = bool(finished) and finished[-1]["trial"] == trial.name
            if not stopped_by and config.retry_collapsed and is_new and finished[-1]["collapsed"]:
                stopped_by = self._run_trial(trial.retry(), retries)
            if stopped_by:
                return stopped_by
        if runs_trials and not finished:
            raise FileNotFoundError(
                f"{config.model_dir}_1 holds no model to score. Train first (do_train)"
            )
        made = ensemble.of_trials(self, finished) if config.ensemble and runs_trials else None
        if config.do_eval:
            trials.write_results(self, finished, retries, made)
        if config.do_predict:
            self.restore(trials.best_kept(config))
            outputs.write_files(self)
        return None

    # ---- before the first step ----

    def _check_inputs(self, recorded, folder):
        """Refuses to count a trial that learnt from, or was scored on, other contents."""
        changed = [name for name, now in self.inputs.items() if recorded.get(name, now) != now]
        if changed:
            raise ValueError(
                f"{folder} holds a trial with other contents of: {', '.join(changed)}. To train "
                "anew choose another output_dir or model_dir; to go on put the old "
                "contents back; do_train false scores the model that is there"
            )

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
                self.optimizer = self._optimizer(model)
                step = FinetuningStep(
                    model,
                    self.optimizer,
                    self.placement.num_replicas,
                    self.placement.compile_step,
                )
        self.pretrained = self._read_pretrained() if self.config.do_train else {}
        return Programs(model, self.placement, step)

    @functools.cached_property
    def predictor(self):
        """The TaskPredictor of the run's model."""
        sizes = self.config.values("max_seq_length", "n_best_size", "max_answer_length")
        model, tokenizer = self.programs.model, self.data.tokenizer
        return TaskPredictor(model, self.placement, tokenizer, **sizes)

    def _new_model(self):
        values = self.config.to_json()
        heads = {
            task.name: {"kind": task.family, **family(task.family).head_arguments(task, values)}
            for task in self.data.tasks
        }
        scan_layers = self.config.scan_layers
        return FinetuningModel(
            self.config.encoder, heads, scan_layers=scan_layers, dtype=self.placement.dtype
        )

    def _optimizer(self, model):
        config, multipliers = self.config, None
        if config.layerwise_lr_decay:
            multipliers = layer_wise_multipliers(
                self.variables,
                decay=config.layerwise_lr_decay,
                num_layers=config.encoder.num_layer_groups,
            )
        shape = config.values("learning_rate", "warmup_proportion", "lr_decay_power")
        shape["num_train_steps"] = self.data.num_train_steps
        return AdamW(
            model.variables_by_path(),
            learning_rate=lambda step: learning_rate_at(step, **shape),
            rate_multipliers=multipliers,
            weight_decay_rate=config.weight_decay_rate,
            compiled=not self.placement.compile_step,
        )

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
            checkpoint.path,
            len(report.matched),
            len(report.unused),
            ", ".join(sorted(set(self.variables) - set(encoder))),
        )
        return {name: variable.numpy() for name, variable in encoder.items()}

    # ---- a trial ----

    def _run_trial(self, trial, finished):
        """Runs a trial and appends its record. Returns: the signal that stopped it, or None."""
        record = trials.read_record(trial)
        has_model = checkpoints.latest(trial.folder) is not None
        is_scored = trials.is_scored(record, self.data.dev)
        if self.config.do_train and is_scored and not (record.get("outputs_due") and has_model):
            logging.info("Trial %s is finished: %s", trial.name, trials.readable(record["scores"]))
            if outputs.lacks_tests(self, trial, record):
                self.restore(trial)
                outputs.write_tests_of(self, trial, record)
                trials.write_record(trial, record)
            finished.append(record)
            return None
        if not self.config.do_train and not has_model:
            if is_scored:  # another trial's model was kept
                finished.append(record)
            elif record:
                logging.warning("%s lacks the model and some of the scores: left out", trial.folder)
            return None
        record = record or trials.new_record(trial)
        if self.config.do_train:
            stopped_by, record = self._train_trial(trial, record)
            if stopped_by:
                return stopped_by
        else:
            self.restore(trial)
        made = self._score(record)
        record["outputs_due"] = True
        trials.write_record(trial, record)
        outputs.write_trial(self, trial, record, made, finished)
        del record["outputs_due"]
        trials.write_record(trial, record)
        finished.append(record)
        return None

    def _score(self, record):
        """Puts the scores of a trial, whose weights are loaded, into its record.

        Returns: dict name of a Dev -> its predictions.
        """
        made, constant, threshold = {}, [], self.config.values("qa_na_threshold")
        for dev in self.data.dev:
            made[dev.name], loss = self.predict(dev.task, dev.examples, dev.features)
            scores = self.score(dev, made[dev.name])
            record["scores"][dev.name] = {**scores, **({} if loss is None else {"loss": loss})}
            judge = family(dev.task.family).is_constant
            if judge(dev.task, dev.examples, made[dev.name], **threshold):
                constant.append(dev.name)
        if made or not record["collapsed"]:  # what was not scored now may have collapsed before
            record["collapsed"] = trials.collapsed(record, constant)
        if record["collapsed"]:
            logging.warning("Trial %s collapsed: %s", record["trial"], record["collapsed"])
        logging.info("Trial %s: %s", record["trial"], trials.readable(record["scores"]))
        return made

    def _train_trial(self, trial, record):
        """Trains from the trial's checkpoint, or from the start. Returns: (signal, record)."""
        config, programs, last = self.config, self.programs, self.data.num_train_steps
        interval, curve, started = Interval(), trials.Curve(last), time.monotonic()
        step = 0
        checkpoint = checkpoints.latest(trial.folder)
        if checkpoint is None:
            described = {"tasks": self.data.described_tasks(), "trial_seed": trial.seed}
            described["inputs"] = self.inputs
            write_folder(trial.folder, {**config.to_json(), **described}, config.vocab_file)
            self._draw(trial.seed)
        else:
            opened = self.restore(trial)
            step = opened.step
            if step < last:
                checkpoints.restore_slots(self.optimizer.slots, opened)
            interval.load(opened)
            curve.load(opened)
            started -= float(opened.numbers(opened.state.get("seconds", 0), ()))
            logging.info("Trial %s goes on from %s, step %d", trial.name, opened.path, step)
        loop = FinetuningLoop(
            programs, functools.partial(self.data.batch_at, trial.seed), trial.seed
        )
        saved_step, saved_at = step, time.monotonic()

        def save(tensors):
            log.flush()
            seconds = round(time.monotonic() - started, 1)
            state = {"interval": interval.dump(), "curve": curve.sums, "seconds": seconds}
            state["vocab_sha256"] = self.data.tokenizer.vocab.sha256
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
        if loop.stop_signal:
            logging.info("Stopped at step %d; the same command goes on from there", step)
            return loop.stop_signal, None
        about = {"steps": last, "seconds": round(time.monotonic() - started, 1)}
        return None, {**record, **about, **curve.summary()}

    def _draw(self, seed):
        """Sets all weights to the start of a trial, and the moments to 0."""
        keras.utils.set_random_seed(seed)
        fresh = self._new_model().named_variables()
        assign(self.variables, lambda name: self.pretrained.get(name, fresh[name].value))
        self.optimizer.reset()

    def restore(self, trial):
        """Loads the weights of a trial's newest checkpoint. Returns: Checkpoint."""
        _ = self.programs
        opened = checkpoints.read(trial.folder)
        opened.check_vocab(self.data.tokenizer.vocab, self.config.vocab_file)
        checkpoints.restore(self.variables, opened, require_all=True)
        return opened

    # ---- predictions ----

    def predict(self, task, examples, features, batch_size=None):
        """Predicts a split with the weights as they are.

        Args:
            task: Task, one of the run's.
            examples: list; features: Features of them.
            batch_size: None for eval_batch_size.
        Returns: (the family's predictions, mean loss or None without labels).
        """
        batch_size = batch_size or self.config.eval_batch_size
        return self.predictor.predict(task, examples, features, batch_size)

    def score(self, dev, predictions):
        """Returns the scores of predictions on a Dev split: dict metric -> float."""
        threshold = self.config.qa_na_threshold
        return family(dev.task.family).score(dev.task, dev.examples, predictions, threshold)
