"""Content that names other files and addresses: lists in every disguise, and true movies that point elsewhere."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path


def lists(file: Path, port: int) -> dict[str, bytes]:
    """Texts that name the canaries, as playlists of every kind and as what carries references."""
    web, path = f"http://127.0.0.1:{port}/x", str(file)
    both = (path, "file:" + path, "file://" + path, web)
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n" + "".join(f"#EXTINF:9,\n{u}\n" for u in both)
    concat = "ffconcat version 1.0\n" + "".join(f"file '{u}'\n" for u in both)
    return {
        "hls": (hls + "#EXT-X-ENDLIST\n").encode(),
        "hls with a key": hls.replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{web}"\n#EXTINF', 1).encode(),
        "hls of playlists": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{web}\n{path}\n".encode(),
        "hls with subfile": hls.replace(path, f"subfile,,start,0,end,64,,:{path}").encode(),
        "concat": concat.encode(),
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f'<AdaptationSet mimeType="video/mp4"><Representation id="1"><BaseURL>{web}</BaseURL></Representation>'
        f"</AdaptationSet></Period></MPD>".encode(),
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n".encode(),
        "smil": f'<smil><body><video src="{web}"/></body></smil>'.encode(),
        "asx": f'<asx version="3.0"><entry><ref href="{web}"/></entry></asx>'.encode(),
        "pls": f"[playlist]\nFile1={web}\nNumberOfEntries=1\n".encode(),
        "rtsptext": f"RTSPtext\nrtsp://127.0.0.1:{port}/\n".encode(),
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{web}"/></svg>'.encode(),
        "html": f'<!doctype html><meta http-equiv="refresh" content="0;{web}"><video src="{path}">'.encode(),
        "mvg": f"push graphic-context\nimage over 0,0 1,1 '{web}'\npop graphic-context\n".encode(),
        "postscript": f"%!PS\n({path}) (r) file\n".encode(),
        "srt": f"1\n00:00:00,000 --> 00:00:09,000\n{web}\n".encode(),
        "ass": b"[Script Info]\nScriptType: v4.00+\n",
        "image list": f"{path}\n".encode(),
    }


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def gab2(playlist: bytes) -> bytes:
    """An AVI whose subtitle track is a playlist: the way of CVE-2016-1897 and what came after it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    def stream(kind: bytes, form: bytes) -> bytes:
        head = kind + b"\0" * 16 + struct.pack("<IIIIII", 1, 4, 0, 4, 1000, 0) + b"\0" * 12
        return chunk(b"LIST", b"strl" + chunk(b"strh", head) + chunk(b"strf", form))

    bitmap = struct.pack("<IiiHH4sIiiII", 40, 16, 16, 1, 24, b"\0\0\0\0", 768, 0, 0, 0, 0)
    subtitle = b"GAB2\0" + struct.pack("<HI", 2, 4) + b"a\0\0\0" + struct.pack("<HI", 4, len(playlist)) + playlist
    main = chunk(b"avih", struct.pack("<14I", 250_000, 0, 0, 0x10, 1, 0, 2, 768, 16, 16, 0, 0, 0, 0))
    header = chunk(b"LIST", b"hdrl" + main + stream(b"vids", bitmap) + stream(b"txts", b""))
    moves = chunk(b"LIST", b"movi" + chunk(b"01tx", subtitle) + chunk(b"00db", bytes(768)))
    return chunk(b"RIFF", b"AVI " + header + moves)


def with_outer_data(video: bytes, entry: bytes) -> bytes:
    """The mp4 with its track's samples said to lie in another file (`dref`)."""
    ours = box(b"dref", struct.pack(">II", 0, 1) + box(b"url ", b"\0\0\0\1"))
    assert ours in video
    theirs = box(b"dref", struct.pack(">II", 0, 1) + entry)
    return _grown(video, ours, theirs)


def _grown(data: bytes, old: bytes, new: bytes) -> bytes:
    """`data` with a box replaced, the sizes of all around it corrected; offsets are left as they were."""
    out, at = b"", 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I", data[at : at + 4])[0], data[at + 4 : at + 8]
        whole = data[at : at + size]
        if whole == old:
            out += new
        elif old in whole and kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            out += box(kind, _grown(whole[8:], old, new))
        else:
            out += whole
        at += size
    return out


def disguises(text: bytes, file: Path, video: bytes) -> dict[str, bytes]:
    """A text as the content of every container, as far as first bytes go."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.m3u8", text)
    packets = b"".join(b"G" + text[i : i + 187].ljust(187, b"\n") for i in range(0, max(len(text), 1200), 187))
    return {
        "plain": text,
        "spaces first": b"\n \t\n" + text,
        "with a mark": b"\xef\xbb\xbf" + text,
        "in UTF-16": text.decode("latin-1").encode("utf-16"),
        "mp4": box(b"ftyp", b"isom\0\0\2\0isommp41") + text,
        "mp4 mdat": box(b"ftyp", b"isom\0\0\2\0isommp41") + box(b"mdat", text),
        "mov wide": box(b"wide", b"") + text,
        "box length of text": text[:4] + b"ftyp" + text,
        "matroska": b"\x1a\x45\xdf\xa3" + text,
        "matroska header": b"\x1a\x45\xdf\xa3\x84\x42\x82\x81a" + text,
        "avi": b"RIFF" + struct.pack("<I", len(text)) + b"AVI " + text,
        "avi gab2": gab2(text),
        "webp": b"RIFF" + struct.pack("<I", len(text)) + b"WEBPVP8 " + text,
        "ogg": b"OggS\0\2" + bytes(20) + b"\1" + bytes([min(len(text), 255)]) + text,
        "flv": b"FLV\1\1\0\0\0\t\0\0\0\0" + text,
        "mpeg-ps": b"\0\0\1\xba" + text,
        "mpeg-video": b"\0\0\1\xb3" + text,
        "mpeg-ts": packets,
        "png": b"\x89PNG\r\n\x1a\n" + text,
        "jpeg": b"\xff\xd8\xff\xe0" + text,
        "gif": b"GIF89a" + text,
        "bmp": b"BM" + text,
        "mp3 tag": b"ID3\4\0\0\0\0\0\0" + text,
        "wave": b"RIFF" + struct.pack("<I", len(text)) + b"WAVE" + text,
        "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + text,
        "gzip": gzip.compress(text),
        "zip": zipped.getvalue(),
        "behind a video": video + text,
    }


def outer_data(file: Path, port: int, video: bytes) -> dict[str, bytes]:
    """True movies that name other files."""
    web, path = f"http://127.0.0.1:{port}/x", os.fsencode(file)
    found = {
        "dref url": with_outer_data(video, box(b"url ", bytes(4) + b"file://" + path + b"\0")),
        "dref web": with_outer_data(video, box(b"url ", bytes(4) + web.encode() + b"\0")),
        "dref alias": with_outer_data(video, box(b"alis", bytes(4) + _alias(path))),
    }
    for address in (path, b"file://" + path, web.encode()):
        link = box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(address) + 1) + address + b"\0")
        movie = box(b"moov", box(b"rmra", box(b"rmda", link)))
        found[f"reference movie {address[:5]!r}"] = box(b"ftyp", b"qt  \0\0\2\0qt  qt  ") + movie
    return found


def _alias(path: bytes) -> bytes:
    """A macOS alias record with the absolute path as entry 18, as FFmpeg's reader of `alis` takes it."""
    fixed = bytes(4) + struct.pack(">HH", 150, 2) + bytes(150 - 8)
    return fixed + struct.pack(">hH", 18, len(path)) + path + b"\0" * (len(path) % 2) + struct.pack(">hH", -1, 0)
