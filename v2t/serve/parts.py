"""Videos among the content parts of a message, in the forms that chat programs send.

In: a part of a message's content, as JSON. Out: a `VideoRef`, or a refusal that names the field. Nothing is fetched.
The forms, with who sends them (read in their sources and threads, 2026-11):

    {"type": "video_url", "video_url": {"url": U}}                      vLLM, SGLang, mlx-vlm; our page
    {"type": "input_video", "input_video": {"data": B, "format": F}}    llama.cpp's page, Unsloth Studio
    {"type": "input_video", "video_url": U}  or  "file_id": I           Responses API of hosted services
    {"type": "video", "video": U}                                       Qwen's own form
    {"type": "file", "file": {"file_id": I}  or  {"file_data": U}}      OpenAI's chat; the AI SDK (Cherry Studio)
    {"type": "input_file", "file_id": I, "file_data": U or "file_url"}  OpenAI's Responses

U is an address as `cineloop.web.addresses` has it, B plain base64, I the id of an upload. Open WebUI, Ollama's and LM
Studio's programs send no videos.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from cineloop.suffixes import VIDEO_SUFFIXES
from v2t.serve.fields import fields_of, wrong

_LONGEST_URL = 4096  # characters of a URL that is not a data URL
_SOURCES = ("data", "upload", "file", "https", "http")  # or "other"
_FILE_ID = re.compile(r"file-[0-9a-f]{32}")
_FORMATS = {"mp4": "mp4", "auto": "mp4", "webm": "webm", "ogg": "ogg", "mov": "quicktime", "mkv": "x-matroska"}
_VIDEO_NAME = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(VIDEO_SUFFIXES)))})(?:[?#].*)?$", re.I)
_UNTYPED = re.compile(r"data:(?:application/(?:octet-stream|mp4|x-matroska|ogg))?;base64,", re.I)
VIDEOS = ("video_url", "input_video", "video")
PICTURES = ("image_url", "input_image")
FILES = ("file", "input_file")


@dataclass(frozen=True, kw_only=True)
class VideoRef:
    """A video of a request: its URL as received, its field, its kind of source, one of `_SOURCES`, for metrics, and the
    position of its message."""

    url: str = field(repr=False)
    param: str
    source: str
    turn: int = 0


def is_for_gateway(part: Any) -> bool:
    """Whether a part is a video, or names something that only the gateway knows: an upload, a file of its roots. Other
    pictures and files are for the server behind it."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in PICTURES:
        holder = part.get("image_url")
        url = holder.get("url") if isinstance(holder, dict) else holder
        return isinstance(url, str) and url[:11].lower().startswith(("upload:", "file:", "data:video/"))
    if kind in FILES:
        holder = part.get("file") if kind == "file" else part
        if not isinstance(holder, dict):
            return False
        name, data, url = (str(holder.get(key) or "") for key in ("file_id", "file_data", "file_url"))
        is_video_name = _VIDEO_NAME.search(str(holder.get("filename") or "")) is not None
        is_video_data = data[:11].lower() == "data:video/" or (bool(_UNTYPED.match(data[:64])) and is_video_name)
        return bool(_FILE_ID.fullmatch(name)) or is_video_data or _VIDEO_NAME.search(url) is not None
    return kind in VIDEOS


def video_in(part: dict[str, Any], where: str, turn: int = 0) -> VideoRef:
    """The video of a part whose type is one of the forms above. Raises Fault UNKNOWN_FIELD, BAD_REQUEST."""
    kind = part["type"]
    if kind in ("file", "input_file"):
        if kind == "file":
            return _file(fields_of(part, {"type", "file"}, where).get("file"), f"{where}.file", turn)
        return _file({name: each for name, each in part.items() if name != "type"}, where, turn)
    if kind != "input_video":
        name = "image_url" if kind in PICTURES else kind
        holder, where = fields_of(part, {"type", name, "detail"}, where).get(name), f"{where}.{name}"
        if kind == "video" or isinstance(holder, str):
            return reference(holder, where, turn)
        return reference(fields_of(holder, {"url", "detail"}, where).get("url"), f"{where}.url", turn)
    given = fields_of(part, {"type", "input_video", "video_url", "file_id"}, where)
    holder = given.get("input_video")
    if holder is not None:
        where = f"{where}.input_video"
        given = fields_of(holder, {"data", "format", "url", "video_url", "file_id"}, where)
    if "data" in given:
        return _base64(given["data"], given.get("format", "mp4"), where, turn)
    if "file_id" in given:
        return _file({"file_id": given["file_id"]}, where, turn)
    name = "video_url" if "video_url" in given else "url"
    address = given.get(name)
    if isinstance(address, dict):
        address, name = fields_of(address, {"url"}, f"{where}.{name}").get("url"), f"{name}.url"
    return reference(address, f"{where}.{name}", turn)


def reference(url: Any, where: str, turn: int = 0) -> VideoRef:
    """The video at `url`, the value of the field `where`. Raises Fault BAD_REQUEST."""
    if not isinstance(url, str) or not url:
        raise wrong(where, "expected a URL", url)
    # A single non-BMP character makes Python store every one in four bytes, beyond the memory budget.
    if len(url) > _LONGEST_URL and not url.isascii():
        raise wrong(where, "expected ASCII characters alone in a long URL")
    scheme = url[:16].partition(":")[0].lower()
    return VideoRef(url=url, param=where, source=scheme if scheme in _SOURCES else "other", turn=turn)


def _base64(data: Any, form: Any, where: str, turn: int) -> VideoRef:
    if form not in _FORMATS:
        raise wrong(f"{where}.format", f"expected one of {', '.join(_FORMATS)}", form)
    if isinstance(data, str) and data and not data.startswith("data:"):
        data = f"data:video/{_FORMATS[form]};base64,{data}"
    return reference(data, f"{where}.data", turn)


def _file(holder: Any, where: str, turn: int) -> VideoRef:
    given = fields_of(holder, {"file_id", "file_data", "file_url", "filename", "detail"}, where)
    names = [name for name in ("file_id", "file_data", "file_url") if name in given]
    if len(names) != 1:
        raise wrong(where, "expected either file_id or file_data")
    if names == ["file_url"]:
        return reference(given["file_url"], f"{where}.file_url", turn)
    if names == ["file_data"]:
        data = given["file_data"]
        if isinstance(data, str) and _VIDEO_NAME.search(str(given.get("filename") or "")):
            data = _UNTYPED.sub("data:video/mp4;base64,", data, count=1)  # the content says what it is
        video = reference(data, f"{where}.file_data", turn)
        if video.source != "data":
            raise wrong(video.param, "expected a data URL: data:video/mp4;base64,...")
        return video
    name = given["file_id"]
    if not isinstance(name, str) or not _FILE_ID.fullmatch(name):
        raise wrong(f"{where}.file_id", "expected the id of an uploaded file: file- and 32 hexadecimal digits", name)
    return VideoRef(url=f"upload:{name}", param=f"{where}.file_id", source="upload", turn=turn)
