"""Deployment on Triton Inference Server: model repository, running the server, clients, manifests."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2i_rt.serving.client import AsyncClient as AsyncClient
    from i2i_rt.serving.client import Client as Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from i2i_rt.serving import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
