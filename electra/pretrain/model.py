"""The pre-training model: generator, sampling, discriminator, and the loss of both.

Enters: a masked batch. Leaves: a dict of outputs with the total loss.
"""

import dataclasses
import functools
import math
import operator

import keras
from keras import ops

from electra import random
from electra.features import MASKED_LM_IDS, MASKED_LM_POSITIONS, ROW
from electra.model import vocab_kernels
from electra.model.config import EncoderConfig
from electra.model.encoder import ElectraEncoder
from electra.model.heads import LMHead, RTDHead
from electra.model.layers import NamedModel
from electra.pretrain import objectives
from electra.pretrain.generators import MaskedLMGenerator, TwoTowerGenerator, UniformGenerator
from electra.pretrain.masking import mask_tokens, scatter_update

OBJECTIVES = ("electra", "electric", "mlm")
# The model's arguments that are hparams too.
OPTIONS = (
    "objective",
    "uniform_generator",
    "two_tower_generator",
    "untied_generator_embeddings",
    "mask_prob",
    "gen_weight",
    "disc_weight",
    "temperature",
    "disallow_correct",
    "scan_layers",
    "recompute_layers",
)


@keras.saving.register_keras_serializable("electra")
class PretrainingModel(NamedModel):
    """ELECTRA, Electric, or masked language modelling (BERT without next-sentence task).

    Args:
        encoder: EncoderConfig of the discriminator; for "mlm" of the only network.
        generator: EncoderConfig of the generator; None if it has no network of its own: then it is
            the discriminator's network, or none at all (uniform_generator).
        special_ids: dict with the ids "cls", "sep", "mask".
        objective: one of OBJECTIVES.
        uniform_generator: replacements are drawn uniformly; there is no generator network.
        two_tower_generator: the generator is a left-to-right and a right-to-left network that read
            the unmasked text and predict every token from both sides; Electric needs it.
        untied_generator_embeddings: the generator gets tables of its own, as wide as its states.
        mask_prob: share of tokens that is masked; Electric's noise rate.
        gen_weight, disc_weight: of the two losses.
        temperature: divides the generator's logits before sampling.
        disallow_correct: never sample the original token.
        scan_layers, recompute_layers: see ElectraEncoder.
        dtype: "float32" or "mixed_bfloat16".
    Raises:
        ValueError: an unknown objective, Electric without two towers, two towers without a
            generator or one whose tables do not fit, ids that are missing, a rate out of range.
    Source: PretrainingModel in run_pretraining.py of the official code.
    """

    def __init__(
        self,
        encoder,
        generator,
        special_ids,
        *,
        objective="electra",
        uniform_generator=False,
        two_tower_generator=False,
        untied_generator_embeddings=False,
        mask_prob=0.15,
        gen_weight=1.0,
        disc_weight=50.0,
        temperature=1.0,
        disallow_correct=False,
        scan_layers="auto",
        recompute_layers=False,
        name="pretraining_model",
        dtype="float32",
    ):
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.encoder_config, self.generator_config = encoder, generator
        self.special_ids, self.objective = special_ids, objective
        self.uniform_generator, self.two_tower_generator = uniform_generator, two_tower_generator
        self.untied_generator_embeddings = untied_generator_embeddings
        self.mask_prob, self.temperature = mask_prob, temperature
        self.gen_weight, self.disc_weight = gen_weight, disc_weight
        self.disallow_correct = disallow_correct
        self.scan_layers, self.recompute_layers = scan_layers, recompute_layers
        self._check()
        self.electra = self._make_encoder(encoder)
        self.towers = self._make_towers()  # the generator: one network or two
        self.lm_head = self._make_lm_head()
        self.rtd_head = None if objective == "mlm" else RTDHead(encoder, dtype=dtype)
        self.generator = self._make_generator()
        self.loss_terms = objectives.loss_terms(
            objective, two_tower_generator, gen_weight, disc_weight
        )
        self.build()

    def _check(self):
        encoder, generator = self.encoder_config, self.generator_config or self.encoder_config
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {OBJECTIVES}. Received: {self.objective!r}")
        if self.objective == "electric" and not self.two_tower_generator:
            raise ValueError("objective 'electric' needs two_tower_generator. Received: False")
        if self.two_tower_generator and self.generator_config is None:
            raise ValueError("two_tower_generator needs the sizes of a generator. Received: None")
        for name in ("vocab_size", "max_position_embeddings", "type_vocab_size"):
            sizes = getattr(encoder, name), getattr(generator, name)
            if sizes[0] != sizes[1]:
                raise ValueError(f"encoder and generator need the same {name}. Received: {sizes}")
        if missing := {"cls", "sep", "mask"} - set(self.special_ids):
            raise ValueError(f"special_ids lacks {sorted(missing)}. Received: {self.special_ids}")
        if not 0 < self.mask_prob < 1:
            raise ValueError(f"mask_prob must be above 0 and below 1. Received: {self.mask_prob!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0. Received: {self.temperature!r}")

    def _make_encoder(self, config, *arguments, **options):
        return ElectraEncoder(
            config,
            *arguments,
            scan_layers=self.scan_layers,
            recompute_layers=self.recompute_layers,
            dtype=self.dtype_policy,
            **options,
        )

    def _make_towers(self):
        config, embeddings = self.generator_config, self.electra.embeddings
        if config is None:
            return [] if self.uniform_generator else [self.electra]
        if self.untied_generator_embeddings:
            config = dataclasses.replace(config, embedding_size=config.hidden_size)
            embeddings = None
        directions = {"generator": None}
        if self.two_tower_generator:
            directions = {"generator_ltr": "ltr", "generator_rtl": "rtl"}
        return [
            self._make_encoder(config, embeddings, direction, name=name)
            for name, direction in directions.items()
        ]

    def _make_lm_head(self):
        if not self.towers:
            return None
        name = "cloze_predictions" if self.two_tower_generator else "generator_predictions"
        # Kept from the official code: Electric's table is the left-to-right tower's.
        table = self.towers[0].embeddings
        return LMHead(self.encoder_config, table, name=name, dtype=self.dtype_policy)

    def _make_generator(self):
        if self.two_tower_generator:
            return TwoTowerGenerator(self.towers, self.lm_head)
        if self.lm_head is None:
            return UniformGenerator(self.encoder_config.vocab_size)
        return MaskedLMGenerator(self.towers[0], self.lm_head)

    def build(self, input_shape=None):
        if self.built:
            return
        self.electra.build()
        for tower in self.towers:
            if tower is not self.electra:
                tower.build()
        if self.lm_head is not None:
            width = sum(tower.config.hidden_size for tower in self.towers)
            self.lm_head.build((None, width))
        if self.rtd_head is not None:
            self.rtd_head.build((None, None, self.encoder_config.hidden_size))
        self.built = True

    def get_config(self):
        """Returns what from_config makes a model of equal sizes and objective of, as JSON types."""
        generator = self.generator_config
        return {
            "name": self.name,
            **{option: getattr(self, option) for option in OPTIONS},
            "encoder": dataclasses.asdict(self.encoder_config),
            "generator": generator and dataclasses.asdict(generator),
            "special_ids": dict(self.special_ids),
            "dtype": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config):
        encoder, generator = config["encoder"], config["generator"]
        sizes = {
            "encoder": EncoderConfig(**encoder),
            "generator": generator and EncoderConfig(**generator),
        }
        return cls(**{**config, **sizes})

    def call(self, batch, *, seed=None, sampling=None, sampled_ids=None, totals=None):
        """Runs generator, sampling and discriminator.

        Args:
            batch: masked batch, see masking.mask_tokens.
            seed: random.Seed of the dropout; None for none.
            sampling: float32 (B, N) uniform numbers that choose the generator's samples.
            sampled_ids: int32 (B, N) samples to take instead.
            totals: what `loss_totals` counts, over the global batch; None: the batch is the whole.
        Returns: dict of mlm_logits (B, N, V), mlm_preds, mlm_per_position_loss, sampled_ids
            (B, N), corrupted_input_ids, is_fake_tokens, disc_logits, disc_per_token_loss (B, L),
            and the scalars mlm_loss, disc_loss, total_loss; with two towers cloze_scores
            (B, L, V) without the bias, cloze_per_token_loss (B, L) and cloze_loss, for Electric
            log_q (B, L). An objective without one of them leaves it out.
        """
        proposal = self.generator(batch, seed and seed.fold("generator"))
        outputs = self._masked_lm_outputs(batch, proposal)
        if sampled_ids is None:
            sampled_ids = self._sample(batch, proposal, sampling)
        corrupted, labels = scatter_update(
            batch["input_ids"], sampled_ids, batch[MASKED_LM_POSITIONS]
        )
        if self.objective != "electric":  # Electric: every chosen token counts as a fake
            labels = labels * ops.cast(corrupted != batch["input_ids"], "int32")
        outputs.update(
            sampled_ids=sampled_ids, corrupted_input_ids=corrupted, is_fake_tokens=labels
        )
        if self.rtd_head is not None:
            self._discriminate(batch, outputs, seed and seed.fold("discriminator"))
        for term in objectives.TERMS:
            if term.losses in outputs:
                total = (totals or {}).get(term.total)
                outputs[term.name] = term.mean(batch, outputs, self.special_ids, total)
        outputs["total_loss"] = functools.reduce(
            operator.add,
            (coefficient * outputs[term.name] for term, coefficient in self.loss_terms.items()),
        )
        return outputs

    def loss_totals(self, batch):
        """Returns dict name -> scalar: what the losses divide by, counted over a masked batch."""
        terms = {objectives.MASKED_LM, *self.loss_terms}
        return {
            term.total: term.count(batch, self.special_ids)
            for term in objectives.TERMS
            if term in terms
        }

    def mask(self, batch, seed, num_rows, num_slots):
        """Masks a batch, and draws the numbers that choose the generator's samples.

        Args:
            batch: dict of int32 input_ids, input_mask, segment_ids (B, L), row (B,).
            seed: random.Seed of this step.
            num_rows: size of the global batch.
            num_slots: N.
        Returns: dict, what masking.mask_tokens returns and `sampling`, float32 (B, N).
        """
        masked = mask_tokens(
            batch,
            seed=seed.fold("masking"),
            num_rows=num_rows,
            special_ids=self.special_ids,
            mask_prob=self.mask_prob,
            num_slots=num_slots,
        )
        sampling = seed.fold("sampling")
        masked["sampling"] = random.uniform_rows(sampling, batch[ROW], num_rows, (num_slots,))
        return masked

    def lm_logits(self, batch, positions):
        """Returns the generator's logits at positions, int32 (B, N): float32 (B, N, V).

        Args:
            batch: dict as an encoder takes it, of any size, masked as it shall be.
        """
        scores = ops.cast(self.generator.scores(batch, positions), "float32") + self.lm_head.bias
        return ops.reshape(scores, (*ops.shape(positions), self.encoder_config.vocab_size))

    def _masked_lm_outputs(self, batch, proposal):
        slots = batch[MASKED_LM_POSITIONS].shape  # (B, N)
        ids = ops.reshape(batch[MASKED_LM_IDS], (-1,))
        losses = vocab_kernels.cross_entropy(proposal.scores, proposal.bias, ids)
        logits = ops.cast(proposal.scores, "float32") + proposal.bias
        logits = ops.reshape(logits, (*slots, -1))
        return {
            **proposal.outputs,
            "mlm_logits": logits,
            "mlm_preds": ops.argmax(logits, axis=-1),
            "mlm_per_position_loss": ops.reshape(losses, slots),
        }

    def _discriminate(self, batch, outputs, seed):
        """Adds what the discriminator thinks of the corrupted text to the outputs."""
        corrupted = outputs["corrupted_input_ids"]
        states = self.electra(dict(batch, input_ids=corrupted), seed=seed)  # (B, L, H)
        logits = self.rtd_head(states)
        if self.objective == "electric":
            outputs["log_q"] = -self.generator.token_losses(outputs["cloze_scores"], corrupted)
            logits = logits + ops.stop_gradient(outputs["log_q"])
            logits = logits + math.log(self.mask_prob / (1 - self.mask_prob))
        outputs["disc_logits"] = logits
        outputs["disc_per_token_loss"] = objectives.rtd_loss_per_token(
            logits, outputs["is_fake_tokens"]
        )

    def _sample(self, batch, proposal, sampling):
        drawn = vocab_kernels.sample(
            ops.stop_gradient(proposal.scores),
            ops.stop_gradient(proposal.bias),
            ops.reshape(sampling, (-1,)),
            temperature=self.temperature,
            disallowed=(
                ops.reshape(batch[MASKED_LM_IDS], (-1,)) if self.disallow_correct else None
            ),
        )
        return ops.reshape(drawn, batch[MASKED_LM_POSITIONS].shape)
