"""One step's arithmetic, however it is cut: micro-batches, replicas, compiled or not."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from electra import random
from electra.model import kernels
from electra.model.config import encoder_config, generator_config
from electra.optim.adamw import AdamW
from electra.optim.schedule import learning_rate_at
from electra.pretrain.masking import mask_tokens
from electra.pretrain.metrics import metric_sums
from electra.pretrain.model import PretrainingModel
from electra.pretrain.objectives import loss_from_sums
from electra.pretrain.step import PretrainingStep
from electra.stacked import by_official_name
from electra.train.strategy import mirrored_strategy
from tests.pretrain.reference import FOLDERS, load_model
from tests.shared import FIXTURES, TINY, TRAJECTORY, assert_close, needs_fixtures

BATCH, LENGTH, VOCAB = 8, 16, 60
STEPS, RATE = 10, 1e-3


def make_model(objective="electra", dropout=0.0, dtype="float32"):
    keras.utils.set_random_seed(3)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "initializer_range": 0.1,
    }
    config = encoder_config("small", vocab_size=VOCAB, embedding_size=16, overrides=sizes)
    generator = generator_config(config, hidden_size_fraction=0.5, layers_fraction=1.0)
    return PretrainingModel(
        config,
        generator,
        {"cls": 2, "sep": 3, "mask": 4},
        objective=objective,
        two_tower_generator=objective == "electric",
        dtype=dtype,
    )


def global_batch(step):
    """A batch whose halves hold very different amounts of padding."""
    rng = np.random.default_rng(step)
    lengths = np.where(np.arange(BATCH) < BATCH // 2, LENGTH, rng.integers(4, 8, BATCH))
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    ids = rng.integers(5, VOCAB, (BATCH, LENGTH)).astype(np.int32)
    ids[:, 0] = 2
    rows = np.arange(BATCH, dtype=np.int32)
    return {
        "input_ids": ids * mask,
        "input_mask": mask,
        "segment_ids": np.zeros_like(ids),
        "row": rows,
    }


class Trainer:
    """A model and its step under a strategy, traced once; `train` begins at the start each time."""

    def __init__(
        self, strategy=None, *, objective="electra", dropout=0.0, dtype="float32", **kwargs
    ):
        self.strategy = strategy or tf.distribute.OneDeviceStrategy("/cpu:0")
        self.replicas = self.strategy.num_replicas_in_sync
        with self.strategy.scope():
            self.model = make_model(objective, dropout, dtype)
            self.optimizer = AdamW(
                self.model.variables_by_path(),
                compiled=False,
                learning_rate=lambda step: learning_rate_at(
                    step, learning_rate=RATE, num_train_steps=1000
                ),
            )
        self.step = PretrainingStep(
            self.model,
            self.optimizer,
            seed=1,
            global_batch=BATCH,
            num_slots=3,
            num_replicas=self.replicas,
            **kwargs,
        )
        self.run = tf.function(
            lambda batch, step: self.strategy.run(self.step, args=(batch, step)), autograph=False
        )
        self.start = self.values()

    def values(self):
        return {
            name: self.strategy.experimental_local_results(v.value)[0].numpy()
            for name, v in self.model.variables_by_path().items()
        }

    def shares(self, batch):
        share = BATCH // self.replicas

        def of_replica(context):
            first = context.replica_id_in_sync_group * share
            return {k: tf.constant(v[first : first + share]) for k, v in batch.items()}

        return self.strategy.experimental_distribute_values_from_function(of_replica)

    def train(self):
        """Returns the variables' movement over STEPS steps and the numbers of the last step."""
        for name, variable in self.model.variables_by_path().items():
            variable.assign(self.start[name])
        for slot in self.optimizer.slots.values():
            slot.assign(tf.zeros(slot.shape))
        for step in range(STEPS):
            row = self.run(self.shares(global_batch(step)), tf.constant(step, tf.int64))
        numbers = self.step.unpack(self.strategy.experimental_local_results(row)[0].numpy())
        end = self.values()
        return {name: end[name] - self.start[name] for name in end}, numbers


def largest_difference(movement, expected):
    """Largest difference of a variable's movement, relative to the movement."""
    worst = 0.0
    for name, value in expected.items():
        if name.endswith("self/key/bias"):  # its exact gradient is 0: rounding noise
            continue
        worst = max(worst, np.linalg.norm(movement[name] - value) / np.linalg.norm(value))
    return worst


@pytest.mark.parametrize("objective", ["electra", "electric", "mlm"])
def test_the_loss_that_is_logged_is_the_one_that_is_trained(objective):
    model = make_model(objective)
    masked = mask_tokens(
        {name: tf.constant(value) for name, value in global_batch(0).items()},
        seed=random.Seed(0),
        num_rows=BATCH,
        special_ids=model.special_ids,
        mask_prob=0.15,
        num_slots=3,
    )
    outputs = model(masked, sampling=random.uniform(random.Seed(1), (BATCH, 3)))
    sums = {k: v.numpy() for k, v in metric_sums(masked, outputs, model.special_ids).items()}
    loss = loss_from_sums(model.loss_terms, sums)
    assert loss == pytest.approx(float(outputs["total_loss"]), rel=1e-5)


def two_devices():
    return mirrored_strategy(["CPU:0", "CPU:1"])


@pytest.fixture(scope="module")
def one_device():
    return Trainer().train()


def test_two_replicas_move_the_parameters_as_one_does_and_a_lost_gradient_is_noticed(one_device):
    """Each computes its share in two micro-batches."""
    trainer = Trainer(two_devices(), micro_batches=2)
    kept = tf.Variable([1.0, 1.0])  # what each replica's gradients are multiplied by
    compute = trainer.step._gradients

    def gradients(*args):
        values, sums = compute(*args)
        factor = kept[tf.distribute.get_replica_context().replica_id_in_sync_group]
        return [value * factor for value in values], sums

    trainer.step._gradients = gradients
    movement, numbers = trainer.train()
    assert largest_difference(movement, one_device[0]) < 1e-3
    for name, value in one_device[1].items():
        np.testing.assert_allclose(numbers[name], value, rtol=1e-3, atol=1e-4, err_msg=name)

    kept.assign([1.0, 0.0])
    movement, _ = trainer.train()
    assert largest_difference(movement, one_device[0]) > 1e-2


def test_micro_batches_add_up_to_the_batch():
    """With Electric: its loss has a denominator more than ELECTRA's."""
    whole, numbers = Trainer(objective="electric").train()
    parts, part_numbers = Trainer(objective="electric", micro_batches=4).train()
    assert largest_difference(parts, whole) < 1e-3
    np.testing.assert_allclose(part_numbers["tokens"], numbers["tokens"])
    np.testing.assert_allclose(part_numbers["grad_norm"], numbers["grad_norm"], rtol=1e-3)


def test_the_whole_step_compiles_under_xla_and_computes_the_same(one_device):
    movement, _ = Trainer(compile_step=True).train()
    assert largest_difference(movement, one_device[0]) < 1e-3


def test_the_whole_bfloat16_step_is_one_program_without_host_operations():
    trainer = Trainer(dropout=0.1, dtype="mixed_bfloat16", compile_step=True)
    batch = {name: tf.constant(value) for name, value in global_batch(0).items()}
    step = tf.constant(0, tf.int64)
    graph = trainer.run.get_concrete_function(batch, step).graph
    outside = {op.type for op in graph.get_operations()}
    assert outside <= {"Placeholder", "Identity", "NoOp", "StatefulPartitionedCall", "Const"}
    (program,) = trainer.step._compiled.values()
    hlo = program.experimental_get_compiler_ir(batch, step)(stage="hlo")
    assert hlo.count(" dot(") > 30 and "bf16[" in hlo
    assert not re.search(r"\b(infeed|outfeed|send|recv|custom-call)\(", hlo)


def test_replicas_compile_under_xla_and_compute_the_same(one_device):
    movement, _ = Trainer(two_devices(), compile_step=True).train()
    assert largest_difference(movement, one_device[0]) < 1e-3


def test_dropout_is_that_of_the_global_batch_however_it_is_cut():
    movement, _ = Trainer(dropout=0.1).train()
    cut, _ = Trainer(two_devices(), dropout=0.1, micro_batches=2).train()
    assert largest_difference(cut, movement) < 1e-3


def test_dropout_differs_between_replicas_and_repeats():
    trainer = Trainer(two_devices(), dropout=0.1)
    half = {k: v[: BATCH // 2] for k, v in global_batch(0).items()}
    batch = {k: np.concatenate([v, v]) for k, v in half.items()}  # the same for both replicas
    step = tf.constant(4, tf.int64)

    def gradients(batch):
        masked = trainer.step._mask(batch, step)
        return trainer.step._gradients(masked, trainer.model.loss_totals(masked), step)[0]

    def run():
        values = trainer.strategy.run(gradients, args=(trainer.shares(batch),))
        return [trainer.strategy.experimental_local_results(each) for each in values]

    for (first, second), (again, _) in zip(run(), run(), strict=True):
        if first.shape.num_elements() > 1:  # a single number may come close by chance
            assert np.linalg.norm(first - second) > 1e-2 * np.linalg.norm(first)
        np.testing.assert_array_equal(first, again)


@needs_fixtures
@pytest.mark.parametrize(
    ("case", "islands"),
    [
        (path.name.removesuffix("_inputs.npz"), number % 2 == 0)
        for number, path in enumerate(sorted(FIXTURES.glob("optimizer/pretraining_*_inputs.npz")))
    ],
)
def test_trajectory_equals_the_official_one(case, islands):
    """Some updates of the official optimizer on the official loss, dropout off."""
    folder = FIXTURES / "optimizer"
    facts = json.loads((folder / f"{case}.json").read_text())
    inputs = dict(np.load(folder / f"{case}_inputs.npz"))
    expected = dict(np.load(folder / f"{case}.npz"))
    named = [each for each in FOLDERS if f"pretrain/{each.name}" in facts["start"]]
    start = max(named, key=lambda each: len(each.name))
    hparams = facts["hparams"]
    model, _ = load_model(start, **{k: hparams[k] for k in ("gen_weight", "disc_weight")})
    variables = model.variables_by_path()
    optimizer = AdamW(
        variables,
        compiled=False,
        weight_decay_rate=hparams["weight_decay_rate"],
        learning_rate=lambda step: learning_rate_at(
            step,
            learning_rate=hparams["learning_rate"],
            num_train_steps=hparams["num_train_steps"],
            num_warmup_steps=hparams.get("num_warmup_steps", hparams.get("warmup_steps")),
            lr_decay_power=hparams["lr_decay_power"],
        ),
    )
    start_from_checkpoint(start, facts, optimizer)
    for index, step in enumerate(facts["steps"]):
        prefix = f"step_{index}/"
        batch = {
            k[len(prefix) :]: tf.constant(v) for k, v in inputs.items() if k.startswith(prefix)
        }
        with tf.GradientTape() as tape, kernels.use_islands(islands):
            outputs = model(batch, sampled_ids=batch["sampled_tokids"])
        gradients = tape.gradient(outputs["total_loss"], [v.value for v in variables.values()])
        if index == 0:
            dense = dict(zip(variables, map(tf.convert_to_tensor, gradients), strict=True))
            compare(
                by_official_name(dense),
                expected,
                "step_0/gradient_before_clipping/",
            )
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
        rate, norm = strategy.run(
            optimizer.apply, args=(gradients, tf.constant(step["global_step_before"], tf.int64))
        )
        assert_close(norm, step["gradient_norm_dense"], TRAJECTORY)
        assert_close(rate, step["learning_rate"], 2e-6, atol=TINY)
        for name in {"loss", "mlm_loss", "disc_loss"} & step.keys():
            ours = outputs["total_loss" if name == "loss" else name]
            assert_close(ours, step[name], TRAJECTORY, name=name)
        compare(model.named_variables(), expected, prefix + "value/")
        norms = {name: tf.norm(model.named_variables()[name]) for name in step["l2_of_variable"]}
        assert_close(norms, step["l2_of_variable"], TRAJECTORY, each=True)
    last = f"step_{len(facts['steps']) - 1}/"
    for slot in ("adam_m", "adam_v"):
        slots = {
            k.removesuffix(f"/{slot}"): v for k, v in optimizer.slots.items() if k.endswith(slot)
        }
        compare(slots, expected, f"{last}{slot}/")


def start_from_checkpoint(folder, facts, optimizer):
    """Takes the checkpoint's moments, unless the case says that they are zero."""
    from electra.saving import checkpoints

    if "slots zero" not in facts["start"]:
        checkpoint = checkpoints.read(checkpoints.latest(folder))
        assert checkpoints.restore_slots(optimizer.slots, checkpoint)


def compare(values_by_name, expected, prefix):
    names = [key[len(prefix) :] for key in expected if key.startswith(prefix)]
    assert names, prefix
    for name in names:
        if name.endswith("self/key/bias"):  # its exact gradient is 0
            continue
        wanted = expected[prefix + name]
        ours = tf.convert_to_tensor(values_by_name[name]).numpy()[: len(wanted)]
        assert_close(ours, wanted, TRAJECTORY, atol=TINY, name=prefix + name)
