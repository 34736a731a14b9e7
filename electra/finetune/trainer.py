"""The network of a fine-tuning run, made once: it trains every trial and takes its weights back.

Enters: a config, its data and the devices. Leaves: trained weights in a trial's folder, or in the
network; a predictor.
"""

import dataclasses
import functools
import math
import time

import keras
from absl import logging

from electra.finetune.families import get_family
from electra.finetune.model import FinetuningModel
from electra.finetune.predictor import TaskPredictor
from electra.finetune.step import FinetuningStep
from electra.finetune.trials import TrialInterval
from electra.optim.adamw import AdamW
from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at
from electra.saving import checkpoints
from electra.stacked import assign
from electra.train import resume
from electra.train.fit import fit
from electra.train.logs import RunLog
from electra.train.loop import HostSteps, Loop, constant, in_graph

MOST_LENGTHS = 2  # of batches where a step is compiled as a whole: each takes long to compile


class Trainer:
    """Trains trials and predicts with what they learnt; its parts are made when first needed.

    Args:
        config: FinetuningConfig.
        data: FinetuningData.
        placement: Placement.
    Attributes:
        model: FinetuningModel; variables: dict official name -> variable, or part of a stacked one.
        pretrained: dict name -> array of the encoder as it was pre-trained; {} from scratch.
        predictor: TaskPredictor with the weights as they are.
    """

    def __init__(self, config, data, placement):
        self.config, self.data, self.placement = config, data, placement

    @functools.cached_property
    def model(self):
        with self.placement.strategy.scope():
            return self._new_model()

    @functools.cached_property
    def variables(self):
        return self.model.named_variables()

    @functools.cached_property
    def predictor(self):
        sizes = self.config.values("max_seq_length", "n_best_size", "max_answer_length")
        return TaskPredictor(self.model, self.placement, self.data.tokenizer, **sizes)

    @functools.cached_property
    def optimizer(self):
        config, multipliers = self.config, None
        if config.layerwise_lr_decay:
            multipliers = layer_wise_multipliers(
                self.variables,
                decay=config.layerwise_lr_decay,
                num_layers=config.encoder.num_layer_groups,
            )
        shape = config.values("learning_rate", "warmup_proportion", "lr_decay_power")
        shape["num_train_steps"] = self.data.num_train_steps
        with self.placement.strategy.scope():
            return AdamW(
                self.model.variables_by_path(),
                learning_rate=lambda step: learning_rate_at(step, **shape),
                rate_multipliers=multipliers,
                weight_decay_rate=config.weight_decay_rate,
                compiled=not self.placement.compile_step,
            )

    @functools.cached_property
    def pretrained(self):
        if self.config.from_scratch:
            logging.info("From scratch: all weights are drawn anew")
            return {}
        checkpoint = checkpoints.read(self.config.pretrained.path)
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

    def restore(self, trial):
        """Loads the weights of a trial's newest checkpoint. Returns: Checkpoint."""
        checkpoint = checkpoints.read(trial.folder)
        vocab = self.data.tokenizer.vocab
        resume.check_vocab(vocab, self.config.vocab_file, trial.folder, checkpoint)
        checkpoints.restore(self.variables, checkpoint, require_all=True)
        return checkpoint

    def train(self, trial, result):
        """Trains a trial from its checkpoint, or from the start.

        Args:
            trial: Trial; result: TrialResult, as it is before.
        Returns: TrialResult with the numbers of the training, or with the signal that stopped it.
        """
        config, last_step = self.config, self.data.num_train_steps
        started, step, interval = time.monotonic(), 0, TrialInterval(last_step)
        if checkpoints.latest(trial.folder) is None:
            self._initialize(trial.seed)
        else:
            checkpoint = self.restore(trial)
            step = checkpoint.step
            if step < last_step:
                checkpoints.restore_slots(self.optimizer.slots, checkpoint)
            interval.load(checkpoint)
            started -= float(checkpoint.numbers(checkpoint.state.get("seconds", 0), ()))
            logging.info("Trial %s goes on from %s, step %d", trial.name, checkpoint.path, step)
        with RunLog(trial.folder, resume_step=step, last_step=last_step) as log:
            log.hparams({**config.to_json(), "model_name": trial.folder, "seed": trial.seed})
            reached = fit(
                self.loop(trial.seed),
                log,
                interval,
                config,
                step=step,
                last_step=last_step,
                save=functools.partial(self._save, trial, log, interval, started),
                save_seconds=config.save_checkpoints_seconds,
                warmup="warmup_proportion",
            )
        if reached.stop_signal:
            logging.info("Stopped at step %d; the same command goes on from there", reached.step)
            return dataclasses.replace(result, stop_signal=reached.stop_signal)
        seconds = round(time.monotonic() - started, 1)
        return dataclasses.replace(result, steps=last_step, seconds=seconds, **interval.losses())

    def loop(self, seed, batch_at=None):
        """Returns the Loop of a trial.

        Args:
            seed: of the trial.
            batch_at: function from a step to its batch; None for the data's.
        """
        if batch_at is None:
            most = MOST_LENGTHS if self.placement.compile_step else math.inf
            batch_at = functools.partial(self.data.batch_at, seed, most_lengths=most)
        of_trial = constant(seed)

        def inputs(step):
            return self.placement.spread(batch_at(step)), constant(step), of_trial

        program, unpack = self._program
        return Loop(HostSteps(program, unpack, inputs), self.placement)

    @functools.cached_property
    def _program(self):
        """(the step in a graph, its unpack); of all trials."""
        replicas, compile_step = self.placement.num_replicas, self.placement.compile_step
        step = FinetuningStep(self.model, self.optimizer, replicas, compile_step)
        return in_graph(step, self.placement.strategy), step.unpack

    def _new_model(self):
        values = self.config.to_json()
        heads = {
            task.name: {"kind": task.family, **get_family(task.family).head_arguments(task, values)}
            for task in self.data.tasks
        }
        return FinetuningModel(
            self.config.encoder,
            heads,
            dtype=self.placement.dtype,
            **self.config.values("scan_layers", "recompute_layers"),
        )

    def _initialize(self, seed):
        """Sets all weights to the start of a trial, and the moments to 0."""
        pretrained = self.pretrained
        keras.utils.set_random_seed(seed)
        fresh = self._new_model().named_variables()
        assign(self.variables, lambda name: pretrained.get(name, fresh[name].value))
        self.optimizer.reset()

    def _save(self, trial, log, interval, started, step):
        log.flush()
        state = {
            "interval": interval.dump(),
            "curve": interval.tenths,
            "seconds": round(time.monotonic() - started, 1),
            "vocab_sha256": self.data.tokenizer.vocab.sha256,
        }
        slots = self.optimizer.slots if step < self.data.num_train_steps else {}  # have served
        checkpoints.save(trial.folder, step, {**self.variables, **slots}, state, keep_max=1)
