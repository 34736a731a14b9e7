"""What is set before TensorFlow is used: the user's flags win, programs are kept where they say."""

import os

import pytest

from electra import compilation

DEFAULTS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("XLA_FLAGS", "TF_XLA_FLAGS", "TF_FORCE_GPU_ALLOW_GROWTH"):
        monkeypatch.setenv(name, "")  # so that it is set back
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_users_cache_is_the_default_and_only_gpus_programs_are_kept(tmp_path):
    compilation.set_environment()
    folder = compilation.cache_folder("GPU")
    assert os.path.dirname(folder) == str(tmp_path / "cache/electra/compiled")
    assert compilation.cache_folder("CPU") is None
    assert os.environ["XLA_FLAGS"] == DEFAULTS
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert not os.path.exists(tmp_path / "cache")  # made where a device's programs are kept
    before = dict(os.environ)
    compilation.set_environment("elsewhere")  # TensorFlow reads it once
    assert dict(os.environ) == before


def test_an_empty_name_keeps_no_programs():
    compilation.set_environment("")
    assert compilation.cache_folder("GPU") is None
    assert "TF_XLA_FLAGS" not in os.environ


def test_what_the_user_set_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=4")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/x --other")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    compilation.set_environment("elsewhere")
    assert os.environ["XLA_FLAGS"] == (
        "--xla_gpu_autotune_level=4 --xla_gpu_enable_triton_gemm=false"
    )
    assert compilation.cache_folder("GPU") == "/x"
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"


def test_a_file_of_flags_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "flags.txt")
    compilation.set_environment()
    assert os.environ["XLA_FLAGS"] == "flags.txt"


def test_other_flags_have_another_folder(monkeypatch, tmp_path):
    folders = set()
    for level in "04":
        monkeypatch.setenv("XLA_FLAGS", f"--xla_gpu_autotune_level={level}")
        monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
        compilation.set_environment(tmp_path / 'a "b" c')
        folders.add(compilation.cache_folder("GPU"))
    assert len(folders) == 2
    assert {os.path.dirname(folder) for folder in folders} == {str(tmp_path / 'a "b" c')}


def test_other_contents_of_a_file_of_flags_have_another_folder(monkeypatch, tmp_path):
    file, folders = tmp_path / "flags.txt", set()
    monkeypatch.setenv("XLA_FLAGS", str(file))
    for level in "04":
        file.write_text(f"--xla_gpu_autotune_level={level}")
        monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
        compilation.set_environment()
        folders.add(compilation.cache_folder("GPU"))
    assert len(folders) == 2


def test_a_folder_that_cannot_be_made_is_refused_where_it_was_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="compilation_cache_dir '.*file/x' cannot be made: .*file"):
        compilation.set_environment(str(tmp_path / "file/x"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    compilation.set_environment()
    assert compilation.cache_folder("GPU") is None


def test_a_malformed_variable_is_named(monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", '--a="b')
    with pytest.raises(ValueError, match="TF_XLA_FLAGS is malformed"):
        compilation.set_environment()


@pytest.mark.parametrize(
    "message",
    [
        "Read less bytes than requested",
        "Serialized cache key does not match.",
        "Can't parse x/xla_compile_cache__1__2__XLA_GPU_JIT.pb as binary proto",
    ],
)
def test_the_remedy_of_a_damaged_program_names_the_folder(monkeypatch, message):
    assert compilation.explain_damage(message) is None
    compilation.set_environment()
    assert compilation.explain_damage("No such file") is None
    folder = compilation.cache_folder("GPU")
    assert compilation.explain_damage(message).endswith("Remove that folder")
    assert folder in compilation.explain_damage(message)
