"""What TensorFlow and XLA read from the environment when they are first used on a device.

Enters: the hparam compilation_cache_dir. Leaves: flags, and a folder of compiled programs. A flag
that the user set stays as it is.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shlex

_FOLDER, _DEVICES = (f"--tf_xla_persistent_cache_{name}" for name in ("directory", "device_types"))
# A choice among many ways to multiply costs minutes before the first step.
_OF_XLA = {"--xla_gpu_autotune_level": "0", "--xla_gpu_enable_triton_gemm": "false"}
_DAMAGED = re.compile(
    "Read less bytes than requested|Serialized cache key does not match|xla_compile_cache__"
)


def set_environment(compilation_cache_dir=None):
    """Sets what is not set: memory of a GPU as it is needed, XLA's choices, kept programs.

    TensorFlow reads it once in a process, when devices are listed or a program is compiled, and
    already while it is imported where absl has read a command's flags.

    Args:
        compilation_cache_dir: the hparam; "" for no kept programs, None for the user's cache.
    Raises:
        ValueError: the folder cannot be written, or the variables cannot be read.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    _add_flags("XLA_FLAGS", _OF_XLA)
    if compilation_cache_dir == "":
        return
    root = pathlib.Path(compilation_cache_dir or _default_folder()).absolute()
    nearest = next(folder for folder in (root, *root.parents) if folder.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        folder = str(root / _fingerprint())
        _add_flags("TF_XLA_FLAGS", {_FOLDER: folder, _DEVICES: "GPU"})
    elif compilation_cache_dir:
        raise ValueError(
            f"compilation_cache_dir {compilation_cache_dir!r} cannot be made: {nearest} is no "
            'folder that you may write to. Name another folder, or "" to keep no programs'
        )


def cache_folder(device):
    """Returns the folder where the programs of a device ("GPU") are kept; None for none."""
    flags = _flags("TF_XLA_FLAGS")
    return flags.get(_FOLDER) if device in flags.get(_DEVICES, device).split(",") else None


def explain_damage(message):
    """Returns the remedy where an error of TensorFlow's is of a kept program, else None."""
    folder = _flags("TF_XLA_FLAGS").get(_FOLDER)
    if folder and _DAMAGED.search(message):
        return f"A compiled program in {folder} is damaged ({message[:200]}). Remove that folder"
    return None


def _default_folder():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "electra", "compiled")


def _fingerprint():
    """Returns a name for all that shapes a program besides the program: TensorFlow, GPUs, flags."""
    try:
        version = importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:  # of another name, as tf_nightly
        version = importlib.util.find_spec("tensorflow").origin
    driver = pathlib.Path("/proc/driver/nvidia")
    texts = [_read(driver / "version")]
    for path in driver.glob("gpus/*/information"):
        texts += sorted(set(re.findall("Model:.*", _read(path))) - set(texts))
    flags = os.environ["XLA_FLAGS"]
    if _is_file(flags):
        flags = f"{flags}: {_read(pathlib.Path(flags.strip()))}"
    texts = [version, flags, *sorted(texts)]
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:16]


def _read(path):
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _flags(variable):
    """Returns dict flag -> value of an environment variable."""
    try:
        parts = shlex.split(os.environ.get(variable, ""))
    except ValueError as error:
        raise ValueError(f"The environment variable {variable} is malformed: {error}") from None
    return dict(part.partition("=")[::2] for part in parts)


def _add_flags(variable, defaults):
    text, given = os.environ.get(variable, ""), _flags(variable)
    if _is_file(text):
        return
    added = [f"{name}={_quoted(value)}" for name, value in defaults.items() if name not in given]
    os.environ[variable] = " ".join(filter(None, [text, *added]))


def _is_file(flags):
    """Whether a variable names a file with the flags, as XLA and TensorFlow read it."""
    return bool(flags.strip()) and not flags.strip().startswith("-")


def _quoted(value):
    """Quotes a flag's value as TensorFlow reads it."""
    if re.fullmatch(r"[\w./,-]*", value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
