"""Addresses of servers as their users write them."""

import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving.client import Client, Tls
from i2i_rt.serving.client.address import Address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("grpc://host", Address("grpc", "host", 8001)),
        ("host:9001", Address("grpc", "host", 9001)),
        ("http://10.0.0.7:80/triton/", Address("http", "10.0.0.7", 80, "/triton")),
        ("https://host", Address("https", "host", 443)),
        ("grpcs://[::1]:9", Address("grpcs", "::1", 9)),
        ("unix:/run/grpc:1", Address("grpc", "unix:/run/grpc:1", 0)),
    ],
)
def test_address_is_read(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected
    assert Address.parse(str(expected)) == expected


@pytest.mark.parametrize("url", ["", "ftp://host", "grpc://", "grpc://host:port", "grpc://host/path", "http://h?x=1"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(I2IError, match=r"write grpc://HOST:PORT or http://HOST:PORT|gRPC knows not"):
        Address.parse(url)


def test_name_of_a_user_is_not_repeated() -> None:
    with pytest.raises(I2IError) as caught:
        Address.parse("http://me:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "here"),
    [("grpc://localhost", True), ("grpc://127.3.2.1", True), ("grpc://[::1]", True), ("unix:/a", True),
     ("grpc://10.0.0.1", False), ("grpc://host", False)],
)  # fmt: skip
def test_this_host_is_told_from_others(url: str, here: bool) -> None:
    assert Address.parse(url).is_loopback == here


def test_certificate_and_key_go_together() -> None:
    with pytest.raises(I2IError, match="give both or neither"):
        Tls(cert="client.pem")
    pytest.importorskip("tritonclient.grpc")
    with pytest.raises(I2IError, match=r"missing\.pem cannot be read"):
        Client("grpcs://localhost:1", tls=Tls(ca="missing.pem"))
