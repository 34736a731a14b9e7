"""The package, its console command, and what they need.

Extras: `test` (pytest with xdist, ruff, mypy, what builds the package, what runs the notebook, an
S3 server), `cloud` (what opens buckets), `bench` (the peers that benchmarks/ measures beside
ours), `interop` (the libraries that converted models are tested with; converting needs neither),
`hub` (uploads to Hugging Face), `onnx` (what writes and runs ONNX models), `ray` (what builds
records on a cluster), `demo` (the page of electra.serve.demo), `browser` (what its test drives an
installed Chromium with), `docs` (the documentation as a site).
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search('^__version__ = "(.+?)"', (ROOT / "electra/__init__.py").read_text(), re.M)[1]
PYTORCH = ["torch==2.13.0", "transformers>=5,<6"]
GRADIO = ["gradio>=6.31,<7"]
BUCKETS = ["fsspec>=2025.3", "s3fs>=2025.3", "aiohttp>=3.10"]

setup(
    name="electra",
    version=VERSION,
    description="ELECTRA pre-training and fine-tuning on TensorFlow 2 and Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The ELECTRA for TensorFlow 2 maintainers",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["ELECTRA", "pre-training", "language model", "NLP", "TensorFlow", "Keras"],
    project_urls={
        "Paper": "https://openreview.net/pdf?id=r1xMH1BtvB",
        "Official code": "https://github.com/google-research/electra",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Operating System :: MacOS",
        "Operating System :: Microsoft :: Windows",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["electra", "electra.*"]),
    # With it an editable installation is a .pth file that names the clone. Without it that is an
    # import hook, which is asked last: after the clone as a folder of the working directory.
    package_dir={"": "."},
    package_data={"electra": ["py.typed"]},
    entry_points={"console_scripts": ["electra = electra.__main__:main"]},
    py_modules=[],  # the scripts at the root are for those who work in the repository
    # tensorflow-text is built against one minor release of tensorflow: the two move together. There
    # are no wheels of it for Windows, where the reference tokenizer takes over.
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "tensorflow-text>=2.21,<2.22; platform_system != 'Windows'",
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
        "google-crc32c>=1.5",  # checksums of TFRecords
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.9",
            "mypy>=1.13",
            "build>=1.2",
            "setuptools>=77",
            "nbclient>=0.10",
            "ipykernel>=6.29",
            *BUCKETS,
            "moto[s3]>=5.1",  # an S3 server, which needs flask
            "flask>=3",
            "flask-cors>=5",
        ],
        "cloud": [*BUCKETS, "gcsfs>=2025.3"],
        "bench": PYTORCH,
        "interop": PYTORCH,
        "hub": ["huggingface_hub>=1"],
        "docs": ["mkdocs-material>=9.5,<10"],
        "demo": GRADIO,
        "browser": [*GRADIO, "playwright>=1.50"],
        "ray": ["ray>=2.60,<3"],
        "onnx": ["tf2onnx>=1.17", "onnxruntime>=1.20"],
    },
)
