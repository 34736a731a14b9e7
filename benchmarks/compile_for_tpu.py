"""Compiles the programs that dump_for_tpu.py wrote for TPUs, or a GPU, that are not there.

    python benchmarks/compile_for_tpu.py FOLDER [TOPOLOGY or GPU.txtpb ...]

libtpu holds TPU's own compiler, and JAX can ask it for a topology without devices: so it shows
whether a program compiles, how long that takes, and what memory of a core it needs. Speed and
transfers it does not show. Needs `pip install jax libtpu`, in an environment without TensorFlow.
For a GPU, described by a file of XLA's (xla/backends/gpu/target_config/specs), the plugin has XLA's
compiler: `pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt nvidia-cuda-nvcc-cu12`.
Prints a row of a Markdown table for each program and topology; ends with status 1 if one fails.
"""

import functools
import importlib.util
import os
import pathlib
import re
import sys

TOPOLOGIES = ("v4:2x2x1", "v5e:2x2", "v6e:2x2")
# What TensorFlow puts behind returned variables has no name in StableHLO.
_COPY = r'"?mhlo\.copy"?[ (]+(%[\w#]+)\)? : \(?(tensor<[^>]*>)\)?(?: -> tensor<[^>]*>)?'


def main(folder, *names):
    os.environ.update(TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    print("| program | TPU | processor time | temporaries | arguments | code |")
    print("|---|---|---|---|---|---|", flush=True)
    failed = False
    for path in sorted(pathlib.Path(folder).glob("*.hlo")):
        for name in names or TOPOLOGIES:
            try:
                found = compiled(path, name)
            except Exception as error:  # whatever the compiler says belongs into the table
                failed, found = True, f"{type(error).__name__}: {str(error)[:200]}"
            print(f"| {path.stem} | {pathlib.Path(name).stem} | {found} |", flush=True)
    return int(failed)


def compiled(path, name):
    """Compiles a program for one core of a topology. Returns: the cells of its row."""
    import numpy as np
    from jax._src.interpreters import mlir
    from jax._src.lib import xla_client
    from jax.experimental import topologies
    from jaxlib.mlir import ir

    if name.endswith(".txtpb"):
        device = gpu(name)
    else:
        device = topologies.get_topology_desc(platform="tpu", topology_name=name).devices[0]
    computation = xla_client.XlaComputation(path.read_bytes())
    text = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
    text = re.sub(_COPY, r"stablehlo.optimization_barrier \1 : \2", text)
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    core = np.array([[device.id]], np.int32)
    options.device_assignment = xla_client.DeviceAssignment.create(core)
    started = processor_seconds()
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
    program = device.client.compile(module, xla_client.DeviceList((device,)), options)
    seconds, memory = processor_seconds() - started, program.get_compiled_memory_stats()
    sizes = (
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        memory.generated_code_size_in_bytes,
    )
    return " | ".join([f"{seconds:.0f} s", *(f"{size / 1e9:.2f} GB" for size in sizes)])


def gpu(path):
    """Returns a device of the kind that a file describes."""
    from jax._src.lib import xla_client

    about = {"topology": "1x1x1", "target_config": pathlib.Path(path).read_text(encoding="utf-8")}
    topology = xla_client.make_c_api_device_topology(cuda(), "gpu", **about)
    return topology._make_compile_only_devices()[0]


@functools.cache
def cuda():
    """Returns the plugin for CUDA, set up with the flags that a run has."""
    from jax._src.lib import xla_client

    (nvidia,) = importlib.util.find_spec("nvidia").submodule_search_locations
    (plugins,) = importlib.util.find_spec("jax_plugins").submodule_search_locations
    os.environ["PATH"] = f"{nvidia}/cuda_nvcc/bin:{os.environ['PATH']}"
    os.environ["XLA_FLAGS"] = (
        f"--xla_gpu_cuda_data_dir={nvidia}/cuda_nvcc --xla_gpu_autotune_level=0 "
        "--xla_gpu_enable_triton_gemm=false"
    )
    library = f"{plugins}/xla_cuda12/xla_cuda_plugin.so"
    plugin = xla_client.load_pjrt_plugin_dynamically("cuda", library)
    xla_client.initialize_pjrt_plugin("cuda")
    return plugin


def processor_seconds():
    """Returns the time of processors that this process and those it started have taken."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
