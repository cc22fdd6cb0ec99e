"""What answers instead of DICOM is recognized by its first bytes."""

from __future__ import annotations

from dimse.network.banners import is_tls, speaker_of

CASES = {
    b"HTTP/1.1 400 Bad Request\r\n": "an HTTP server",
    b"<!DOCTYPE HTML PUBLIC": "an HTTP server",
    b"SSH-2.0-OpenSSH_9.2\r\n": "an SSH server",
    b"220 mail.example.org ESMTP Postfix\r\n": "a mail server (SMTP)",
    b"220 (vsFTPd 3.0.3)\r\n": "an FTP server",
    b"\xff\xfd\x18\xff\xfd\x20": "a Telnet server",
    b"J\0\0\0\x0a8.0.36\0": "a MySQL or MariaDB server",
    b"E\0\0\0jSFATALC0A000Minvalid length of startup packet": "a PostgreSQL server",
    b"\x03\0\0\x13\x0e\xd0\0\0": "a remote desktop (RDP) server",
    b"\x0bMSH|^~\\&|": "an HL7 server",
    b"RFB 003.008\n": "a VNC server",
    b"\x15\x03\x01\0\x02\x02\x46": "a TLS server",
    b"\x16\x03\x03\0\x7a": "a TLS server",
    b"hello": "something that is not DICOM",
    b"": "something that is not DICOM",
}


def test_each_is_recognized() -> None:
    assert {data: speaker_of(data) for data in CASES} == CASES


def test_tls_records() -> None:
    assert [data for data in CASES if is_tls(data)] == [b"\x15\x03\x01\0\x02\x02\x46", b"\x16\x03\x03\0\x7a"]
