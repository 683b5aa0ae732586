"""The config of an engine: its profiles, and CUDA graphs of the shapes that they are tuned for."""

from collections.abc import Sequence
from typing import Any

from i2i_rt.export.profiles import Shapes
from i2i_rt.serving.config import is_batched, new_config
from i2i_rt.serving.served import ServedModel

FILE = "model.plan"


def engine_config(served: ServedModel, shapes: Sequence[Shapes]) -> Any:
    """Gives the config, but for instances and batching.

    Args:
        served: narrowed to the profiles.
        shapes: of each profile, as the engine's key has them.
    """
    config = new_config(served, backend="tensorrt", platform="tensorrt_plan")
    config.default_model_filename = FILE
    cuda = config.optimization.cuda
    cuda.graphs = True
    # results leave while the next batch computes
    cuda.output_copy_stream = True
    batched = is_batched(served.spec)
    for profile in shapes:
        usual = {name: found[1] for name, found in profile.items()}
        if not batched:
            _add_graph(cuda, 0, usual)
            continue
        _add_graph(cuda, 1, {name: shape[1:] for name, shape in usual.items()})
        most = min(served.limits.batch, *(found[2][0] for found in profile.values()))
        if most > 1:
            graph = _add_graph(cuda, most, {name: shape[1:] for name, shape in usual.items()})
            # one graph for all other batches: a smaller one is filled up, which costs less than launching each kernel
            graph.graph_lower_bound.batch_size = 2
            for name, shape in usual.items():
                graph.graph_lower_bound.input[name].dim.extend(shape[1:])
    return config


def add_profiles(config: Any, count: int) -> None:
    """Lets every instance use every profile: the server takes the one that is nearest to a request's shape."""
    for group in config.instance_group:
        group.profile.extend(map(str, range(count)))


def _add_graph(cuda: Any, batch: int, shapes: dict[str, list[int]]) -> Any:
    graph = cuda.graph_spec.add(batch_size=batch)
    for name, shape in shapes.items():
        graph.input[name].dim.extend(shape)
    return graph
