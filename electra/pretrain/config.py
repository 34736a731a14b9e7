"""Every pre-training hparam: its default, unit and source, and what must hold between them.

Enters: `--model_name`, `--data_dir` and the dict of `--hparams`. Leaves: a PretrainingConfig that
has checked itself. `python configure_pretraining.py` prints the table of hparams in Markdown.
"""

import os
from collections.abc import Sized
from typing import Any

from electra.cloud import mirror
from electra.cloud.urls import origin
from electra.data.order import ORDERS
from electra.data.patterns import escaped
from electra.hparams import Field
from electra.model.config import EncoderConfig, generator_config
from electra.pretrain.agreement import config_to_run
from electra.pretrain.defaults import OF_SIZE, OVERRIDES, defaults
from electra.pretrain.phases import NUMBERS, checked_phases, phases_of
from electra.saving.folder import OF_FINETUNING
from electra.train.config import AS_KNOWN, EXAMPLES, LARGEST, SHARE, STEPS, Place, RunConfig


class PretrainingConfig(RunConfig):
    """Settings of one pre-training run.

    Args: as in RunConfig.
    Attributes: one per field, and
        given: frozenset of the hparams' names.
        encoder: EncoderConfig of the discriminator (of the only network without one).
        generator: EncoderConfig of the generator (of each tower for Electric), or None where it
            has no encoder of its own.
        objective: "electra", "electric" or "mlm".
        max_predictions_per_seq: N, the masked slots of an example.
        With phases the numbers that they set are the last one's, but max_seq_length is the longest
        of them and num_train_steps the sum.
    Raises:
        ValueError: an unknown name (the closest is named), a wrong type, an impossible value.
    Source: configure_pretraining.py of the official code. Differs from source: `debug` leaves the
        network's size alone and does not delete the model's folder; the embedding size and the
        handling of accents are resolved here.
    """

    read_in_place = ("pretrain_tfrecords", "eval_tfrecords", "phases")
    shape_evaluation = ("eval_batch_size", "num_eval_steps")  # other batches: other masks

    # --- what to do ---
    debug = Field(False, "A run of a few steps to see that all works.", may_change=True)
    do_train = Field(True, "Pre-train.", may_change=True)
    do_eval = Field(False, "Evaluate on held-out text (after training, if both).", may_change=True)

    # --- objective ---
    electra_objective = Field(True, "Detect replaced tokens; false: masked LM only.")
    electric_objective = Field(
        False, "Electric: noise-contrastive cloze model. Wins over electra_objective."
    )
    gen_weight = Field(1.0, "Weight of the generator's masked-LM loss.", at_least=0)
    disc_weight = Field(50.0, "Weight of the discriminator's loss.", at_least=0)
    mask_prob = Field(0.15, "Share of the tokens to mask or replace.", above=0, below=1)

    # --- optimization ---
    learning_rate = Field(5e-4, "Highest learning rate.", above=0)
    num_warmup_steps = Field(10000, "Linear warm-up.", unit="steps", at_least=0)
    warmup_proportion = Field(
        0.0,
        "Warm-up as a share of num_train_steps; the longer of the two warm-ups counts.",
        source="official (fine-tuning)",
        **SHARE,
    )
    lr_restart_step = Field(
        0,
        "From this step s the schedule starts anew over the remaining steps, warm-up included: "
        "rate(t) is that of step t - s in a run of num_train_steps - s steps. 0: no restart.",
        unit="steps",
        source="ours",
        at_least=0,
        may_change=True,
    )
    gradient_accumulation_steps = Field(
        1,
        "Micro-batches into which train_batch_size is cut; the update stays that of the batch.",
        unit="micro-batches",
        source="ours",
        at_least=1,
        at_most=LARGEST,
    )

    # --- training ---
    iterations_per_loop = Field(200, "Steps per call into the graph.", **STEPS)
    save_checkpoints_steps = Field(1000, "Steps between checkpoints.", **STEPS)
    keep_checkpoint_max = Field(
        5,
        "Newest checkpoints kept. 0 or null: all.",
        unit="checkpoints",
        null=True,
        at_least=0,
        may_change=True,
    )
    num_train_steps = Field(
        1000000, "Updates from the first to the last.", at_most=2**31 - 1, **STEPS
    )
    phases = Field(
        [],
        "Parts of the run, one after another, each a dict of its steps and of what differs in it: "
        "see docs/pretraining.md. A run that goes on may change those that have not begun, extend "
        "the last and add more.",
        source="ours",
        may_change=True,
    )
    num_eval_steps = Field(100, "Batches of an evaluation, at most.", **STEPS)
    eval_every_steps = Field(
        None,
        "Steps between evaluations on eval_tfrecords while training, if such records exist. "
        "null: at every checkpoint; 0: never.",
        unit="steps",
        source="ours",
        kinds=(int,),
        at_least=0,
        may_change=True,
    )
    seed = Field(
        0,
        "Sets weights, order, masks, samples and dropout.",
        source="ours",
        at_least=0,
        at_most=2**32 - 1,  # Keras takes no more
    )
    record_order = Field(
        ORDERS[0],
        "How each epoch's order of the records comes about. index_shuffle: every place is "
        "computed, in constant memory; permutation: drawn in memory, as before version 0.2.",
        source="ours",
        choices=ORDERS,
    )
    init_checkpoint = Place(
        "Checkpoint whose weights a new run starts from, at step 0 with fresh moments. Read only "
        "when the model's folder holds no checkpoint.",
        source="ours",
    )

    # --- generator ---
    uniform_generator = Field(False, "Replacements are drawn uniformly; no generator network.")
    two_tower_generator = Field(
        False, "The generator is a left-to-right and a right-to-left network; electric needs it."
    )
    untied_generator_embeddings = Field(False, "The generator has tables of its own.")
    untied_generator = Field(True, "The generator is a network of its own.")
    generator_layers = Field(1.0, "The generator's layers, as a share.", above=0, at_most=100)
    generator_hidden_size = Field(
        0.25, "The generator's hidden size, as a share.", above=0, at_most=100
    )
    generator_layer_groups = Field(
        None,
        "Sets of weights that the generator's layers share. null: as many as layers, or as "
        "num_layer_groups in model_hparam_overrides says.",
        unit="sets",
        source="ours",
        kinds=(int,),
        at_least=1,
    )
    disallow_correct = Field(False, "The generator never draws the original token.")
    temperature = Field(1.0, "Temperature of the generator's draw.", above=0)

    # --- batches ---
    max_seq_length = Field(128, f"Length L of an example{AS_KNOWN}", unit="tokens", at_least=5)
    train_batch_size = Field(128, "Global batch of an update.", **EXAMPLES)
    eval_batch_size = Field(128, "Global batch of an evaluation.", may_change=True, **EXAMPLES)

    # --- places; null: from data_dir (D) and model_name (M) ---
    pretrain_tfrecords = Place(
        "Records, a glob, or several with commas between them; [,] is a comma in a name. "
        "null: D/pretrain_tfrecords/pretrain_data.tfrecord*"
    )
    eval_tfrecords = Place(
        "Held-out records, a glob. null: D/pretrain_tfrecords/eval_data.tfrecord*", source="ours"
    )
    vocab_file = Place("Vocabulary. null: D/vocab.txt, or model_dir's where there is none")
    model_dir = Place("The run's folder. null: D/models/M")
    results_txt = Place("Scores as text. null: results/unsup_results.txt in model_dir")

    def pull(self, hparams: dict[str, Any], home: str, start: str | None) -> None:
        super().pull(hparams, home, start)
        if isinstance(home, str):
            only_reads = hparams.get("do_train") is False
            mirror.pull(home, left_out=OF_FINETUNING, newest=only_reads)

    def resolve(self, hparams: dict[str, Any]) -> None:
        self._refuse_computed(hparams)
        self.check_given(hparams)
        home, _ = self.places(hparams)
        derived = defaults(hparams, self.fields, home, self._records(hparams))
        if hparams.get("electric_objective") is True:
            derived["two_tower_generator"] = True
        self.fill(hparams, derived)
        self.model_hparam_overrides = {
            **derived.get(OVERRIDES, {}),
            **self.model_hparam_overrides,
        }
        self._fill_places()
        self._fill_phases()
        self.keep_checkpoint_max = self.keep_checkpoint_max or 0
        self.set_encoder(self.make_encoder(self.model_hparam_overrides))
        self.generator = None
        if self.objective != "mlm" and not self.uniform_generator and self.untied_generator:
            self.generator = self.make_generator(self.generator_hidden_size, self.generator_layers)
        self._check()

    @property
    def objective(self) -> str:
        """Returns "electric", "electra" or "mlm"."""
        if self.electric_objective:
            return "electric"
        return "electra" if self.electra_objective else "mlm"

    @property
    def max_predictions_per_seq(self) -> int:
        """Returns N, the masked slots of an example: 1 to max_seq_length."""
        slots = int((self.mask_prob + 0.005) * self.max_seq_length)
        return min(max(1, slots), self.max_seq_length)

    def check_vocab(self, vocab: Sized) -> str | None:
        """Compares the vocabulary with the word table.

        Args:
            vocab: Vocabulary, or anything with a length.
        Returns: a note for the log where the table has unused rows, else None.
        Raises:
            ValueError: the vocabulary is larger than the table.
        """
        unused = self.vocab_size - len(vocab)
        if unused < 0:
            raise ValueError(
                f"{self.vocab_file} holds {len(vocab)} tokens, more than the word table: "
                f'vocab_size {self.vocab_size}. Add "vocab_size": {len(vocab)} to --hparams'
            )
        if unused > 0:
            return (
                f"{self.vocab_file} holds {len(vocab)} tokens: {unused} of the {self.vocab_size} "
                f'rows of the word table stay unused. A new run may have "vocab_size": {len(vocab)}'
            )
        return None

    @classmethod
    def markdown(cls) -> str:
        own = [
            f'With `"model_size": "{size}"` the defaults are '
            + ", ".join(f"`{name}` {value}" for name, value in values.items())
            + "."
            for size, values in OF_SIZE.items()
        ]
        return "\n\n".join([super().markdown(), *own])

    def check_files(self) -> None:
        config_to_run(self)

    def _refuse_computed(self, hparams):
        if "max_predictions_per_seq" in hparams:
            raise ValueError(
                "hparam 'max_predictions_per_seq' is computed: int((mask_prob + 0.005) * "
                "max_seq_length). Set those two instead"
            )

    def _fill_phases(self):
        self.phases = checked_phases(self)
        if self.phases:
            for name in NUMBERS:
                setattr(self, name, self.phases[-1][name])
            self.max_seq_length = max(phase["max_seq_length"] for phase in self.phases)
            total = sum(phase["steps"] for phase in self.phases)
            self.num_train_steps = self.fields["num_train_steps"].checked("num_train_steps", total)

    def _records(self, hparams):
        """Returns the patterns of the training and the held-out records."""
        folder = os.path.join(escaped(origin(self.data_dir)), "pretrain_tfrecords")
        names = {"pretrain_tfrecords": "pretrain_data", "eval_tfrecords": "eval_data"}
        return [
            hparams.get(hparam) or os.path.join(folder, f"{name}.tfrecord*")
            for hparam, name in names.items()
        ]

    def _fill_places(self):
        places = self.values("pretrain_tfrecords", "eval_tfrecords")
        self.pretrain_tfrecords, self.eval_tfrecords = self._records(places)
        self.model_dir = self.model_dir or os.path.join(self.data_dir, "models", self.model_name)
        of_data, of_model = (os.path.join(d, "vocab.txt") for d in (self.data_dir, self.model_dir))
        is_only_the_models = os.path.exists(of_model) and not os.path.exists(of_data)
        self.vocab_file = self.vocab_file or (of_model if is_only_the_models else of_data)
        results = os.path.join(self.model_dir, "results")
        self.results_txt = self.results_txt or os.path.join(results, "unsup_results.txt")
        self.results_pkl = self.results_pkl or os.path.join(results, "unsup_results.pkl")

    def make_generator(self, hidden_size_fraction: float, layers_fraction: float) -> EncoderConfig:
        """Returns the generator's EncoderConfig, of these shares of the discriminator's sizes."""
        return generator_config(
            self.encoder,
            hidden_size_fraction=hidden_size_fraction,
            layers_fraction=layers_fraction,
            num_layer_groups=self.generator_layer_groups,
        )

    def _check(self):
        """Checks the values against each other. Raises: ValueError."""
        self._check_objective()
        self.check_run()
        if not self.do_train and not self.do_eval:
            raise ValueError("do_train and do_eval are both false: nothing to do. Set one to true")
        if self.phases:  # each is a config of its own
            phases_of(self)
            return
        if self.train_batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"train_batch_size {self.train_batch_size} is not a multiple of "
                f"gradient_accumulation_steps {self.gradient_accumulation_steps}"
            )
        if self.lr_restart_step >= self.num_train_steps:
            raise ValueError(
                f"lr_restart_step {self.lr_restart_step} must come before num_train_steps "
                f"{self.num_train_steps}"
            )

    def _check_objective(self):
        """A masked LM needs a generator, two towers a network of their own, Electric two towers."""
        own = self.objective != "mlm" and self.untied_generator and not self.uniform_generator
        if self.objective == "mlm" and self.uniform_generator:
            raise ValueError(
                "uniform_generator with electra_objective false leaves nothing to train. Leave one "
                "of them out"
            )
        if self.electric_objective and not self.two_tower_generator:
            raise ValueError("electric_objective needs two_tower_generator. Received: false")
        if self.two_tower_generator and not own:
            raise ValueError(
                "two_tower_generator (true with electric_objective) needs a generator of its own. "
                f"Received: objective {self.objective!r}, uniform_generator "
                f"{self.uniform_generator}, untied_generator {self.untied_generator}"
            )
