"""The image: the server's own, the packages that Python models and the gateway need, the code and the models."""

import json

from i2i_rt.serving.deploy.settings import Settings

ROOT = "/opt/i2i-rt"  # in the image: the repository that 'i2i-rt serve --repository' takes
HTTP, GRPC, METRICS = 8000, 8001, 8002
USER = 1000  # the server's image calls it triton-server
KEY_FOLDER = "/run/secrets/i2i-rt"
KEY_FILE = "admin.key"
SCRATCH = "/tmp"  # the only place that is written to, beside shared memory

# Lower bounds are those of pyproject.toml; the upper ones keep a rebuilt image from major versions that were not tried.
REQUIREMENTS = (
    "numpy>=1.26,<3",
    "opencv-python-headless>=4.10,<6",
    "pillow>=10.3,<13",
    "rich>=13,<16",
    "safetensors>=0.8,<1",
    "tritonclient[grpc,http]>=2.50,<3",
)
CPU_REQUIREMENTS = ("onnxruntime>=1.20,<2", "openvino>=2024.6,<2027")
GPU_REQUIREMENTS = ("onnxruntime-gpu>=1.20,<2",)


def requirements(settings: Settings, *, python: bool) -> str:
    """Gives the file `requirements.txt`; `python` says whether Python models run the networks themselves."""
    runtimes = (GPU_REQUIREMENTS if settings.device == "gpu" else CPU_REQUIREMENTS) if python else ()
    return "".join(f"{line}\n" for line in (*REQUIREMENTS, *runtimes))


def dockerfile(settings: Settings) -> str:
    """Gives the file `Dockerfile`.

    What it copies is owned by root and is not written to; the server runs as a user that owns nothing.
    """
    lines = [
        f"FROM {settings.base_image}",
        "COPY requirements.txt /tmp/requirements.txt",
        "RUN python3 -m pip install --no-cache-dir --break-system-packages -r /tmp/requirements.txt"
        " && rm /tmp/requirements.txt",
        f"COPY . {ROOT}/",
        f"ENV {' '.join(f'{name}={value}' for name, value in environment().items())}",
        f"USER {USER}:{USER}",
        f"EXPOSE {HTTP} {GRPC} {METRICS}",
        "STOPSIGNAL SIGTERM",
        # not ENTRYPOINT: that of the server's image looks for a driver that is older than its CUDA
        f"CMD {json.dumps(command())}",
    ]
    return "\n".join(lines) + "\n"


def dockerignore(kept: tuple[str, ...]) -> str:
    """Gives the file `.dockerignore`: keys and manifests stay out of the image."""
    return "".join(f"{line}\n" for line in ("*", *(f"!{name}" for name in kept)))


def environment() -> dict[str, str]:
    """Gives the variables that the server runs with."""
    return {
        "PYTHONPATH": f"{ROOT}/code",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": SCRATCH,
        "XDG_RUNTIME_DIR": SCRATCH,
    }


def command() -> list[str]:
    """Gives the command that every target runs: supervisor, gateway and, behind them, the server."""
    return ["python3", "-m", "i2i_rt", "serve", "--repository", ROOT, "--host", "0.0.0.0", *ports()]


def ports() -> list[str]:
    return [f"--http={HTTP}", f"--grpc={GRPC}", f"--metrics={METRICS}"]
