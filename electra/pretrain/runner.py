"""The runner behind run_pretraining.py: config in, trained and evaluated model out.

It opens the data, builds or restores the model, and decides after every call of the loop what is
due: a log line, an evaluation, a checkpoint.
"""

import contextlib
import functools
import os

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from electra.data import reader
from electra.data.patterns import find_files
from electra.pretrain.assembly import build_model, build_optimizer, build_step
from electra.pretrain.evaluation import Evaluator, write_results
from electra.pretrain.flops import official_training_flops, training_flops
from electra.pretrain.interval import PretrainingInterval
from electra.saving import checkpoints
from electra.saving.folder import ModelFolder, held, write_folder
from electra.saving.shapes import infer_generator_fractions
from electra.storage import write_text
from electra.text.vocab import read_vocab
from electra.train.logs import EVAL_LOG, RunLog, read_lines
from electra.train.loop import Loop, next_boundary, refuse_non_finite, stopping_signals
from electra.train.peak import peak_flops
from electra.train.strategy import placement_of

INIT_REPORT = "init_checkpoint.txt"  # in the model's folder
UNIGRAM_RECORDS = 100_000  # training records that the unigram baseline is counted over, at most


def run_pretraining(config):
    """Trains and evaluates as config says.

    Args:
        config: PretrainingConfig.
    Returns: exit status: 0; 143 after SIGTERM and 130 after Ctrl-C where something is left to do.
        The state is saved then.
    Raises:
        ValueError, FileNotFoundError: what the user can mend, before the first step where it can
            be known then.
        NonFiniteLossError: the training diverged.
    """
    if checkpoints.latest(config.model_dir) is not None:
        config = config.going_on(ModelFolder(config.model_dir).recorded())
    placement = placement_of(config)
    with contextlib.ExitStack() as until_end:
        return _Run(config, placement, until_end).run()


class _Run:
    """One run: what its parts share; `until_end` is an ExitStack for what is held that long."""

    def __init__(self, config, placement, until_end):
        self.config, self.placement = config, placement
        self.folder = config.model_dir
        self.vocab = read_vocab(config.vocab_file)
        note = config.check_vocab(self.vocab)
        if note:
            logging.warning("%s", note)
        self._check_vocab_of_folder()
        if config.do_train:
            self._check_shares()
        self.records, self.held_out = self._open_records()
        until_end.enter_context(held(self.folder, config.do_train and placement.is_chief))
        self.checkpoint = checkpoints.latest(self.folder)
        if self.checkpoint is None and not config.do_train:
            raise FileNotFoundError(
                f"{self.folder} holds no checkpoint to evaluate. Train first (do_train), or set "
                "model_name or model_dir to a trained model"
            )
        self._infer_generator(self.checkpoint or config.init_checkpoint)
        if config.do_train and placement.is_chief:
            write_folder(self.folder, config.to_json(), config.vocab_file)
        keras.utils.set_random_seed(config.seed)
        with placement.strategy.scope():
            self.model = build_model(config, self.vocab, placement.dtype)
            self.optimizer = None
            if config.do_train:  # a compiled step compiles its update too
                compiled = not placement.compile_step
                self.optimizer = build_optimizer(config, self.model, compiled)
        self.interval = self._interval()
        self.step = self._restore()
        self._check_workers_agree()
        self.evaluated = None, {}  # the last evaluation's step and results

    def run(self):
        """Trains and evaluates. Returns: the exit status."""
        config = self.config
        evaluator = self._evaluator() if self.held_out is not None else None
        stopped_by = self._train(evaluator) if config.do_train else None
        if stopped_by and (self.step < config.num_train_steps or config.do_eval):
            logging.info("Stopped at step %d; the same command goes on from there", self.step)
            return 128 + stopped_by
        if config.do_eval:
            step, results = self.evaluated
            if step != self.step:
                results = evaluator.run()
            results = {**results, "global_step": self.step}
            if self.placement.is_chief:
                write_results(config.results_txt, results)
        return 0

    # ---- before the first step ----

    def _check_vocab_of_folder(self):
        path = ModelFolder(self.folder).vocab_file
        if not os.path.exists(path):
            return
        if read_vocab(path).sha256 != self.vocab.sha256:
            raise ValueError(
                f"{self.config.vocab_file} is not the vocabulary this model was trained with, "
                f"{path}. Set vocab_file to that one, or model_name to a new model"
            )

    def _check_shares(self):
        parts = self.placement.num_replicas * self.config.gradient_accumulation_steps
        if self.config.train_batch_size % parts:
            raise ValueError(
                f"train_batch_size {self.config.train_batch_size} must be a multiple of replicas "
                f"x gradient_accumulation_steps = {self.placement.num_replicas} x "
                f"{self.config.gradient_accumulation_steps}"
            )

    def _open_records(self):
        """Returns the training and the held-out Records; either may be None if not needed."""
        config = self.config

        def open_(pattern, kind):
            return reader.Records(
                pattern,
                max_seq_length=config.max_seq_length,
                vocab=self.vocab,
                kind=kind,
                do_lower_case=config.do_lower_case,
                strip_accents=config.strip_accents,
            )

        training = held_out = None
        if "eval_tfrecords" in config.given or find_files(config.eval_tfrecords):
            held_out = open_(config.eval_tfrecords, "held-out")
        if config.do_train or held_out is None:
            training = open_(config.pretrain_tfrecords, "training")
        if held_out is None:
            instead = "nothing is evaluated while training"
            if config.do_eval:
                instead = "evaluating at the end on the training records, as the official code does"
                held_out = training
            logging.warning(
                "No held-out records match %s: %s. build_pretraining_dataset.py --eval_fraction "
                "sets some aside",
                config.eval_tfrecords,
                instead,
            )
        return training, held_out

    def _infer_generator(self, checkpoint):
        """Takes the generator's sizes from a checkpoint's shapes where the user gave none."""
        if checkpoint is None or self.config.generator is None:
            return
        shapes = checkpoints.read(checkpoint, verify=False).tensors.shapes()
        fractions = infer_generator_fractions(shapes)
        if fractions is not None:
            for note in self.config.fit_generator(*fractions):
                logging.info("%s: %s", checkpoint, note)

    def _restore(self):
        """Loads the newest checkpoint, or init_checkpoint's weights. Returns the step."""
        variables = self.model.named_variables()
        if self.checkpoint is None:
            if self.config.init_checkpoint:
                checkpoint = checkpoints.read(self.config.init_checkpoint)
                report = checkpoints.restore(variables, checkpoint, require_all=False)
                self._report(checkpoint, report, ": weights only, step 0")
            return 0
        checkpoint = checkpoints.read(self.checkpoint)
        checkpoint.check_vocab(self.vocab, self.config.vocab_file)
        report = checkpoints.restore(variables, checkpoint, require_all=True)
        if checkpoint.kind == "tf1":
            self._report(checkpoint, report)
        if self.optimizer is not None:
            found = checkpoints.restore_slots(self.optimizer.slots, checkpoint)
            if not found:
                logging.warning("%s holds no moments: they start at 0", checkpoint.path)
        self.interval.load(checkpoint)
        logging.info("Going on from %s, step %d", checkpoint.path, checkpoint.step)
        return checkpoint.step

    def _report(self, checkpoint, report, note=""):
        """Says which variables a checkpoint filled: in the log in short, in a file all names."""
        logging.info("%s%s\n%s", checkpoint.path, note, report.summary())
        if self.config.do_train and self.placement.is_chief:
            path = os.path.join(self.folder, INIT_REPORT)
            write_text(path, f"{checkpoint.path}{note}\n{report}\n")
            logging.info("All names: %s", path)

    def _check_workers_agree(self):
        """Refuses processes of which some found a checkpoint that others did not."""
        strategy = self.placement.strategy
        if self.placement.num_workers == 1:
            return
        steps = strategy.run(lambda: tf.constant(self.step, tf.int64))
        total = int(strategy.reduce(tf.distribute.ReduceOp.SUM, steps, axis=None))
        if total != self.step * self.placement.num_replicas:
            raise ValueError(
                f"This process found step {self.step} in {self.folder}, others found another one. "
                "model_dir must be a folder that all processes share, and hold no old files"
            )

    def _interval(self):
        sizes = self.config.max_seq_length, self.config.max_predictions_per_seq
        flops = training_flops(self.model, *sizes)
        logging.info(
            "%.3g FLOP an example in matrix products; %.3g as the official script counts",
            flops,
            official_training_flops(self.model, *sizes),
        )
        peak = functools.partial(peak_flops, self.placement)
        if self.placement.device == "CPU":  # others are at work on it: no two measures agree
            peak = None
        return PretrainingInterval(self.model, flops, peak)

    def _evaluator(self):
        config = self.config
        log_unigram = None
        if self.records is not None:
            counts = reader.unigram_counts(self.records, config.vocab_size, UNIGRAM_RECORDS)
            special = [self.vocab.pad_id, self.vocab.cls_id, self.vocab.sep_id, self.vocab.mask_id]
            counts[special] = 0  # never masked
            # One is added to every count, so that no held-out token has probability 0.
            log_unigram = np.log((counts + 1) / (counts + 1).sum()).astype(np.float32)
        return Evaluator(
            self.model,
            self.placement,
            lambda: reader.eval_batches(
                self.held_out, config.eval_batch_size, config.num_eval_steps
            ),
            num_slots=config.max_predictions_per_seq,
            seed=config.seed,
            log_unigram=log_unigram,
        )

    # ---- training ----

    def _train(self, evaluator):
        """Makes the steps that are left. Returns: the signal that stopped it, or None."""
        config, last = self.config, self.config.num_train_steps
        if self.step >= last:
            logging.info("Step %d of %d is reached: nothing to train", self.step, last)
            return None
        eval_every = config.eval_every_steps
        if eval_every is None:
            eval_every = config.save_checkpoints_steps
        if self.held_out is None or self.held_out is self.records:  # no held-out text
            eval_every = 0
        loop, saved_step = self._loop(), self.step
        log = RunLog(
            self.folder, resume_step=self.step, last_step=last, enabled=self.placement.is_chief
        )
        with log, stopping_signals(loop):
            loop.on_progress = log.progress
            log.hparams(config.to_json())
            if eval_every and self.step == 0:
                self._evaluate(evaluator, log)
            while self.step < last and not loop.stop_signal:
                due = next_boundary(
                    self.step,
                    last,
                    config.log_every_steps,
                    config.save_checkpoints_steps,
                    eval_every,
                )
                count = min(due - self.step, config.iterations_per_loop)
                self._advance(loop.run(self.step, count))
                is_last = self.step == last
                if self.step % config.log_every_steps == 0 or is_last:
                    log.train(self.step, self.interval.finish())
                if eval_every and (self.step % eval_every == 0 or is_last):
                    self._evaluate(evaluator, log)
                if self.step % config.save_checkpoints_steps == 0 or is_last:
                    saved_step = self._save(log)
            if saved_step != self.step:
                self._save(log)
        return loop.stop_signal

    def _loop(self):
        config, placement = self.config, self.placement
        step_function = build_step(config, self.model, self.optimizer, placement)
        share = config.train_batch_size // placement.num_replicas

        def dataset(context):
            replicas = placement.num_replicas // context.num_input_pipelines
            first = context.input_pipeline_id * replicas
            rows = [((first + i) * share, (first + i + 1) * share) for i in range(replicas)]
            return reader.dataset(
                self.records,
                seed=config.seed,
                global_batch=config.train_batch_size,
                start_step=self.step,
                replica_rows=rows,
            )

        batches = placement.strategy.distribute_datasets_from_function(dataset)
        return Loop(step_function, placement, iter(batches))

    def _advance(self, steps):
        """Takes over the results of some steps. Raises: NonFiniteLossError."""
        self.interval.add(steps)
        self.step += len(steps)
        refuse_non_finite(steps, self.folder, "num_warmup_steps")

    def _evaluate(self, evaluator, log):
        results = evaluator.run()
        self.evaluated = self.step, results
        log.eval(self.step, results)
        log.text(self.step, "held_out/corrupted", evaluator.corrupted_examples(self.vocab.tokens))
        if self.config.init_checkpoint and self.placement.is_chief:
            first = read_lines(os.path.join(self.folder, EVAL_LOG))[0]
            if first["step"] == 0 and results["loss"] > first["loss"]:
                logging.warning(
                    "Step %d: the held-out loss %.3f is worse than the %.3f of init_checkpoint at "
                    "step 0. Consider a lower learning_rate or a longer warm-up",
                    self.step,
                    results["loss"],
                    first["loss"],
                )

    def _save(self, log):
        """Saves a checkpoint, after all that was logged. Returns: its step."""
        if self.placement.is_chief:
            log.flush()
            tensors = {**self.model.named_variables(), **self.optimizer.slots}
            state = {"interval": self.interval.dump(), "vocab_sha256": self.vocab.sha256}
            checkpoints.save(
                self.folder, self.step, tensors, state, keep_max=self.config.keep_checkpoint_max
            )
        return self.step
