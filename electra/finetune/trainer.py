"""The network of a fine-tuning run, made once: it trains every trial and takes its weights back.

Enters: a config, its data and the devices. Leaves: trained weights in a trial's folder, or in the
network; a predictor.
"""

import functools
import math

import keras
from absl import logging

from electra.finetune.families import get_family
from electra.finetune.model import FinetuningModel
from electra.finetune.predictor import TaskPredictor
from electra.finetune.step import FinetuningStep
from electra.finetune.training import Training
from electra.optim.adamw import AdamW
from electra.optim.layerwise import layer_wise_multipliers
from electra.optim.schedule import learning_rate_at
from electra.saving import checkpoints
from electra.stacked import assign
from electra.train import resume
from electra.train.calls import HostSteps, constant, in_graph
from electra.train.loop import Loop

MOST_LENGTHS = 2  # of batches where a step is compiled as a whole: each takes long to compile


class Trainer:
    """Trains trials and predicts with what they learnt; its parts are made when first needed.

    Args:
        config: FinetuningConfig.
        data: FinetuningData.
        placement: Placement.
        baselines: dict as baseline_scores returns it, to stand beside scores in logs.
    Attributes:
        model: FinetuningModel; variables: dict official name -> variable, or part of a stacked one.
        pretrained: dict name -> array of the encoder as it was pre-trained; {} from scratch.
        predictor: TaskPredictor with the weights as they are.
    """

    def __init__(self, config, data, placement, baselines=None):
        self.config, self.data, self.placement = config, data, placement
        self.baselines = baselines or {}
        self.scored = None  # what `score` gave of the weights as they are

    @functools.cached_property
    def model(self):
        with self.placement.strategy.scope():
            model = self._new_model()
        sizes = [math.prod(variable.shape) for variable in model.named_variables().values()]
        logging.info("Parameters: %s", f"{sum(sizes):,}")
        return model

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

    def restore(self, trial, step=None):
        """Loads the weights of a trial's checkpoint, the newest or that of a step.

        Returns: Checkpoint.
        """
        folder = trial.folder
        checkpoint = checkpoints.read(folder if step is None else checkpoints.path_of(folder, step))
        vocab = self.data.tokenizer.vocab
        resume.check_vocab(vocab, self.config.vocab_file, trial.folder, checkpoint)
        checkpoints.restore(self.variables, checkpoint, require_all=True)
        self.scored = None
        return checkpoint

    def score(self):
        """Scores the dev splits with the weights as they are, once.

        Returns: dicts name of a split -> metric -> float, and -> predictions.
        """
        if self.scored is not None:
            return self.scored
        scores, predicted = {}, {}
        for dev in self.data.dev:
            found, loss = self.predictor.predict(*dev.inputs, self.config.eval_batch_size)
            predicted[dev.name] = found
            scores[dev.name] = dev.score(found, self.config.qa_na_threshold)
            if loss is not None:
                scores[dev.name] = {**scores[dev.name], "loss": loss}
        self.scored = scores, predicted
        return self.scored

    def train(self, trial, result):
        """Trains a trial from its checkpoint, or from the start.

        Args:
            trial: Trial; result: TrialResult, as it is before.
        Returns: TrialResult with the numbers of the training, or with the signal that stopped it.
        """
        return Training(self, trial).run(result)

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

    def initialize(self, seed):
        """Sets all weights to the start of a trial, and the moments to 0."""
        pretrained = self.pretrained
        keras.utils.set_random_seed(seed)
        fresh = self._new_model().named_variables()
        assign(self.variables, lambda name: pretrained.get(name, fresh[name].value))
        self.optimizer.reset()
        self.scored = None
