"""Addresses of videos: the forms that are taken, a long table of those that are not, and mutations of both."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cineloop.errors import UsageError
from cineloop.web.addresses import Address, allowed_host, check_host, follow, is_public, parse
from cineloop.web.faults import Fault

ID = "file-" + "0123456789abcdef" * 2
ALLOWED = tuple(map(allowed_host, ("cdn.example.org", "example.org:8443", "http://plain.example.org")))
GOOD = [
    ("data:video/mp4;base64,AAAA", Address(kind="data", body="data:video/mp4;base64,AAAA")),
    (f"upload:{ID}", Address(kind="upload", body=ID)),
    (f"UPLOAD:{ID}#t=0,0.5", Address(kind="upload", body=ID, start_s=0.0, end_s=0.5)),
    ("file://films/a/b%20c.mp4", Address(kind="file", root="films", parts=(b"a", b"b c.mp4"))),
    ("file://films/%C3%A4.mp4", Address(kind="file", root="films", parts=("ä.mp4".encode(),))),
    ("file://films/ä.mp4#t=2", Address(kind="file", root="films", parts=("ä.mp4".encode(),), start_s=2.0)),
    ("file://films/100%25.mp4", Address(kind="file", root="films", parts=(b"100%.mp4",))),
    (
        "https://cdn.example.org/a.mp4#t=,7.25",
        Address(kind="web", scheme="https", host="cdn.example.org", port=443, target="/a.mp4", end_s=7.25),
    ),
    (
        "HTTPS://CDN.Example.ORG.:443?sig=a%2Fb#t=1,2",
        Address(
            kind="web", scheme="https", host="cdn.example.org", port=443, target="/?sig=a%2Fb", start_s=1.0, end_s=2.0
        ),
    ),
    (
        "https://example.org:8443/x/?q=1",
        Address(kind="web", scheme="https", host="example.org", port=8443, target="/x/?q=1"),
    ),
    (
        "http://plain.example.org/x",
        Address(kind="web", scheme="http", host="plain.example.org", port=80, target="/x"),
    ),
]
# Reference: the list of bad inputs, number 57, and its relatives.
HOSTILE = [
    "http://127.1",
    "http://127.0.0.1/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::1]/",
    "http://[::]/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0/",
    "http://169.254.169.254/latest/meta-data/",
    "https://user@cdn.example.org/",
    "https://user:pass@cdn.example.org/a.mp4",
    "https://cdn.example.org@evil.org/",
    "https://cdn.example.org:443@evil.org/",
    "https://cdn.example.org\\@evil.org/",
    "https://evil.org\\@cdn.example.org/",
    "https:\\\\cdn.example.org\\a.mp4",
    "https:/cdn.example.org/a.mp4",
    "https:cdn.example.org/a.mp4",
    "https:///cdn.example.org/a.mp4",
    "https://cdn.example.org%2eevil.org/",
    "https://cdn.example.org%00.evil.org/",
    "https://cdn。example。org/",
    "https://cdn.exаmple.org/",  # a Cyrillic letter
    "https://ｃdn.example.org/",
    "https://münchen.de/a.mp4",
    "https://xn--mnchen-3ya.de/a.mp4",
    "https://cdn.example.org.evil.org/",
    "https://evilcdn.example.org/",
    "https://example.org/",  # allowed on port 8443 alone
    "https://example.org:443/",
    "https://cdn.example.org../",
    "https://.cdn.example.org/",
    "https://cdn.example.org:8443/",
    "https://cdn.example.org:0443/",
    "https://cdn.example.org:/",
    "https://cdn.example.org:443:443/",
    "https://cdn.example.org:99999/",
    "https://cdn.example.org:-1/",
    "http://cdn.example.org/a.mp4",
    "http://cdn.example.org:443/a.mp4",
    "https://plain.example.org/a.mp4",
    "https://localhost/",
    "https://localhost.localdomain/",
    "https://metadata.google.internal/",
    "https://cdn.example.org/a%2",
    "https://cdn.example.org/a%zz",
    "https://cdn.example.org/ä.mp4",
    "https://cdn.example.org/<script>",
    'https://cdn.example.org/"',
    "https://cdn.example.org/{a}",
    "https://cdn.example.org;evil.org/",
    "https://cdn.example.org,evil.org/",
    "https://cdn.example.org&evil.org/",
    "https://[cdn.example.org]/",
    "https://[::1%25eth0]/",
    "https://[::1/",
    "https://*/",
    "https://",
    "http:",
    "file:",
    "file:/etc/passwd",
    "file:" + "///etc/passwd",
    "file:////etc/passwd",
    "file://localhost/etc/passwd?x",
    "file://films",
    "file://films/",
    "file://films//a.mp4",
    "file://films/a//b.mp4",
    "file://films/../a.mp4",
    "file://films/a/../../b.mp4",
    "file://films/%2e%2e/a.mp4",
    "file://films/%2E./a.mp4",
    "file://films/a%2f..%2f..%2fb.mp4",
    "file://films/%2fetc%2fpasswd",
    "file://films/.hidden.mp4",
    "file://films/.ssh/key.mp4",
    "file://films/./a.mp4",
    "file://films/a.mp4%00.png",
    "file://films/a%0a.mp4",
    "file://films/a%5cb.mp4",
    "file://films\\a.mp4",
    "file://films/a.mp4?raw",
    "file://films/a%.mp4",
    "file://films/a%g0.mp4",
    "file://films:80/a.mp4",
    "file://user@films/a.mp4",
    "file://films/" + "a" * 256,
    "ftp://cdn.example.org/a.mp4",
    "s3://bucket/a.mp4",
    "gopher://127.0.0.1:6379/_x",
    "dict://127.0.0.1:11211/",
    "concat:a.mp4|b.mp4",
    "javascript:alert(1)",
    "blob:https://cdn.example.org/1",
    "crypto:a.mp4",
    "rtsp://cdn.example.org/a",
    "jar:https://cdn.example.org!/a",
    "view-source:https://cdn.example.org/",
    "https+unix://cdn.example.org/",
]
MALFORMED = [
    "",
    "clip.mp4",
    "subfile,,start,0,end,9,,:a.mp4",
    "/etc/passwd",
    "../a.mp4",
    "//cdn.example.org/a.mp4",
    " https://cdn.example.org/a.mp4",
    "https://cdn.example.org/a.mp4\n",
    "https://cdn.example.org/a b.mp4",
    "https://cdn.example.org/\r\nHost: evil.org",
    "ht\ttps://cdn.example.org/",
    "https://cdn.example.org/\x00",
    "https://cdn.example.org/\u2028",
    "file://films/\ud800.mp4",
    "upload:",
    "upload:file-1",
    f"upload:{ID}0",
    f"upload:{ID.upper()}",
    f"upload:/{ID}",
    f"upload://{ID}",
    f"upload:{ID}.json",
    f"upload:../{ID}",
    "https://cdn.example.org/" + "a" * 5000,
    *(f"upload:{ID}#{t}" for t in ("", "t", "t=", "t=,", "t=2,1", "t=1,1", "t=-1,2", "t=1e3", "t=nan", "t=0,inf")),
    *(f"upload:{ID}#{t}" for t in ("t=1,2,3", "t=1;2", "t=npt:1,2", "t=1,2&x", "T=1,2", "t=1_0", "t=٣", "a#t=1,2")),
    "upload:" + ID + "#t=" + "1" * 400,
    "data:video/mp4;base64,AAAA#track=1",
]


def admit(url: str) -> Address:
    address = parse(url)
    if address.kind == "web":
        check_host(address, ALLOWED)
    return address


@pytest.mark.parametrize(("url", "address"), GOOD, ids=lambda value: value if isinstance(value, str) else "")
def test_an_address_is_what_it_says(url, address):
    assert admit(url) == address


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_address_is_forbidden(url):
    with pytest.raises(Fault) as caught:
        admit(url)
    assert (caught.value.status, caught.value.code) == (403, "URL_FORBIDDEN")
    assert "pass" not in caught.value.message and "evil" not in caught.value.message


@pytest.mark.parametrize("url", MALFORMED, ids=lambda url: ascii(url)[:60])
def test_what_is_no_address_is_said_to_be_none(url):
    with pytest.raises(Fault) as caught:
        admit(url)
    assert (caught.value.status, caught.value.code) == (400, "BAD_URL")


@pytest.mark.parametrize("value", [None, 5, b"data:,", ["data:"], {"url": "x"}])
def test_what_is_no_text_is_no_address(value):
    with pytest.raises(Fault, match="expected the address"):
        parse(value)


@pytest.mark.slow
@settings(max_examples=400)
@given(
    st.sampled_from([url for url, _ in GOOD] + HOSTILE),
    st.lists(st.tuples(st.integers(0, 80), st.sampled_from("@\\#?:/%.[]\x00 \n2e。-t=,ax"), st.booleans()), max_size=4),
)
def test_whatever_is_changed_only_allowed_places_come_out(url, changes):
    for place, letter, replaces in changes:
        url = url[:place] + letter + url[place + replaces :]
    try:
        address = admit(url)
    except Fault as fault:
        assert fault.code in ("URL_FORBIDDEN", "BAD_URL")
        return
    if address.kind == "web":
        assert (address.scheme, address.host, address.port) in {(a.scheme, a.host, a.port) for a in ALLOWED}
        assert address.target.startswith("/") and address.target.isascii() and address.target.isprintable()
        assert not set(' \\"<>#') & set(address.target)
    for part in address.parts:
        assert part and not part.startswith(b".") and not {0, 47, 92} & set(part)
    assert address.end_s is None or address.end_s > (address.start_s or 0) >= 0


@pytest.mark.slow
@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_fault(url):
    try:
        admit(url)
    except Fault as fault:
        assert fault.status in (400, 403)


HERE = parse("https://cdn.example.org/a/b?x#t=1,2")


def test_redirects_lead_to_allowed_places_and_keep_the_range():
    there = follow(HERE, "/c?y", ALLOWED)
    assert (there.host, there.target, there.start_s, there.end_s) == ("cdn.example.org", "/c?y", 1.0, 2.0)
    assert follow(HERE, "https://example.org:8443/d", ALLOWED).port == 8443


@pytest.mark.parametrize(
    "location",
    [
        "",
        "c.mp4",
        "//evil.org/c",
        "/\\evil.org/c",
        "/c d",
        "http://127.0.0.1/c",
        "http://127.0.0.1:1/",
        "http://127.1/",
        "http://[::1]/",
        "http://localhost/",
        "gopher://127.0.0.1:6379/",
        "http://cdn.example.org/c",
        "https://evil.org/c",
        "https://u@cdn.example.org/c",
        "file:" + "///etc/passwd",
        "file://films/a.mp4",
        f"upload:{ID}",
        "data:video/mp4;base64,AAAA",
        "https://cdn.example.org/c\r\nX: y",
        "/" + "c" * 5000,
    ],
)
def test_other_redirects_are_forbidden(location):
    with pytest.raises(Fault) as caught:
        follow(HERE, location, ALLOWED)
    assert caught.value.code == "URL_FORBIDDEN"


CLOSED = (
    "127.0.0.1 127.255.0.1 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 "
    "100.127.255.255 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 "
    "240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe "
    "64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe:: 2002:808:808:: fc00::1 "
    "fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1"
).split()


@pytest.mark.parametrize("numeric", CLOSED)
def test_addresses_that_are_not_of_the_open_internet(numeric):
    assert not is_public(ipaddress.ip_address(numeric))


@pytest.mark.parametrize("numeric", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_open_internet(numeric):
    assert is_public(ipaddress.ip_address(numeric))


def test_entries_of_the_operator():
    assert allowed_host("CDN.example.org").port == 443 and allowed_host("https://a.org").scheme == "https"
    assert allowed_host("http://127.0.0.1:9000").loopback == "127.0.0.1"
    assert allowed_host("http://[::1]:9000").loopback == "::1"
    assert allowed_host("localhost:9000").loopback is None
    assert check_host(parse("http://127.0.0.1:9000/a"), [allowed_host("http://127.0.0.1:9000")]).loopback
    with pytest.raises(Fault):
        check_host(parse("http://127.1:9000/a"), [allowed_host("http://127.0.0.1:9000")])


@pytest.mark.parametrize(
    "entry",
    "http://127.0.0.1 10.0.0.1 http://192.168.0.1:80 169.254.169.254 127.1 2130706433 0x7f000001 [::ffff:127.0.0.1]:9 "
    "a..b user@a.org a.org/path *.a.org ftp://a.org münchen.de a.org:0 a.org:70000 http:// -a.org".split(),
)
def test_an_entry_that_cannot_be_meant_is_refused_at_the_start(entry):
    with pytest.raises(UsageError, match="allow_hosts"):
        allowed_host(entry)
