"""The package, the commands and configs at the root, and what they need.

Extras: `test` (pytest with xdist, ruff), `bench` (the peers that benchmarks/ measures beside ours),
`interop` (the libraries that converted models are tested with; converting needs neither), `onnx`
(what writes and runs ONNX models).
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
PYTORCH = ["torch==2.13.0", "transformers>=5,<6"]

setup(
    name="electra",
    version="0.1.0",
    description="ELECTRA pre-training and fine-tuning on TensorFlow 2 and Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["electra", "electra.*"]),
    package_data={"electra": ["py.typed"]},
    py_modules=sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "setup"),
    # tensorflow-text is built against one minor release of tensorflow: the two move together.
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "tensorflow-text>=2.21,<2.22",
        "keras>=3.10,<4",
        "keras-nlp>=0.21",
        "absl-py>=2.1",
        "numpy>=1.26",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "tensorboard>=2.20,<2.22",
        "tokenizers>=0.20",
        "safetensors>=0.4.3",
        "tqdm>=4.66",
        "matplotlib>=3.8",
        "zstandard>=0.22",  # .txt.zst corpora
    ],
    extras_require={
        "test": ["pytest>=8", "pytest-xdist>=3.5", "ruff>=0.9"],
        "bench": PYTORCH,
        "interop": PYTORCH,
        "onnx": ["tf2onnx>=1.17", "onnxruntime>=1.20"],
    },
)
