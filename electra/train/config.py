"""The hparams that pre-training and fine-tuning have in common, and what must hold between them.

Enters: names and values as the commands take them. Leaves: the base of the two configs.
"""

import dataclasses
import functools
import os
import pathlib
from typing import Any, Self

from electra.cloud import mirror, store
from electra.cloud.files import fetched
from electra.cloud.urls import is_url, origin, working_copy
from electra.convert.runs import from_anywhere
from electra.hparams import Config, Field, is_text, refuse_unknown
from electra.model.config import MODEL_SIZES, EncoderConfig, encoder_config

AS_KNOWN = "; by default as the model or the records' manifest says."
LARGEST = 2**20  # of batches and lengths: beyond any run, so that a slip ends at once
EXAMPLES: dict[str, Any] = {"unit": "examples", "at_least": 1, "at_most": LARGEST}  # of a batch
# After which something is due.
STEPS: dict[str, Any] = {"unit": "steps", "at_least": 1, "may_change": True}
COUNT: dict[str, Any] = {"at_least": 1, "of_task": True}
SHARE: dict[str, Any] = {"at_least": 0, "at_most": 1}
Place = functools.partial(Field, None, may_change=True)  # a path or name; null: derived


class RunConfig(Config):
    """What pre-training and fine-tuning have in common. Frozen once it is made.

    An init_checkpoint of another library is converted into the run's folder while it is made, see
    convert/runs.py.

    Args:
        model_name: names the model's folder under data_dir; of fine-tuning the pre-trained one.
        data_dir: root of the data layout.
        **hparams: any of the fields; they win over every derived default. A path may be a Path.
    Attributes:
        folder_hparam: name of the one that gives a run another folder.
        shape_evaluation: names of those that may change in a run, and its evaluations with them.
        pretrains: whether the run pre-trains.
        read_in_place: names of those that may be URLs; other URLs become working copies.
    """

    folder_hparam, pretrains = "model_name", True
    shape_evaluation: tuple[str, ...] = ()
    read_in_place: tuple[str, ...] = ()
    encoder: EncoderConfig
    max_seq_length: Any
    results_txt: Any
    model_dir: Any

    lr_decay_power = Field(
        1.0, "Power of the polynomial decay; 1 is linear.", at_least=0, of_task=True
    )
    weight_decay_rate = Field(
        0.01, "Decoupled weight decay.", unit="per rate", at_least=0, of_task=True
    )
    log_every_steps = Field(
        None,
        "Steps between log lines. null: a 25th of the run (of a trial), 100 at most.",
        source="ours",
        kinds=(int,),
        **STEPS,
    )
    results_pkl = Place(
        "Accepted for old dicts; scores are written as JSON and nothing is pickled."
    )

    # --- network ---
    model_size = Field(
        "small",
        "Size of the discriminator; by default that of the model to start from.",
        choices=tuple(MODEL_SIZES),
    )
    model_hparam_overrides = Field(
        {},
        "Sizes that replace those of model_size: "
        f"{', '.join(field.name for field in dataclasses.fields(EncoderConfig))}.",
    )
    embedding_size = Field(
        None,
        "Width of the tables. null: 128 for small, else the hidden size.",
        unit="units",
        kinds=(int,),
    )
    vocab_size = Field(
        30522, f"Rows of the word table{AS_KNOWN}", unit="tokens", at_least=1, at_most=2**24
    )
    do_lower_case = Field(True, f"Lower-case the input{AS_KNOWN}")
    strip_accents = Field(
        None, "Strip accents from the input. null: as do_lower_case.", source="ours", kinds=(bool,)
    )

    # --- devices ---
    strategy = Field(
        "auto",
        "How devices share the work. auto: tpu with use_tpu, multi_worker with TF_CONFIG, "
        "mirrored with several GPUs, else one.",
        source="ours",
        choices=("auto", "one", "mirrored", "multi_worker", "tpu"),
        may_change=True,
    )
    precision = Field(
        "auto",
        "Type of the matrix products; weights and moments are float32. auto: bfloat16 where the "
        "device is fast at it.",
        source="ours",
        choices=("auto", "float32", "bfloat16"),
    )
    xla = Field(
        "auto",
        "Compile the whole step with XLA. auto: on GPU and TPU.",
        source="ours",
        choices=("auto", True, False),
        may_change=True,
    )
    scan_layers = Field(
        "auto",
        "Run the layers as a loop over their weights: a small program that compiles fast. false "
        "writes one after another out. auto: a loop where the whole step is compiled.",
        source="ours",
        choices=("auto", True, False),
        may_change=True,
    )
    recompute_layers = Field(
        False,
        "Keep the layers' inputs only and compute the layers anew in the backward pass: much less "
        "memory, a third more products. The layers run in a loop.",
        source="ours",
        may_change=True,
    )
    compilation_cache_dir = Place(
        "Folder in which XLA's programs for GPUs are kept and found at the next start. null: "
        '$XDG_CACHE_HOME/electra/compiled or ~/.cache/electra/compiled; "": none are kept.',
        source="ours",
    )
    require_gpu = Field(False, "Stop if no GPU is found.", source="ours", may_change=True)
    use_tpu = Field(False, "Train on a TPU.", may_change=True)
    num_tpu_cores = Field(1, "Cores of the TPU.", unit="cores", at_least=1, may_change=True)
    tpu_job_name = Place("Job of the TPU workers.")
    tpu_name = Place("Cloud TPU to use.")
    tpu_zone = Place("Zone of the Cloud TPU.")
    gcp_project = Place("Project of the Cloud TPU.")

    def __init__(self, model_name: str, data_dir: str | os.PathLike[str], **hparams: Any):
        if not isinstance(model_name, str):
            raise ValueError(
                f"model_name must be the name of a folder. Received: {model_name!r:.80}"
            )
        self.model_name, self.data_dir = model_name, working_copy(os.fspath(data_dir))
        as_text = {k: os.fspath(v) for k, v in hparams.items() if isinstance(v, os.PathLike)}
        hparams = {**hparams, **as_text}
        hparams = {k: v if k in self.read_in_place else _here(v) for k, v in hparams.items()}
        home, start = self.places(hparams)
        self.pull(hparams, home, start)
        self._hparams = hparams = from_anywhere(hparams, home, start, self.pretrains)
        self.resolve(hparams)
        if self.strip_accents is None:
            self.strip_accents = self.do_lower_case
        self.freeze()

    def places(self, hparams: dict[str, Any]) -> tuple[str, str | None]:
        """Returns the run's folder, and what a new run starts from or None; `hparams`: as given."""
        home = os.path.join(self.data_dir, "models", self.model_name)
        if self.pretrains:
            return hparams.get("model_dir") or home, hparams.get("init_checkpoint")
        return hparams.get("output_dir") or home, hparams.get("init_checkpoint") or home

    def pull(self, hparams: dict[str, Any], home: str, start: str | None) -> None:
        """Brings what of a bucket is read first; `home` and `start` as of `places`."""
        for path in (os.path.join(self.data_dir, "vocab.txt"), hparams.get("vocab_file")):
            if isinstance(path, str) and not is_url(path):
                mirror.pull_file(path)
        if isinstance(start, str) and not is_url(start):
            mirror.pull_model(start)

    def resolve(self, hparams: dict[str, Any]) -> None:
        """Sets every attribute and checks it; called once, with the hparams of `__init__`."""
        raise NotImplementedError

    def replace(self, **hparams: Any) -> Self:
        """Returns a config with other values of some hparams; `given` stays as it is."""
        result = self.with_hparams(**hparams)
        result.__dict__["given"] = self.given
        return result

    def with_hparams(self, **hparams: Any) -> Self:
        """Returns a config for which these hparams were given too."""
        return type(self)(self.model_name, self.data_dir, **{**self._hparams, **hparams})

    def to_json(self) -> dict[str, Any]:
        """Returns the model's name and every hparam, resolved, as a dict of JSON values; of working
        copies their URLs."""
        values = {name: _there(value) for name, value in super().to_json().items()}
        return {"model_name": self.model_name, **values}

    def make_encoder(self, overrides: dict[str, Any]) -> EncoderConfig:
        """Returns the EncoderConfig of this config's sizes with overrides, a dict of its fields."""
        sizes = [field.name for field in dataclasses.fields(EncoderConfig)]
        refuse_unknown(overrides, sizes, "model_hparam_overrides:")
        return encoder_config(
            self.model_size,
            vocab_size=self.vocab_size,
            embedding_size=self.embedding_size,
            overrides=overrides,
        )

    def set_encoder(self, encoder: EncoderConfig) -> None:
        """Sets the encoder and the sizes that follow from it."""
        self.encoder = encoder
        self.embedding_size, self.vocab_size = encoder.embedding_size, encoder.vocab_size

    def check_files(self) -> None:
        """Compares the config with the files that a run goes on from; before TensorFlow is
        imported. Raises: ValueError, FileNotFoundError."""

    def check_results(self) -> None:
        """Refuses results in a bucket whose folder, which is copied here, holds models too.

        Raises:
            ValueError: it does.
        """
        folder = os.path.dirname(self.results_txt)
        if is_url(origin(folder)) and self.model_dir.startswith(folder + os.sep):
            raise ValueError(
                f"results_txt {origin(self.results_txt)} lies above {origin(self.model_dir)}, and "
                "its folder is copied here. Choose a folder for results alone"
            )

    def check_run(self) -> None:
        """Checks what pre-training and fine-tuning have in common. Raises: ValueError."""
        name = self.model_name
        is_name = name not in ("", os.curdir, os.pardir) and os.path.basename(name) == name
        if not is_name or not is_text(name):
            raise ValueError(f"model_name must be the name of a folder. Received: {name!r}")
        if not is_text(self.data_dir):
            raise ValueError(
                f"data_dir {self.data_dir!r} is not in UTF-8: TensorFlow opens no such path. "
                "Rename the folder"
            )
        self.check_results()
        results = pathlib.Path(self.results_txt)
        if results.is_dir():
            raise ValueError(f"results_txt {results} is a folder. Expected: a file's name")
        nearest = next((folder for folder in results.parents if folder.exists()), None)
        if nearest and not nearest.is_dir():
            raise ValueError(f"results_txt {results} is under {nearest}, a file. Name a folder")
        if self.use_tpu and self.strategy not in ("auto", "tpu"):
            raise ValueError(
                f"use_tpu is true and strategy is {self.strategy!r}. Expected: strategy 'tpu' or "
                "'auto', or use_tpu false"
            )
        longest = self.encoder.max_position_embeddings
        if self.max_seq_length > longest:
            raise ValueError(
                f"max_seq_length {self.max_seq_length} is more than the position table holds: "
                f"max_position_embeddings {longest}. Lower max_seq_length; a network that is yet "
                "to be trained may get a longer table in model_hparam_overrides"
            )


def _here(value: Any) -> Any:
    """Returns a value whose URLs are working copies, files in lists brought here. A URL stays as
    it is where the package that opens it is missing: who reads it says so."""
    if is_url(value) and not store.has_package(value):
        return value
    if isinstance(value, list):
        return [fetched(each) if is_url(each) else each for each in value]
    if isinstance(value, dict):
        return {name: _here(each) for name, each in value.items()}
    return working_copy(value)


def _there(value: Any) -> Any:
    """Returns a value whose working copies are URLs."""
    if isinstance(value, list):
        return [_there(each) for each in value]
    if isinstance(value, dict):
        return {name: _there(each) for name, each in value.items()}
    return origin(value)
