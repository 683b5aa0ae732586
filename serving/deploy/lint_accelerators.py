"""Faults of accelerators and CUDA graphs, which are looked at when a GPU is there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# what the ONNX Runtime backend of the server takes, from its source; it refuses to load a model with others
TENSORRT_PARAMETERS = frozenset(
    {
        "precision_mode",
        "max_workspace_size_bytes",
        "int8_calibration_table_name",
        "int8_use_native_calibration_table",
        "trt_max_partition_iterations",
        "trt_min_subgraph_size",
        "trt_dla_enable",
        "trt_dla_core",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_engine_cache_prefix",
        "trt_dump_subgraphs",
        "trt_force_sequential_engine_build",
        "trt_context_memory_sharing_enable",
        "trt_layer_norm_fp32_fallback",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
        "trt_force_timing_cache",
        "trt_detailed_build_log",
        "trt_build_heuristics_enable",
        "trt_sparsity_enable",
        "trt_builder_optimization_level",
        "trt_auxiliary_streams",
        "trt_tactic_sources",
        "trt_extra_plugin_lib_paths",
        "trt_profile_min_shapes",
        "trt_profile_max_shapes",
        "trt_profile_opt_shapes",
        "trt_cuda_graph_enable",
        "trt_dump_ep_context_model",
        "trt_ep_context_file_path",
        "trt_ep_context_embed_mode",
    }
)
PRECISION_MODES = ("FP32", "FP16", "BF16", "INT8")
# of ONNX Runtime's CUDA provider; the server passes them on, and an unknown one stops the model
CUDA_PARAMETERS = frozenset(
    {
        "cudnn_conv_use_max_workspace",
        "cudnn_conv1d_pad_to_nc1d",
        "enable_cuda_graph",
        "tunable_op_enable",
        "tunable_op_tuning_enable",
        "enable_skip_layer_norm_strict_mode",
        "use_tf32",
        "prefer_nhwc",
        "use_ep_level_unified_stream",
    }
)
# the server takes these from the config's own parameters, and where there are none from its defaults
OVERWRITTEN = frozenset(
    ("cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream")
)


def accelerator_faults(config: Any, folder: Path) -> Iterator[str]:
    """Gives the faults of the accelerators of ONNX Runtime."""
    accelerators = config.optimization.execution_accelerators
    if (accelerators.gpu_execution_accelerator or accelerators.cpu_execution_accelerator) and (
        config.backend != "onnxruntime"
    ):
        yield f"accelerators are of the backend onnxruntime, not of {config.backend}"
    kinds = {group.kind for group in config.instance_group}
    for accelerator in accelerators.gpu_execution_accelerator:
        if config.instance_group and config.instance_group[0].KIND_CPU in kinds:
            yield f"the accelerator {accelerator.name} is for a GPU, the instances are on the CPU"
        if accelerator.name == "tensorrt":
            yield from _tensorrt_faults(dict(accelerator.parameters), [tensor.name for tensor in config.input])
        elif accelerator.name == "cuda":
            for name in accelerator.parameters:
                if name in OVERWRITTEN:
                    yield f"{name} belongs into the config's own parameters, which overwrite the accelerator's"
                elif name not in CUDA_PARAMETERS:
                    yield f"the accelerator cuda has no parameter {name!r}"
        else:
            yield f"no accelerator for GPUs is called {accelerator.name!r}; they are tensorrt and cuda"
    for accelerator in accelerators.cpu_execution_accelerator:
        if accelerator.name != "openvino":
            yield f"no accelerator for CPUs is called {accelerator.name!r}; there is openvino"
        elif accelerator.parameters:
            yield f"the accelerator openvino takes no parameters, here are {', '.join(accelerator.parameters)}"


def _tensorrt_faults(parameters: Mapping[str, str], inputs: list[str]) -> Iterator[str]:
    for name in sorted(parameters.keys() - TENSORRT_PARAMETERS):
        yield f"the accelerator tensorrt has no parameter {name!r}"
    mode = parameters.get("precision_mode", "FP32")
    if mode not in PRECISION_MODES:
        yield f"the accelerator tensorrt has no precision_mode {mode!r}; it has {', '.join(PRECISION_MODES)}"
    shapes = [parameters.get(f"trt_profile_{name}_shapes", "") for name in ("min", "opt", "max")]
    if not all(shapes):
        yield "the accelerator tensorrt has no profiles: every new size would stop the model for minutes"
        return
    least, usual, greatest = (_parsed(text) for text in shapes)
    names = [name for name, _ in least]
    if not names == [name for name, _ in usual] == [name for name, _ in greatest] or set(names) != set(inputs):
        yield f"the profiles of the accelerator tensorrt name {', '.join(names)}; the inputs are {', '.join(inputs)}"
        return
    for (name, low), (_, middle), (_, high) in zip(least, usual, greatest, strict=True):
        if not (
            len(low) == len(middle) == len(high)
            and all(1 <= a <= b <= c for a, b, c in zip(low, middle, high, strict=True))
        ):
            yield f"the profile of {name} is not in ascending order: {low}, {middle}, {high}"


def _parsed(text: str) -> list[tuple[str, list[int]]]:
    """Reads shapes such as "frames:1x64x64x3,style:1x64"; what is no number becomes 0."""
    found = []
    for word in text.split(","):
        name, _, shape = word.partition(":")
        found.append((name, [int(length) if length.isdecimal() else 0 for length in shape.split("x")]))
    return found


def graph_faults(config: Any, folder: Path) -> Iterator[str]:
    """Gives the faults of CUDA graphs and profiles of an engine."""
    graphs = config.optimization.cuda.graph_spec
    if (graphs or config.optimization.cuda.graphs) and config.backend != "tensorrt":
        yield f"CUDA graphs are of the backend tensorrt, not of {config.backend}"
    if graphs and not config.optimization.cuda.graphs:
        yield "CUDA graphs are described and switched off"
    dims = {tensor.name: list(tensor.dims) for tensor in config.input}
    for graph in graphs:
        for bound in (graph, graph.graph_lower_bound) if graph.HasField("graph_lower_bound") else (graph,):
            if not (bool(config.max_batch_size) <= bound.batch_size <= config.max_batch_size):
                yield f"a CUDA graph has a batch of {bound.batch_size}, the model takes up to {config.max_batch_size}"
            if set(bound.input) != set(dims):
                yield f"a CUDA graph names {', '.join(sorted(bound.input))}; the inputs are {', '.join(dims)}"
                continue
            for name, shape in bound.input.items():
                if len(shape.dim) != len(dims[name]) or any(
                    length < 1 or dim not in (-1, length) for length, dim in zip(shape.dim, dims[name], strict=False)
                ):
                    yield f"a CUDA graph has {name} as {list(shape.dim)}, the model as {dims[name]}"
        if graph.HasField("graph_lower_bound") and graph.graph_lower_bound.batch_size > graph.batch_size:
            yield f"a CUDA graph of batch {graph.batch_size} begins at {graph.graph_lower_bound.batch_size}"
    for group in config.instance_group:
        if group.profile and config.backend != "tensorrt":
            yield f"profiles are of the backend tensorrt, not of {config.backend}"
        if any(not index.isdecimal() for index in group.profile):
            yield f"profiles are numbers, not {', '.join(group.profile)}"
