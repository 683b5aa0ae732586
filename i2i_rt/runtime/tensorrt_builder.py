"""Builds TensorRT engines from prepared ONNX graphs, for TensorRT 10 and 11; needs neither torch nor onnx.

The artifact's key is the recipe: it names the shapes, the precision and the options, and what it was built on.
Precision is written into the graph, and networks are strongly typed: TensorRT 11 knows nothing else, 10 is told so.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from i2i_rt.errors import UnsupportedError
from i2i_rt.runtime.artifact_key import ArtifactKey, locked
from i2i_rt.runtime.tensorrt_library import device, log, new_log

if TYPE_CHECKING:
    import tensorrt as trt

LEVEL, WORKSPACE, PLUGINS = "optimisation level", "workspace", "plugins"  # names of a key's options
STRUCTURE_STRIDE = 16  # pictures are this much larger than the official Swapping Autoencoder's structure codes, h x w
ALL_MEMORY, NO_PLUGINS = "all memory", "none"


def key_here(
    *, stage: str, precision: str, weights: str, shapes: list[dict[str, list[list[int]]]], options: Mapping[str, str]
) -> ArtifactKey:
    """Gives the key of an engine that is built here and now."""
    import tensorrt as trt

    name, capability = device()
    return ArtifactKey(stage, precision, weights, name, capability, "TensorRT", trt.__version__, shapes, dict(options))


def again(key: ArtifactKey) -> ArtifactKey:
    """Gives the key that the same engine would have if it were built here and now."""
    return key_here(
        stage=key.stage,
        precision=key.precision,
        weights=key.weights_sha256,
        shapes=key.shapes,
        options=key.options,
    )


def build(graph: Path, key: ArtifactKey, *, any_layout: bool = False) -> bytes:
    """Builds an engine on the GPU in use.

    Args:
        graph: the ONNX file, as `i2i_rt.export.tensorrt_graph` prepares it.
        key: what to build.
        any_layout: lets TensorRT choose the layout of feature maps that go in and come out; all are in planes if not.

    Raises:
        UnsupportedError: where TensorRT does not take the graph, or finds no way to compute it.
    """
    import tensorrt as trt

    messages = new_log()
    builder = trt.Builder(messages)
    # by name: the numbers of the flags moved between the versions
    flags = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) | 1 << int(flags.PREFER_AOT_PYTHON_PLUGINS))
    parser = trt.OnnxParser(network, messages)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise UnsupportedError(f"TensorRT {trt.__version__} does not take {graph.name}: {'; '.join(errors[:3])}")
    if any_layout:
        for index in range(network.num_inputs):
            _free_layout(network.get_input(index))
        for index in range(network.num_outputs):
            _free_layout(network.get_output(index))
    config = builder.create_builder_config()
    config.builder_optimization_level = int(key.options[LEVEL])
    if key.options[WORKSPACE] != ALL_MEMORY:
        gibibytes = float(key.options[WORKSPACE].removesuffix(" GiB"))
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(gibibytes * 2**30))
    if key.precision == "fp32":
        # TensorRT would otherwise round to TF32's ten bits
        config.clear_flag(trt.BuilderFlag.TF32)
    for shapes in key.shapes:
        _add_profile(builder, config, shapes)
    with _timing_cache(config, key):
        engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise UnsupportedError(f"TensorRT {trt.__version__} cannot build {graph.name}: {messages.worst()}")
    return bytes(engine)


def _free_layout(tensor: "trt.ITensor") -> None:
    """Allows channels last beside planes, where that is dense: in 16 bits and multiples of 8 channels."""
    import tensorrt as trt

    if tensor.dtype in (trt.DataType.HALF, trt.DataType.BF16) and len(tensor.shape) == 4 and tensor.shape[1] % 8 == 0:
        tensor.allowed_formats = 1 << int(trt.TensorFormat.LINEAR) | 1 << int(trt.TensorFormat.HWC8)


def _add_profile(builder: "trt.Builder", config: "trt.IBuilderConfig", shapes: dict[str, list[list[int]]]) -> None:
    profile = builder.create_optimization_profile()
    for name, (least, usual, greatest) in shapes.items():
        profile.set_shape(name, tuple(least), tuple(usual), tuple(greatest))
    config.add_optimization_profile(profile)


@contextlib.contextmanager
def _timing_cache(config: "trt.IBuilderConfig", key: ArtifactKey) -> Iterator[None]:
    """Lets a build use what earlier ones measured, and adds what it measures; a file for each GPU and version."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "i2i_rt" / "tensorrt"
    name = f"{key.device}-{key.capability}-{key.library_version}".replace(" ", "-").replace("/", "-")
    file = folder / f"{name}.timing"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    # an empty one is as good as none, and what another version wrote is refused
    config.set_timing_cache(config.create_timing_cache(file.read_bytes() if file.is_file() else b""), False)
    yield
    with contextlib.suppress(OSError), locked(file):
        write_bytes(file, bytes(config.get_timing_cache().serialize()))


def write_bytes(file: Path, content: bytes) -> None:
    """Writes a file so that a crash leaves either the old one or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    temporary.write_bytes(content)
    temporary.replace(file)


def rebuilt(engine: Path, reason: str) -> bytes:
    """Builds an engine anew for the GPU and the TensorRT that are here, and keeps it in place of the old one.

    Args:
        engine: its file; the graph and the key are beside it.
        reason: why the old one cannot be used, in words.

    Raises:
        UnsupportedError: where it cannot be built here.
    """
    with locked(engine):
        old = ArtifactKey.read(engine)
        graph = engine.with_suffix(".onnx")
        if old is None or not graph.is_file():
            raise UnsupportedError(f"{engine} cannot be built anew: the graph or the key beside it is missing")
        if old.options[PLUGINS] != NO_PLUGINS:
            raise UnsupportedError(f"{engine} has plugins, which only 'i2i-rt export' builds, and {reason}")
        key = again(old)
        if old == key:  # another process has built it meanwhile
            return engine.read_bytes()
        log.warning("building %s anew, which takes minutes: %s", engine.name, reason)
        content = build(graph, key)
        try:
            write_bytes(engine, content)
            key.write(engine)
        except OSError as error:
            log.warning("%s cannot be kept: %s", engine.name, error)
    return content
