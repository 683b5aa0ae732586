"""Where a server is, as its users write it: `grpc://host:8001`, `grpcs://…`, `http://host:8000`, `https://…`.

A Unix socket of gRPC is `unix:/path`.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from i2i_rt.errors import I2IError

PORTS = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 443}


@dataclass(frozen=True)
class Address:
    """A server's address.

    Attributes:
        scheme: grpc, grpcs, http or https.
        path: below which an HTTP server behind a proxy answers; without a slash at its end.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Reads a URL; without a scheme it is one of gRPC.

        Raises:
            I2IError: where it is none.
        """
        if url.startswith("unix:"):
            return cls("grpc", url, 0)
        wanted = "write grpc://HOST:PORT or http://HOST:PORT"
        try:
            parts = urlsplit(url if "://" in url else f"grpc://{url}")
            port = parts.port
        except ValueError as error:
            raise I2IError(f"{url!r} is no address of a server ({error}); {wanted}") from None
        if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.fragment:
            raise I2IError(f"{url!r} is no address of a server; {wanted}")
        if parts.username is not None:
            raise I2IError(f"the address of {parts.hostname} has a user's name; the server knows none: {wanted}")
        path = parts.path.rstrip("/")
        if path and parts.scheme.startswith("grpc"):
            raise I2IError(f"{url!r} has a path, which gRPC knows not; {wanted}")
        return cls(parts.scheme, parts.hostname, port or PORTS[parts.scheme], path)

    @property
    def is_grpc(self) -> bool:
        return self.scheme.startswith("grpc")

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("unix:")

    @property
    def is_secure(self) -> bool:
        return self.scheme.endswith("s")

    @property
    def target(self) -> str:
        """What gRPC calls it."""
        if self.is_socket:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Says whether it is this host, as far as the name tells."""
        if self.host == "localhost" or self.is_socket:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.is_socket:
            return self.host
        return f"{self.scheme}://{self.target}{self.path}"


@dataclass(frozen=True)
class Tls:
    """The files (PEM) of an encrypted connection.

    Attributes:
        ca: the authorities that the server's certificate is checked with; None: the system's.
        cert, key: the client's own certificate and its key, where the server asks for one.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise I2IError("a client's certificate and its key go together; give both or neither")

    def read(self, name: str) -> bytes | None:
        """Gives the content of one of the files; None where it was not given."""
        path = getattr(self, name)
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise I2IError(f"{path} cannot be read: {error.strerror}") from None
