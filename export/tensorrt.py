"""A stage's ONNX graph to a TensorRT engine, with what is needed to build it anew beside it.

`translate.fp16.engine` is the engine, `translate.fp16.onnx` the graph in the form that TensorRT takes, and
`translate.fp16.json` the key: what the engine was built for and with.
"""

from pathlib import Path

from i2i_rt.export import tensorrt_registry
from i2i_rt.export.profiles import EngineOptions, shapes_of
from i2i_rt.runtime import tensorrt_builder, tensorrt_library
from i2i_rt.runtime.tensorrt_builder import ALL_MEMORY, LEVEL, NO_PLUGINS, PLUGINS, WORKSPACE
from i2i_rt.spec import StageSpec


def build(graph: Path, file: Path, *, spec: StageSpec, precision: str, weights: str, options: EngineOptions) -> None:
    """Builds an engine for the GPU in use, and writes the graph and the key beside it.

    Args:
        graph: the stage's ONNX file.
        file: the `.engine` file.
        spec: the stage.
        precision: that the graph is written in.
        weights: SHA-256 of the bundle's weights.
        options: what was chosen.

    Raises:
        UnsupportedError: where TensorRT cannot build it.
    """
    import onnx

    from i2i_rt.export.tensorrt_fusion import with_plugins
    from i2i_rt.export.tensorrt_graph import prepare

    model = onnx.load(graph)
    plugins = with_plugins(model) if options.plugins else frozenset[str]()
    if plugins:
        tensorrt_registry.register_all(tensorrt_library.capability())
    prepared = file.with_suffix(".onnx")
    onnx.save(prepare(model, plugins=plugins), prepared)
    key = tensorrt_builder.key_here(
        stage=spec.name,
        precision=precision,
        weights=weights,
        shapes=shapes_of(spec, options.profiles),
        options={
            LEVEL: str(options.level),
            WORKSPACE: ALL_MEMORY if options.workspace_gib is None else f"{options.workspace_gib:g} GiB",
            PLUGINS: ", ".join(sorted(plugins)) or NO_PLUGINS,
        },
    )
    file.write_bytes(tensorrt_builder.build(prepared, key))
    key.write(file)
