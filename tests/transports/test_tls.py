"""TLS over bytes in memory, against Python's own TLS as the peer; and the certificates of the environment."""

from __future__ import annotations

import ssl

import pytest
import trustme

from gateway360_async import FailureKind
from gateway360_async.transports import TransportError
from gateway360_async.transports._tls import TlsStream, ssl_context


class Peer:
    """A server's end, in memory."""

    def __init__(self, authority: trustme.CA, version: ssl.TLSVersion) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        authority.issue_cert("gateway.test").configure_cert(context)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def receive(self, data: bytes) -> bytes:
        """Take bytes in, and give those to be written."""
        self.incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def record(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def peer(authority, request):
    return Peer(authority, request.param)


@pytest.fixture
def stream(authority, peer):
    """A client's end, after the handshake."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    made = TlsStream(context, "gateway.test")
    data = b""
    while not made.established:
        assert made.receive(data) == b""
        data = peer.receive(made.output())
    made.receive(data + peer.receive(made.output()))
    assert made.between_records
    return made


def test_stream_carries_bytes_both_ways(stream, peer):
    peer.receive(stream.encrypt(b"x" * 100_000))
    assert b"".join(peer.tls.read(100_000) for _ in range(7)) == b"x" * 100_000
    assert stream.receive(peer.record(b"y")) == b"y"


def test_stream_gives_all_whole_records_at_once(stream, peer):
    assert stream.receive(peer.record(b"one") + peer.record(b"two")) == b"onetwo"
    assert stream.between_records


def test_stream_knows_a_record_in_parts_at_every_cut(stream, peer):
    record = peer.record(b"surplus")
    stream.receive(record)
    for cut in range(1, len(record)):
        answer, surplus = peer.record(b"answer"), peer.record(b"surplus")
        assert stream.receive(answer + surplus[:cut]) == b"answer"
        assert not stream.between_records
        assert stream.receive(surplus[cut:]) == b"surplus"
        assert stream.between_records


def test_stream_knows_the_records_byte_by_byte(stream, peer):
    data = peer.record(b"one")
    for byte in data[:-1]:
        assert stream.receive(bytes([byte])) == b""
        assert not stream.between_records
    assert stream.receive(data[-1:]) == b"one"


def test_close_notify_behind_an_answer_ends_the_stream(stream, peer):
    data = peer.record(b"answer")
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    assert stream.receive(data + peer.outgoing.read()) == b"answer"
    assert stream.closed_by_peer


def test_close_tells_the_peer(stream, peer):
    peer.incoming.write(stream.close())
    assert peer.tls.read(1) == b""


def test_bytes_that_are_no_tls_raise(stream):
    assert stream.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n") == b""
    assert isinstance(stream.broken, ssl.SSLError)


@pytest.mark.parametrize(
    ("variable", "content", "says"),
    [
        ("SSL_CERT_FILE", None, "No such file"),
        ("SSL_CERT_FILE", "", "no certificate"),
        ("SSL_CERT_FILE", "no certificate", "no certificate"),
        ("SSL_CERT_DIR", None, "No such folder"),
    ],
)
def test_certificates_that_cannot_be_read_name_variable_and_path(
    variable, content, says, monkeypatch, tmp_path
):
    path = tmp_path / "certificates"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(TransportError) as caught:
        ssl_context()
    assert caught.value.kind is FailureKind.TLS_REFUSED
    assert variable in caught.value.detail
    assert str(path) in caught.value.detail
    assert says.lower() in caught.value.detail.lower()


def test_certificates_of_a_folder_are_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'missing'}:{tmp_path}")
    assert ssl_context().get_ca_certs() == []


def test_certificates_without_a_variable_are_certifis(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert len(ssl_context().get_ca_certs()) > 50
