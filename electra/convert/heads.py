"""Fine-tuned models in Hugging Face's layout: classification of texts and tokens, answers.

Enters: an opened model of ours and the name of a task, or a folder of theirs. Leaves: an Export, or
the rows of tasks and tensors of a model of ours.
"""

import numpy as np

from electra.convert import huggingface
from electra.convert.names import Weight
from electra.storage import check_shape

# Names of families, as in finetune/families.
CLASSIFICATION, REGRESSION, QA, TAGGING = "classification", "regression", "qa", "tagging"
MULTILABEL = "multilabel"
_PROBLEMS = {
    CLASSIFICATION: "single_label_classification",
    REGRESSION: "regression",
    MULTILABEL: "multi_label_classification",
}
_METRICS = {
    CLASSIFICATION: "accuracy",
    REGRESSION: "spearman",
    MULTILABEL: "micro_f1",
    QA: "squad_v1",
}
_ENCODER_ALONE = "Convert its encoder alone (--part encoder)"


def finetuned(opened, task=None):
    """Returns the Export of a fine-tuned model, for one of its tasks.

    Args:
        opened: serve.opening.Opened with tasks; task: name; None where it has one only.
    Raises:
        ValueError: no such task, or their layout cannot hold its head.
    """
    if task is None and len(opened.tasks) == 1:
        (task,) = opened.tasks
    if task not in opened.tasks:
        known = ", ".join(opened.tasks)
        raise ValueError(f"--task must be one of {known}. Received: {task!r}")
    row = opened.tasks[task]
    if row.family == QA:
        architecture, tensors, about = "ElectraForQuestionAnswering", _answers(opened, task), {}
    else:
        kernel, bias = _linear(opened, task)
        labels = list(row.labels) or ["value"]
        about = {
            "id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)},
        }
        if row.family == TAGGING:
            architecture = "ElectraForTokenClassification"
            tensors = {"classifier.weight": kernel.T.copy(), "classifier.bias": bias}
        else:
            architecture = "ElectraForSequenceClassification"
            low, high = row.label_range if row.family == REGRESSION else (0, 1)
            if has_two_layers(opened):
                out, out_bias = _linear(opened, task, "out_proj")
                tensors = {
                    "classifier.dense.weight": kernel.T.copy(),
                    "classifier.dense.bias": bias,
                    "classifier.out_proj.weight": out.T * np.float32(high - low),
                    "classifier.out_proj.bias": out_bias * np.float32(high - low) + np.float32(low),
                }
            else:
                tensors = through_gelu(kernel, bias, low, high - low, opened.path)
            about["problem_type"] = _PROBLEMS[row.family]
    export = huggingface.export(opened, architecture, opened.config.encoder)
    export.tensors.update(tensors)
    export.about.update(about)
    return export


def through_gelu(kernel, bias, low, scale, path):
    """Returns the tensors of ElectraForSequenceClassification's head that computes a linear one.

    That head is dense (H, H), GELU, dense (H, C). Since gelu(z) - gelu(-z) = z, two units for each
    output z carry it through; the other units stay unused.

    Args:
        kernel: (H, C); bias: (C,); the output is low + scale * (states @ kernel + bias).
        path: of the model, for messages.
    Raises:
        ValueError: H units are too few.
    """
    width, count = kernel.shape
    if 2 * count > width:
        raise ValueError(
            f"{path} has {count} outputs; the hidden layer of {width} units that "
            "ElectraForSequenceClassification puts before them carries half as many at most. "
            f'Fine-tune with classifier_head "huggingface", which trains that layer. '
            f"{_ENCODER_ALONE}"
        )
    both = {
        "dense.weight": np.zeros((width, width), np.float32),
        "dense.bias": np.zeros(width, np.float32),
        "out_proj.weight": np.zeros((count, width), np.float32),
        "out_proj.bias": np.full(count, low, np.float32),
    }
    for sign, rows in ((1, slice(count)), (-1, slice(count, 2 * count))):
        both["dense.weight"][rows] = sign * kernel.T
        both["dense.bias"][rows] = sign * bias
        both["out_proj.weight"][:, rows] = sign * scale * np.eye(count)
    return {f"classifier.{name}": value for name, value in both.items()}


def linear_of(dense, dense_bias, out, out_bias):
    """Returns (kernel (H, C), bias (C,)) of a head that `through_gelu` made, None of another."""
    count = len(out)
    if 2 * count > out.shape[1]:
        return None
    first, second = slice(count), slice(count, 2 * count)
    scales, expected = np.diagonal(out[:, first]), np.zeros_like(out)
    expected[:, first], expected[:, second] = np.diag(scales), np.diag(-scales)
    if (
        not np.array_equal(out, expected)
        or not np.array_equal(dense[first], -dense[second])
        or not np.array_equal(dense_bias[first], -dense_bias[second])
    ):
        return None
    return dense[first].T * scales, dense_bias[first] * scales + out_bias


def has_two_layers(opened):
    """Whether the head of texts is Hugging Face's own."""
    return opened.hparams.get("classifier_head") == "huggingface"


def _linear(opened, task, layer="dense"):
    scope, tensors = f"task_specific/{task}/{layer}", opened.checkpoint.tensors
    return tensors[f"{scope}/kernel"], tensors[f"{scope}/bias"]


def _answers(opened, task):
    """Returns the tensors of a linear QA head."""
    for name, why in (
        ("joint_prediction", "scores the end of an answer given its start"),
        ("answerable_classifier", "scores whether there is an answer by a layer of its own"),
    ):
        if opened.hparams.get(name, True):
            raise ValueError(
                f"{opened.path}: task {task!r} {why}, which ElectraForQuestionAnswering cannot: it "
                f"has a linear start and end. Fine-tune with {name} false. {_ENCODER_ALONE}"
            )
    tensors, scope = opened.checkpoint.tensors, f"task_specific/{task}"
    parts = [(tensors[f"{scope}/{d}/kernel"], tensors[f"{scope}/{d}/bias"]) for d in _QA_LAYERS]
    kernels, biases = zip(*parts, strict=True)
    return {
        "qa_outputs.weight": np.concatenate(kernels, axis=1).T.copy(),
        "qa_outputs.bias": np.concatenate(biases),
    }


_QA_LAYERS = ("dense", "dense_1")  # start, end


# ---- in -------------------------------------------------------------------------------------


def family_of(main):
    """Returns the family of a folder's head, None without one that ours have.

    Args: main: huggingface.Incoming.
    """
    if main.is_bert:
        return None
    if "classifier.out_proj.weight" in main.tensors:
        kinds = {problem: family for family, problem in _PROBLEMS.items()}
        count = main.tensors.shapes()["classifier.out_proj.weight"][0]
        usual = REGRESSION if count == 1 else CLASSIFICATION
        return kinds.get(str(main.values.get("problem_type")), usual)
    if "classifier.weight" in main.tensors:
        return TAGGING
    return QA if "qa_outputs.weight" in main.tensors else None


def incoming(main, family, name=None):
    """Makes a fine-tuned model of ours of their folder.

    Args:
        main: huggingface.Incoming; family: as `family_of` says; name: of the task, None for the
            family's.
    Returns: (hparams as a dict, tensors as a dict).
    Raises:
        ValueError: weights are missing or misshapen, labels are not told, or ours cannot hold the
            head.
    """
    name, tensors = name or family, main.read_encoder()
    hparams = huggingface.hparams_of(main.config)
    labels = [] if family in (QA, REGRESSION) else _labels(main)
    scope = f"task_specific/{name}"
    if family == QA:
        read = _read(main, "qa_outputs", 2, main.config.hidden_size)
        for i, layer in enumerate(_QA_LAYERS):
            tensors[f"{scope}/{layer}/kernel"] = np.ascontiguousarray(read[0][i : i + 1].T)
            tensors[f"{scope}/{layer}/bias"] = read[1][i : i + 1]
        hparams |= {"joint_prediction": False, "answerable_classifier": False}
    else:
        count, width = len(labels) or 1, main.config.hidden_size
        if family == TAGGING:
            weight, bias = _read(main, "classifier", count, width)
            layers = {"dense": (weight.T, bias)}
        else:
            dense = _read(main, "classifier.dense", width, width)
            out = _read(main, "classifier.out_proj", count, width)
            layers = {"dense": linear_of(*dense, *out)}
            if layers["dense"] is None:
                layers = {"dense": (dense[0].T, dense[1]), "out_proj": (out[0].T, out[1])}
                hparams["classifier_head"] = "huggingface"
        for layer, (kernel, bias) in layers.items():
            tensors[f"{scope}/{layer}/kernel"] = np.ascontiguousarray(kernel)
            tensors[f"{scope}/{layer}/bias"] = bias
    metric = _METRICS.get(family)
    if family == TAGGING:
        spans = all(label == "O" or label[1:2] == "-" for label in labels)
        metric = "span_f1" if spans else "accuracy"
    hparams["tasks"] = [task_row(name, family, metric, labels)]
    return hparams, tensors


def task_row(name, family, metric, labels=()):
    """Returns the row of a task that was learnt elsewhere, as hparams.json has it."""
    row = {"name": name, "family": family, "folder": "", "sources": {}}
    return {**row, "metrics": [metric], "labels": list(labels)}


def _read(main, module, rows, columns):
    weight, bias = f"{module}.weight", f"{module}.bias"
    found = main.read(
        [Weight(weight, weight, "", (rows, columns)), Weight(bias, bias, "", (rows,))]
    )
    return found[weight], found[bias]


def _labels(main):
    """Returns the labels of config.json in the order of their ids."""
    where = f"{main.folder}: "
    check_shape(main.values, {"id2label": {str: str}}, where, "config.json")
    found = main.values["id2label"]
    if sorted(found) != sorted(map(str, range(len(found)))) or len(set(found.values())) < len(
        found
    ):
        raise ValueError(f"{where}id2label must name labels 0, 1, 2, ... Received: {found!s:.80}")
    return [found[str(i)] for i in range(len(found))]
