"""The runner behind run_pretraining.py: config in, trained and evaluated model out.

It opens the data, builds or restores the model, and says how to evaluate and to save; what is due
when is decided in train/fit.py.
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
from electra.saving.folder import ModelFolder, locked_folder, write_folder
from electra.saving.shapes import infer_generator_fractions, layers_of
from electra.storage import write_text
from electra.text.vocab import read_vocab
from electra.train import resume
from electra.train.fit import FitResult, fit
from electra.train.logs import EVAL_LOG, RunLog, read_lines
from electra.train.loop import GraphSteps, Loop
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
    folder = config.model_dir
    if checkpoints.latest(folder) is not None:
        config = resume.resumed(config, ModelFolder(folder).recorded(), folder)
    placement = placement_of(config)
    config = config.replace(precision=placement.precision)
    with contextlib.ExitStack() as stack:
        return Pretraining(config, placement, stack).run()


class Pretraining:
    """One run: what its parts share; `stack` is an ExitStack, closed at its end."""

    def __init__(self, config, placement, stack):
        self.placement, self.folder = placement, config.model_dir
        self.vocab = read_vocab(config.vocab_file)
        note = config.check_vocab(self.vocab)
        if note:
            logging.warning("%s", note)
        newest = checkpoints.latest(self.folder)
        resume.check_vocab(
            self.vocab,
            config.vocab_file,
            self.folder,
            newest and checkpoints.read(newest, verify=False),
            "Set vocab_file to that one, or model_name to a new model",
        )
        if config.do_train:
            placement.check_batch_size(config.train_batch_size, config.gradient_accumulation_steps)
        self.records, self.held_out = _open_records(config, self.vocab)
        stack.enter_context(locked_folder(self.folder, config.do_train and placement.is_chief))
        self.checkpoint = checkpoints.latest(self.folder)
        if self.checkpoint is None and not config.do_train:
            raise FileNotFoundError(
                f"{self.folder} holds no checkpoint to evaluate. Train first (do_train), or set "
                "model_name or model_dir to a trained model"
            )
        self.config = config = _with_generator_of(config, self.checkpoint)
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
        reached = self._train(evaluator) if config.do_train else FitResult(self.step, None)
        if reached.stop_signal and (reached.step < config.num_train_steps or config.do_eval):
            logging.info("Stopped at step %d; the same command goes on from there", reached.step)
            return 128 + reached.stop_signal
        if config.do_eval:
            step, results = self.evaluated
            if step != reached.step:
                results = evaluator.run()
            if self.placement.is_chief:
                write_results(config.results_txt, {**results, "global_step": reached.step})
        return 0

    # ---- before the first step ----

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
        report = checkpoints.restore(variables, checkpoint, require_all=True)
        if checkpoint.kind == "tf1":
            self._report(checkpoint, report)
        if self.optimizer is not None:
            has_moments = checkpoints.restore_slots(self.optimizer.slots, checkpoint)
            if not has_moments:
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
        """Makes the steps that are left. Returns: FitResult."""
        config, last = self.config, self.config.num_train_steps
        if self.step >= last:
            logging.info("Step %d of %d is reached: nothing to train", self.step, last)
            return FitResult(self.step, None)
        eval_every = config.eval_every_steps
        if eval_every is None:
            eval_every = config.save_checkpoints_steps
        if self.held_out is None or self.held_out is self.records:  # no held-out text
            eval_every = 0
        loop = self._loop()
        with RunLog(
            self.folder, resume_step=self.step, last_step=last, enabled=self.placement.is_chief
        ) as log:
            log.hparams(config.to_json())
            return fit(
                loop,
                log,
                self.interval,
                config,
                step=self.step,
                last_step=last,
                evaluate=functools.partial(self._evaluate, evaluator, log),
                evaluate_every=eval_every,
                save=functools.partial(self._save, log),
            )

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
        return Loop(GraphSteps(step_function, placement, iter(batches)), placement)

    def _evaluate(self, evaluator, log, step):
        results = evaluator.run()
        self.evaluated = step, results
        log.eval(step, results)
        log.text(step, "held_out/corrupted", evaluator.corrupted_examples(self.vocab.tokens))
        if self.config.init_checkpoint and self.placement.is_chief:
            first = read_lines(os.path.join(self.folder, EVAL_LOG))[0]
            if first["step"] == 0 and results["loss"] > first["loss"]:
                logging.warning(
                    "Step %d: the held-out loss %.3f is worse than the %.3f of init_checkpoint at "
                    "step 0. Consider a lower learning_rate or a longer warm-up",
                    step,
                    results["loss"],
                    first["loss"],
                )

    def _save(self, log, step):
        """Saves a checkpoint, after all that was logged."""
        if self.placement.is_chief:
            log.flush()
            tensors = {**self.model.named_variables(), **self.optimizer.slots}
            state = {"interval": self.interval.dump(), "vocab_sha256": self.vocab.sha256}
            state |= layers_of(electra=self.config.encoder, generator=self.config.generator)
            kept = self.config.keep_checkpoint_max
            checkpoints.save(self.folder, step, tensors, state, keep_max=kept)


def _open_records(config, vocab):
    """Returns the training and the held-out Records; either may be None if not needed."""

    def open_(pattern, kind):
        return reader.Records(
            pattern,
            vocab=vocab,
            kind=kind,
            **config.values("max_seq_length", "do_lower_case", "strip_accents"),
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


def _with_generator_of(config, checkpoint):
    """Returns the config with the sizes of the generator in the checkpoint, or else of
    init_checkpoint; see resume.fit_generator."""
    checkpoint = checkpoint or config.init_checkpoint
    if checkpoint is None or config.generator is None:
        return config
    shapes = checkpoints.read(checkpoint, verify=False).tensors.shapes()
    fractions = infer_generator_fractions(shapes)
    return resume.fit_generator(config, fractions, checkpoint) if fractions else config
