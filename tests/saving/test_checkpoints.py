"""Checkpoints: what is written comes back, nothing half written counts, TF1's are read."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tensorflow as tf

from electra.saving import checkpoints
from electra.saving.shapes import infer_generator_fractions
from electra.saving.tensors import write_safetensors
from tests.saving.pairs import save_pair
from tests.shared import FIXTURES, needs_fixtures

KERNEL = "electra/encoder/layer_0/attention/self/query/kernel"
VALUES = {
    KERNEL: np.array([[1.5, -0.0], [np.pi, 1e-40]], np.float32),
    "generator_predictions/output_bias": np.zeros(3, np.float32),
}
SLOTS = {f"{name}/{slot}": VALUES[name] + 1 for name in VALUES for slot in ("adam_m", "adam_v")}


def variables_like(values):
    return {name: tf.Variable(np.full_like(value, 9)) for name, value in values.items()}


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    path = checkpoints.save(tmp_path, 7, {**VALUES, **SLOTS}, {"interval": {"loss": 0.1}})
    for entry in (path, tmp_path):
        checkpoint = checkpoints.read(entry)
        assert (checkpoint.step, checkpoint.kind) == (7, "safetensors")
        assert checkpoint.state == {"interval": {"loss": 0.1}}
        assert sorted(checkpoint.tensors) == sorted({**VALUES, **SLOTS})
        for name, value in {**VALUES, **SLOTS}.items():
            assert checkpoint.tensors[name].tobytes() == value.tobytes()
    assert checkpoints.read(path).tensors.shapes()[KERNEL] == (2, 2)


def test_the_library_reads_what_is_written(tmp_path):
    tensors = {"a": tf.Variable(2.5), "b": np.zeros((0, 3), np.float32), "c": np.arange(3)}
    path = checkpoints.save(tmp_path, 0, tensors, {"seconds": 1.5})
    with safetensors.safe_open(path, "np") as opened:
        about = json.loads(opened.metadata()[checkpoints.METADATA])
    assert about == {"format": checkpoints.FORMAT, "step": 0, "state": {"seconds": 1.5}}
    loaded = safetensors.numpy.load_file(path)
    assert {name: (str(a.dtype), a.tolist()) for name, a in loaded.items()} == {
        "a": ("float32", 2.5),
        "b": ("float32", []),
        "c": ("int64", [0, 1, 2]),
    }


def test_the_newest_are_kept_and_left_overs_removed(tmp_path):
    (tmp_path / "model.ckpt-1.safetensors.tmp").write_bytes(b"torn")
    (tmp_path / "model.ckpt-1.json.99.tmp").write_bytes(b"torn")
    safetensors.numpy.save_file(VALUES, tmp_path / "model.ckpt-5.safetensors")  # half of a pair
    save_pair(tmp_path, 6, VALUES, {})
    (tmp_path / "notes.txt").write_text("a user's")
    for step in (9, 10, 100):
        checkpoints.save(tmp_path, step, VALUES, {}, keep_max=2)
    assert sorted(os.listdir(tmp_path)) == [
        "model.ckpt-10.safetensors",
        "model.ckpt-100.safetensors",
        "notes.txt",
    ]
    assert checkpoints.latest(tmp_path) == str(tmp_path / "model.ckpt-100.safetensors")


def test_a_users_copies_beside_checkpoints_stay(tmp_path):
    copies = {"model.ckpt-3.json.bak", "model.ckpt-3.safetensors.gz", "model.ckpt-3.json.1.tmp.old"}
    for name in (*copies, "model.ckpt-3.safetensors.17.tmp"):
        (tmp_path / name).write_text("")
    checkpoints.save(tmp_path, 9, VALUES, {}, keep_max=1)
    assert {*os.listdir(tmp_path)} == {*copies, "model.ckpt-9.safetensors"}


def test_keep_max_0_keeps_all(tmp_path):
    for step in range(4):
        checkpoints.save(tmp_path, step, VALUES, {}, keep_max=0)
    assert len(os.listdir(tmp_path)) == 4


def test_an_empty_or_missing_folder_has_none(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    assert checkpoints.latest(tmp_path / "nothing") is None
    with pytest.raises(FileNotFoundError, match="holds no checkpoint. Expected: model.ckpt-"):
        checkpoints.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="No checkpoint at .*model.ckpt-3"):
        checkpoints.read(tmp_path / "model.ckpt-3")


def test_a_damaged_newest_one_is_an_error_and_not_passed_over(tmp_path):
    checkpoints.save(tmp_path, 1, VALUES, {})
    path = checkpoints.save(tmp_path, 2, VALUES, {})
    data = (tmp_path / "model.ckpt-2.safetensors").read_bytes()
    advice = "Remove that checkpoint's files to go on from the one before it"
    with open(path, "wb") as file:
        file.write(data[:-1])
    with pytest.raises(
        ValueError, match=f"ckpt-2.safetensors is damaged: .*not fully covered.*{advice}"
    ):
        checkpoints.read(tmp_path)
    with open(path, "wb") as file:
        file.write(b"\xff" * len(data))
    with pytest.raises(ValueError, match=f"ckpt-2.safetensors is damaged.*{advice}"):
        checkpoints.read(tmp_path)


def test_a_save_that_fails_leaves_the_checkpoints_as_they_were(tmp_path):
    checkpoints.save(tmp_path, 1, VALUES, {})
    with pytest.raises(ValueError):  # JSON has no NaN
        checkpoints.save(tmp_path, 2, VALUES, {"loss": float("nan")}, keep_max=1)
    assert checkpoints.read(tmp_path).step == 1


# ---- restoring ----


def test_restore_assigns_and_reports_every_variable(tmp_path):
    checkpoint = checkpoints.read(checkpoints.save(tmp_path, 7, {**VALUES, **SLOTS}, {}))
    variables = variables_like({KERNEL: VALUES[KERNEL], "new/bias": np.zeros(2, np.float32)})
    report = checkpoints.restore(variables, checkpoint, require_all=False)
    assert variables[KERNEL].numpy().tobytes() == VALUES[KERNEL].tobytes()
    assert variables["new/bias"].numpy().tolist() == [9, 9]
    assert (report.matched, report.missing) == ([KERNEL], ["new/bias"])
    bias = "generator_predictions/output_bias"
    assert report.unused == [bias, f"{bias}/adam_m", f"{bias}/adam_v"]
    for line in (
        f"matched: {KERNEL}",
        "missing in the checkpoint: new/bias",
        f"unused from the checkpoint: {bias}",
    ):
        assert line in str(report)


def test_a_long_report_has_a_summary():
    report = checkpoints.RestoreReport([f"a{i}" for i in range(5)], [], ["z"])
    assert report.summary().splitlines() == [
        "matched 5 variables",
        "  matched: a0",
        "  matched: a1",
        "  matched: a2",
        "  matched: and 2 more",
        "  unused from the checkpoint: z",
    ]
    assert "and" not in str(report) and len(str(report).splitlines()) == 7


def test_restore_assigns_to_every_replica(tmp_path):
    checkpoint = checkpoints.read(checkpoints.save(tmp_path, 7, VALUES, {}))
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        variables = variables_like(VALUES)
    checkpoints.restore(variables, checkpoint, require_all=True)
    for copy in strategy.experimental_local_results(variables[KERNEL]):
        assert copy.numpy().tobytes() == VALUES[KERNEL].tobytes()
    checkpoints.save(tmp_path, 8, variables, {})
    assert checkpoints.read(tmp_path).tensors[KERNEL].tobytes() == VALUES[KERNEL].tobytes()


def test_missing_variables_are_refused_where_all_are_required(tmp_path):
    checkpoint = checkpoints.read(checkpoints.save(tmp_path, 7, VALUES, {}))
    variables = variables_like({**VALUES, "new/bias": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="lacks 1 of the model's 3 variables.*new/bias"):
        checkpoints.restore(variables, checkpoint, require_all=True)
    strangers = variables_like({"new/bias": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="lacks 1 of the model's 1 variables"):
        checkpoints.restore(strangers, checkpoint, require_all=False)


def test_another_shape_is_refused_with_both_and_changes_nothing(tmp_path):
    checkpoint = checkpoints.read(checkpoints.save(tmp_path, 7, VALUES, {}))
    bias = "generator_predictions/output_bias"
    variables = variables_like({KERNEL: VALUES[KERNEL], bias: np.zeros(5, np.float32)})
    with pytest.raises(ValueError, match=rf"{bias} has shape \(3,\), .* \(5,\).*generator_hidden"):
        checkpoints.restore(variables, checkpoint, require_all=True)
    assert variables[KERNEL].numpy().tolist() == [[9, 9], [9, 9]]


@pytest.mark.parametrize("name", [KERNEL, f"{KERNEL}/adam_v"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((2, 2), np.int32), "is of type int32, expected float32"),
        (np.ones((2, 2), np.int64), "is of type int64, expected float32"),
        (np.full((2, 2), np.nan, np.float32), "holds numbers that are not finite"),
        (np.full((2, 2), np.inf, np.float32), "holds numbers that are not finite"),
        (np.ones((2, 3), np.float32), r"has shape \(2, 3\)"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(tmp_path, name, value, message):
    tensors = {**VALUES, **SLOTS, name: value}
    checkpoint = checkpoints.read(checkpoints.save(tmp_path, 7, tensors, {}))
    with pytest.raises(ValueError, match=f"ckpt-7.safetensors: {name} {message}"):
        checkpoints.restore(variables_like(VALUES), checkpoint, require_all=True)
        checkpoints.restore_slots(variables_like(SLOTS), checkpoint)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64", "F8_E4M3", "BOOL"])
def test_types_that_are_never_written_are_refused(tmp_path, dtype):
    path = tmp_path / "model.ckpt-7.safetensors"
    size = {"F64": 1, "F16": 4, "BF16": 4}.get(dtype, 8)
    header = {"a": {"dtype": dtype, "shape": [size], "data_offsets": [0, 8]}}
    encoded = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded + bytes(8))
    with pytest.raises(ValueError, match=f"a is of type {dtype}, expected F32"):
        checkpoints.read(path)


def test_a_file_of_other_code_is_said_to_be_one(tmp_path):
    safetensors.numpy.save_file(VALUES, tmp_path / "model.safetensors")
    message = "is no checkpoint: .*model.json.*Other safetensors files"
    with pytest.raises(FileNotFoundError, match=message):
        checkpoints.read(tmp_path / "model.safetensors")


def test_moments_are_restored_all_or_none(tmp_path):
    slots = variables_like(SLOTS)
    full = checkpoints.read(checkpoints.save(tmp_path / "full", 1, {**VALUES, **SLOTS}, {}))
    assert checkpoints.restore_slots(slots, full)
    assert {name: s.numpy().tolist() for name, s in slots.items()} == {
        name: value.tolist() for name, value in SLOTS.items()
    }
    none = checkpoints.read(checkpoints.save(tmp_path / "none", 1, VALUES, {}))
    assert not checkpoints.restore_slots(slots, none)
    some = {**VALUES, f"{KERNEL}/adam_m": VALUES[KERNEL]}
    with pytest.raises(ValueError, match="holds moments, but not"):
        checkpoints.restore_slots(
            slots, checkpoints.read(checkpoints.save(tmp_path / "some", 1, some, {}))
        )


def test_generator_fractions_come_from_the_shapes():
    def network(scope, width, layers):
        return {
            f"{scope}/encoder/layer_{i}/attention/self/query/kernel": (width, width)
            for i in range(layers)
        }

    infer = infer_generator_fractions
    assert infer({**network("electra", 256, 12), **network("generator", 64, 12)}) == (0.25, 1.0)
    assert infer({**network("electra", 8, 12), **network("generator", 16, 3)}) == (2.0, 0.25)
    towers = {**network("generator_ltr", 4, 2), **network("generator_rtl", 4, 2)}
    assert infer({**network("electra", 8, 4), **towers}) == (0.5, 0.5)
    assert infer(network("electra", 256, 12)) is None
    assert infer({}) is None
    odd = {**network("electra", 8, 1), "generator/encoder/layer_0/attention/self/query/kernel": ()}
    assert infer(odd) is None


# ---- checkpoints of the official code ----

VARIANTS = sorted((FIXTURES / "pretrain").glob("*/config.json"))


@needs_fixtures
@pytest.mark.parametrize("config", VARIANTS, ids=lambda path: path.parent.name)
def test_official_checkpoints_are_read(config):
    checkpoint = checkpoints.read(config.parent)
    index = next(config.parent.glob("model.ckpt-*.index"))
    assert checkpoint.kind == "tf1"
    assert checkpoint.step == int(index.stem.rsplit("-", 1)[1])
    shapes = checkpoint.tensors.shapes()
    for name in checkpoint.tensors:
        assert checkpoint.tensors[name].shape == shapes[name]
    assert checkpoints.read(index).step == checkpoint.step


@needs_fixtures
@pytest.mark.parametrize("config", VARIANTS, ids=lambda path: path.parent.name)
def test_generator_sizes_of_official_checkpoints_are_inferred(config):
    about = json.loads(config.read_text())
    shapes = checkpoints.read(config.parent).tensors.shapes()
    fractions = infer_generator_fractions(shapes)
    if not any(name.startswith(("generator/encoder", "generator_ltr/")) for name in shapes):
        assert fractions is None
        return
    network, generator = (
        about[key] for key in ("resolved_transformer", "resolved_generator_transformer")
    )
    width, layers = fractions
    assert round(width * network["hidden_size"]) == generator["hidden_size"]
    assert round(layers * network["num_hidden_layers"]) == generator["num_hidden_layers"]


@needs_fixtures
def test_ours_go_before_the_official_ones(tmp_path):
    source = VARIANTS[0].parent
    for path in source.glob("*ckpt*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    step = checkpoints.read(tmp_path).step
    assert checkpoints.read(tmp_path).kind == "tf1"
    checkpoints.save(tmp_path, step + 1, VALUES, {}, keep_max=1)
    assert checkpoints.read(tmp_path).step == step + 1
    assert list(tmp_path.glob("model.ckpt-*.index"))


def save_tf1(folder, tensors):
    """Writes model.ckpt-3 as the official code does, without the file `checkpoint`."""
    folder.mkdir(exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt-3"),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    return folder / "model.ckpt-3.data-00000-of-00001"


def test_a_damaged_official_checkpoint_is_named(tmp_path):
    (tmp_path / "model.ckpt-3.index").write_bytes(b"nothing of use")
    with pytest.raises(ValueError, match="model.ckpt-3 is no readable TF1 checkpoint"):
        checkpoints.read(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        None,
        lambda data: b"",
        lambda data: data[:9],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    ],
    ids=["missing", "emptied", "truncated", "flipped"],
)
def test_damaged_data_of_an_official_checkpoint_are_named(tmp_path, damage):
    path = save_tf1(tmp_path, VALUES)
    data = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(data))
    with pytest.raises(ValueError, match="model.ckpt-3 is no readable TF1 .*Copy its files anew"):
        checkpoints.restore(variables_like(VALUES), checkpoints.read(tmp_path), require_all=True)


@pytest.mark.parametrize("step", [2.5, -3, [3], "three"])
def test_a_step_of_an_official_checkpoint_is_a_whole_number(tmp_path, step):
    save_tf1(tmp_path, {**VALUES, "global_step": step})
    if step == "three":  # strings are no weights
        assert checkpoints.read(tmp_path).step == 0
        return
    with pytest.raises(ValueError, match="model.ckpt-3: global_step is .*expected a whole number"):
        checkpoints.read(tmp_path)


@pytest.mark.parametrize("path", ["{}/other/model.ckpt-3", "../other/model.ckpt-3", "model.ckpt-3"])
def test_the_named_folder_wins_over_the_path_in_the_file_checkpoint(tmp_path, path):
    for folder in ("named", "other"):
        save_tf1(tmp_path / folder, VALUES)
    listing = f'model_checkpoint_path: "{path.format(tmp_path)}"\n'
    (tmp_path / "named" / "checkpoint").write_text(listing)
    assert checkpoints.latest(tmp_path / "named") == str(tmp_path / "named" / "model.ckpt-3")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"\xff\xfe",
        b"[" * 10_000,
        b'model_checkpoint_path: ""',
        b'model_checkpoint_path: "a\\000b"',
        b'model_checkpoint_path: "/elsewhere/model.ckpt-9"',
    ],
)
def test_a_file_checkpoint_that_names_none_is_refused(tmp_path, content):
    save_tf1(tmp_path, VALUES)
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(ValueError, match="/checkpoint names the checkpoint .* remove that file"):
        checkpoints.read(tmp_path)


def test_a_flipped_bit_is_found(tmp_path):
    path = checkpoints.save(tmp_path, 3, VALUES, {})
    with open(path, "r+b") as file:
        file.seek(-2, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-2, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ValueError, match="checksum does not fit"):
        checkpoints.read(tmp_path)


ODD = [
    {"step": "3"},
    {"step": 4},
    {"step": -3},
    {"step": None},
    {"format": 3},
    {"format": None},
    {"state": []},
    {"state": {"seconds": "x"}},
    *({"state": {"interval": odd}} for odd in ([1.5], 3, "x", None)),
]


@pytest.mark.parametrize("change", ODD, ids=str)
def test_odd_metadata_are_a_damaged_checkpoint(tmp_path, change):
    about = {"format": checkpoints.FORMAT, "step": 3, "state": {}, **change}
    path = tmp_path / "model.ckpt-3.safetensors"
    with open(path, "wb") as file:
        write_safetensors(file, VALUES, {checkpoints.METADATA: json.dumps(about)})
    with pytest.raises(ValueError, match=r"ckpt-3.safetensors is damaged: .*Remove that"):
        checkpoints.read(path, verify=False)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_of_other_code_that_is_named_as_ours_is_refused(tmp_path, metadata):
    path = tmp_path / "model.ckpt-3.safetensors"
    safetensors.numpy.save_file(VALUES, path, metadata)
    with pytest.raises(FileNotFoundError, match="is no checkpoint: .*Other safetensors files"):
        checkpoints.read(path)


def test_a_flipped_byte_anywhere_is_refused_or_changes_nothing(tmp_path):
    path = Path(checkpoints.save(tmp_path, 3, {**VALUES, **SLOTS}, {"interval": {"loss": 0.1}}))
    data, rng = path.read_bytes(), np.random.default_rng(1)
    header = 8 + int.from_bytes(data[:8], "little")
    places = [*range(0, header, 11), *rng.integers(0, len(data), 200), *range(header, len(data), 9)]
    refused = 0
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = checkpoints.read(path)
        except (ValueError, FileNotFoundError):
            refused += 1
            continue
        assert (found.step, found.state) == (3, {"interval": {"loss": 0.1}})
        for name, value in {**VALUES, **SLOTS}.items():
            assert found.tensors[name].tobytes() == value.tobytes()
    assert refused == len(places)


def test_every_way_to_cut_a_file_is_refused(tmp_path):
    path = Path(checkpoints.save(tmp_path, 3, VALUES, {}))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="ckpt-3.safetensors is damaged: .*Remove that"):
            checkpoints.read(path, verify=False)


# ---- pairs of files, of earlier versions ----


def test_a_pair_is_read_and_goes_with_the_others(tmp_path):
    path = save_pair(tmp_path, 7, {**VALUES, **SLOTS}, {"interval": {"loss": 0.1}})
    for entry in (path, path.replace(".safetensors", ".json"), tmp_path):
        checkpoint = checkpoints.read(entry)
        assert (checkpoint.step, checkpoint.state) == (7, {"interval": {"loss": 0.1}})
        for name, value in {**VALUES, **SLOTS}.items():
            assert checkpoint.tensors[name].tobytes() == value.tobytes()
    beside = tmp_path / "model.ckpt-7.json"
    assert checkpoint.digest == hashlib.sha256(beside.read_bytes()).hexdigest()
    checkpoints.save(tmp_path, 8, VALUES, {}, keep_max=2)
    assert checkpoints.read(tmp_path).step == 8
    assert len(os.listdir(tmp_path)) == 3
    checkpoints.save(tmp_path, 9, VALUES, {}, keep_max=2)
    assert sorted(os.listdir(tmp_path)) == ["model.ckpt-8.safetensors", "model.ckpt-9.safetensors"]


def test_a_checkpoint_wins_over_the_pair_of_its_step(tmp_path):
    save_pair(tmp_path, 7, VALUES, {"seconds": 1.0})
    checkpoints.save(tmp_path, 7, VALUES, {"seconds": 2.0})
    assert checkpoints.read(tmp_path).state == {"seconds": 2.0}
    checkpoints.remove(tmp_path)
    assert os.listdir(tmp_path) == []


def test_half_a_pair_does_not_exist(tmp_path):
    save_pair(tmp_path, 1, VALUES, {})
    path = Path(save_pair(tmp_path, 2, VALUES, {}))
    (tmp_path / "model.ckpt-2.json").unlink()
    assert checkpoints.latest(tmp_path) == str(tmp_path / "model.ckpt-1.safetensors")
    with pytest.raises(FileNotFoundError, match="no .*ckpt-2.json of an earlier version lies"):
        checkpoints.read(path)
    save_pair(tmp_path, 2, VALUES, {})
    path.unlink()
    with pytest.raises(FileNotFoundError, match="ckpt-2.safetensors is missing. Remove that"):
        checkpoints.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", "{}"])
def test_a_damaged_json_of_a_pair_is_named(tmp_path, text):
    path = save_pair(tmp_path, 2, VALUES, {})
    (tmp_path / "model.ckpt-2.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="ckpt-2.safetensors is damaged: ") as raised:
        checkpoints.read(path)
    assert str(raised.value).count(checkpoints.GO_BACK) == 1


@pytest.mark.parametrize("change", [*ODD, {"format": 2}, {"bytes": None}], ids=str)
def test_an_odd_json_is_a_damaged_checkpoint(tmp_path, change):
    path = save_pair(tmp_path, 3, VALUES, {})
    about = tmp_path / "model.ckpt-3.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
    with pytest.raises(ValueError, match=r"ckpt-3.safetensors is damaged: .*Remove that"):
        checkpoints.read(path)


def test_a_flipped_bit_in_a_pair_is_found(tmp_path):
    path = Path(save_pair(tmp_path, 3, VALUES, {}))
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    with pytest.raises(ValueError, match="checksum does not fit"):
        checkpoints.read(tmp_path)
