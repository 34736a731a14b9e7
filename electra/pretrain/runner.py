"""The runner behind run_pretraining.py: config in, trained and evaluated model out.

It opens the data, builds or restores the model, goes over the phases, and says how to evaluate and
to save; what is due when is decided in train/fit.py.
"""

import contextlib
import functools
import os

import keras
import tensorflow as tf
from absl import logging

from electra.cloud import mirror
from electra.cloud.urls import origin
from electra.data import reader
from electra.data.waiting import Waiting
from electra.pretrain import corrupted
from electra.pretrain.agreement import config_to_run
from electra.pretrain.assembly import (
    build_model,
    build_optimizer,
    build_step,
    describe_sizes,
    short_of_warmup,
)
from electra.pretrain.config import PretrainingConfig
from electra.pretrain.evaluation import Evaluator, write_results
from electra.pretrain.flops import official_training_flops, training_flops
from electra.pretrain.interval import PretrainingInterval
from electra.pretrain.phases import phase_at, phases_left, phases_of
from electra.pretrain.records import log_unigram_of, open_records
from electra.saving import checkpoints
from electra.saving.folder import locked_folder, write_folder
from electra.saving.shapes import infer_generator_fractions, layers_of
from electra.storage import write_json, write_text
from electra.text.vocab import read_vocab
from electra.train import resume
from electra.train.calls import GraphSteps
from electra.train.fit import FitResult, fit
from electra.train.lines import EVAL_LOG, read_lines
from electra.train.logs import RunLog
from electra.train.loop import Loop
from electra.train.peak import peak_flops
from electra.train.result import RunResult
from electra.train.strategy import placement_of
from electra.train.tensorboard import PRETRAINING, tag_of

INIT_REPORT = "init_checkpoint.txt"  # in the model's folder


def run_pretraining(config: PretrainingConfig) -> RunResult:
    """Trains and evaluates as config says.

    Args:
        config: PretrainingConfig.
    Returns: RunResult; after SIGTERM and Ctrl-C the state is saved, and it says so where something
        is left to do.
    Raises:
        ValueError, FileNotFoundError: what the user can mend, before the first step where it can
            be known then.
        NonFiniteLossError: the training diverged.
    """
    config = config_to_run(config)
    placement = placement_of(config)
    config = config.replace(precision=placement.precision)
    with placement.peers, contextlib.ExitStack() as stack:
        return Pretraining(config, placement, stack).run()


class Pretraining:
    """One run: what its parts share; `stack` is an ExitStack, closed at its end."""

    def __init__(self, config, placement, stack):
        self.placement, self.folder = placement, config.model_dir
        self.vocab = read_vocab(config.vocab_file)
        is_short = config.do_train and not config.debug and short_of_warmup(config)
        for note in filter(None, (config.check_vocab(self.vocab), is_short)):
            logging.warning("%s", note)
        newest = checkpoints.latest(self.folder)
        step = checkpoints.read(newest, verify=False).step if newest else 0
        self.records = {}  # number of a phase -> training and held-out Records
        for phase in phases_left(config, phases_of(config), step):
            sizes = phase.config.train_batch_size, phase.config.gradient_accumulation_steps
            if config.do_train:
                placement.check_batch_size(*sizes)
            self.records[phase.number] = open_records(phase.config, self.vocab)
        stack.enter_context(locked_folder(self.folder, config.do_train and placement.is_chief))
        if placement.is_chief:
            written = os.path.dirname(config.results_txt)
            stack.enter_context(mirror.pushed(shared=[written]))
        self.checkpoint = checkpoints.latest(self.folder)
        if self.checkpoint is None and not config.do_train:
            raise FileNotFoundError(
                f"{self.folder} holds no checkpoint to evaluate. Train first (do_train), or set "
                "model_name or model_dir to a trained model"
            )
        self.config = config = _with_generator_of(config, self.checkpoint)
        self.phases = phases_of(config)
        if config.do_train and placement.is_chief:
            write_folder(self.folder, config.to_json(), config.vocab_file)
        keras.utils.set_random_seed(config.seed)
        with placement.strategy.scope():
            self.model = build_model(config, self.vocab, placement.dtype)
            logging.info("%s", describe_sizes(config, self.model))
            self.optimizer = None
            if config.do_train:  # a compiled step compiles its update too
                compiled = not placement.compile_step
                self.optimizer = build_optimizer(config, self.model, compiled)
        self.step, restored = self._restore()
        self.interval = self._interval(phases_left(config, self.phases, self.step)[0])
        if restored is not None:
            self.interval.load(restored)
        self._check_workers_agree()
        self.evaluator = None, None  # of which phase, and the Evaluator
        self.evaluated = None, {}  # the last evaluation's step and results

    def run(self):
        """Trains and evaluates. Returns: RunResult."""
        config, report = self.config, ""
        reached = self._train() if config.do_train else FitResult(self.step, None)
        if reached.stop_signal and (reached.step < config.num_train_steps or config.do_eval):
            logging.info("Stopped at step %d; the same command goes on from there", reached.step)
            return RunResult(origin(self.folder), reached.step, {}, reached.stop_signal)
        step, results = self.evaluated
        if config.do_eval:
            if step != reached.step:
                phase = phase_at(self.phases, reached.step)
                step, results = reached.step, self._evaluator(phase).run()
            if self.placement.is_chief:
                named = {**results, "global_step": reached.step}
                report = write_results(config.results_txt, named)
        scores = results if step == reached.step else {}
        return RunResult(origin(self.folder), reached.step, scores, report=report)

    # ---- before the first step ----

    def _restore(self):
        """Loads the newest checkpoint, or init_checkpoint's weights.

        Returns: the step, and the Checkpoint of this run or None.
        """
        variables = self.model.named_variables()
        if self.checkpoint is None:
            if self.config.init_checkpoint:
                checkpoint = checkpoints.read(self.config.init_checkpoint)
                report = checkpoints.restore(variables, checkpoint, require_all=False)
                self._report(checkpoint, report, ": weights only, step 0")
            return 0, None
        checkpoint = checkpoints.read(self.checkpoint)
        report = checkpoints.restore(variables, checkpoint, require_all=True)
        if checkpoint.kind == "tf1":
            self._report(checkpoint, report)
        if self.optimizer is not None:
            has_moments = checkpoints.restore_slots(self.optimizer.slots, checkpoint)
            if not has_moments:
                logging.warning("%s holds no moments: they start at 0", checkpoint.path)
        logging.info("Going on from %s, step %d", checkpoint.path, checkpoint.step)
        return checkpoint.step, checkpoint

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

    def _interval(self, phase):
        """Returns the PretrainingInterval of a phase."""
        flops = self._flops(phase)
        logging.info(
            "%.3g FLOP an example in matrix products; %.3g as the official script counts",
            flops,
            self._flops(phase, official_training_flops),
        )
        peak = functools.partial(peak_flops, self.placement)
        if self.placement.device == "CPU":  # others are at work on it: no two measures agree
            peak = None
        return PretrainingInterval(self.model, flops, peak, phase.about)

    def _flops(self, phase, count=training_flops):
        config = phase.config
        return count(self.model, config.max_seq_length, config.max_predictions_per_seq)

    def _work(self, step):
        """Returns the FLOP until a step."""
        return float(
            sum(
                min(max(step - phase.first_step, 0), phase.config.num_train_steps)
                * phase.config.train_batch_size
                * self._flops(phase)
                for phase in self.phases
            )
        )

    def _evaluator(self, phase):
        """Returns the Evaluator of a phase; that of an earlier one makes way."""
        if self.evaluator[0] != phase.number:
            self.evaluator = phase.number, self._new_evaluator(phase)
        return self.evaluator[1]

    def _new_evaluator(self, phase):
        (training, held_out), config = self.records[phase.number], phase.config
        self.model.mask_prob = config.mask_prob
        return Evaluator(
            self.model,
            self.placement,
            lambda: reader.eval_batches(held_out, config.eval_batch_size, config.num_eval_steps),
            num_slots=config.max_predictions_per_seq,
            seed=config.seed,
            log_unigram=training and log_unigram_of(training, config, self.vocab),
        )

    # ---- training ----

    def _train(self):
        """Makes the steps that are left. Returns: FitResult."""
        config, last = self.config, self.config.num_train_steps
        reached = FitResult(self.step, None)
        if self.step >= last:
            logging.info("Step %d of %d is reached: nothing to train", self.step, last)
            return reached
        with RunLog(
            self.folder,
            resume_step=self.step,
            last_step=last,
            work=self._work,
            enabled=self.placement.is_chief,
            name=PRETRAINING,
            charts={"unigram_slot_loss": ("unigram", tag_of("mask_slot_loss"))},
        ) as log:
            log.hparams(config, f"pretraining ({os.path.basename(os.path.abspath(self.folder))})")
            for phase in phases_left(config, self.phases, self.step):
                if phase.count > 1:
                    logging.info("%s", phase)
                    log.aim(phase.last_step, f"phase {phase.number}/{phase.count}")
                reached = self._train_phase(phase, log, reached.step)
                if reached.stop_signal:
                    break
        return reached

    def _train_phase(self, phase, log, step):
        (training, held_out), config = self.records[phase.number], phase.config
        if held_out is not None:
            self._evaluator(phase)  # counts words, which finds what is damaged
        eval_every = config.eval_every_steps
        if eval_every is None:
            eval_every = config.save_checkpoints_steps
        if held_out is None or held_out is training:  # no held-out text
            eval_every = 0
        if step > self.step:  # the first one's may hold what a checkpoint brought
            self.interval = self._interval(phase)
        return fit(
            self._loop(phase, step),
            log,
            self.interval,
            config,
            step=step,
            last_step=phase.last_step,
            steps_of_run=self.phases[-1].last_step,
            evaluate=functools.partial(self._evaluate, phase, log),
            evaluate_every=eval_every,
            save=functools.partial(self._save, log),
        )

    def _loop(self, phase, step):
        config, placement = phase.config, self.placement
        self.model.mask_prob = config.mask_prob
        step_function = build_step(config, self.model, self.optimizer, placement)
        share, waiting = config.train_batch_size // placement.num_replicas, Waiting()

        def dataset(context):
            replicas = placement.num_replicas // context.num_input_pipelines
            first = context.input_pipeline_id * replicas
            rows = [((first + i) * share, (first + i + 1) * share) for i in range(replicas)]
            batches = reader.dataset(
                self.records[phase.number][0],
                seed=config.seed,
                global_batch=config.train_batch_size,
                start_step=step - phase.first_step,
                replica_rows=rows,
                first_example=phase.first_example,
                order=config.record_order,
            )
            return waiting.measured(batches)

        batches = placement.iterate(dataset)
        return Loop(GraphSteps(step_function, placement, batches, waiting), placement)

    def _evaluate(self, phase, log, step):
        evaluator = self._evaluator(phase)
        results = evaluator.run()
        self.evaluated = step, results
        log.eval(step, {**phase.about, **results})
        examples = evaluator.corrupted_examples(self.vocab.tokens)
        if examples and self.placement.is_chief:
            log.text(step, "held_out/corrupted", corrupted.as_markdown(examples))
            path = os.path.join(self.folder, corrupted.FILE)
            write_json(path, {"step": step, "examples": examples})
        if self.config.init_checkpoint and self.placement.is_chief and phase.number == 1:
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


def _with_generator_of(config, checkpoint):
    """Returns the config with the sizes of the generator in the checkpoint, or else of
    init_checkpoint; see resume.fit_generator."""
    checkpoint = checkpoint or config.init_checkpoint
    if checkpoint is None or config.generator is None:
        return config
    shapes = checkpoints.read(checkpoint, verify=False).tensors.shapes()
    fractions = infer_generator_fractions(shapes)
    return resume.fit_generator(config, fractions, checkpoint) if fractions else config
