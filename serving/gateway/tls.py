"""Certificates of the gateway's interfaces."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i_rt.errors import I2IError


@dataclass(frozen=True)
class Tls:
    """Files in PEM.

    Attributes:
        certificate, key: of the server.
        authority: whose certificates clients must show; None: clients need none.
    """

    certificate: Path
    key: Path
    authority: Path | None = None

    def grpc_credentials(self) -> Any:
        import grpc

        authority = None if self.authority is None else self.authority.read_bytes()
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)

    def context(self) -> ssl.SSLContext:
        """Gives the context for HTTP, which also says whether the files are what they should be.

        Raises:
            I2IError: where they are not.
        """
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise I2IError(f"the certificate {self.certificate} and its key cannot be used: {error}") from error
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context
