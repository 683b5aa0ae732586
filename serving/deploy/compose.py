"""One server on one machine, for docker compose."""

from typing import Any

from i2i_rt.serving.deploy import image, pod
from i2i_rt.serving.deploy.pod import Needs
from i2i_rt.serving.deploy.settings import Settings
from i2i_rt.serving.deploy.sizing import MIB

KEY_VARIABLE = "I2I_RT_ADMIN_KEY"
_ASK = "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}{path}', timeout=4)"


def compose(settings: Settings, needs: Needs) -> dict[str, Any]:
    """Gives the file `compose.yaml`; the key comes from the file `.env` beside it.

    The ports are those of this machine alone: a proxy with TLS belongs in front of others.
    """
    limits: dict[str, Any] = {"cpus": str(settings.cpus), "memory": f"{needs.memory // MIB}m"}
    resources: dict[str, Any] = {"limits": limits}
    if settings.device == "gpu":
        resources["reservations"] = {"devices": [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]}
    return {
        "name": settings.name,
        "services": {
            "server": {
                "image": settings.own_image,
                "build": {"context": "."},
                "init": True,
                "restart": "unless-stopped",
                "user": f"{image.USER}:{image.USER}",
                "read_only": True,
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges:true"],
                "environment": {KEY_VARIABLE: f"${{{KEY_VARIABLE}:?see the file .env}}"},
                "ports": [f"127.0.0.1:{port}:{port}" for port in (image.HTTP, image.GRPC, image.METRICS)],
                "shm_size": f"{needs.shared_memory // MIB}m",
                "tmpfs": [f"{image.SCRATCH}:mode=1777,size=4g"],
                "stop_grace_period": f"{pod.GRACE_S}s",
                "healthcheck": {
                    "test": ["CMD", "python3", "-c", _ASK.format(port=image.HTTP, path="/v2/health/ready")],
                    "interval": f"{pod.PROBE_S}s",
                    "timeout": f"{pod.PROBE_S}s",
                    "retries": 3,
                    "start_period": f"{needs.start_s}s",
                },
                "deploy": {"resources": resources},
            }
        },
    }
