"""Opening a file with PyAV (FFmpeg): files and known formats only, the stream a player would show, its packets.

In: an open `VideoSource` and its `Layout`. Out: a container, a stream, packets. PyAV's errors become stable codes here.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cineloop.errors import ItemError
from cineloop.video.container import Layout, VideoSource

if TYPE_CHECKING:
    import av.container

# Containers and elementary streams; playlists (hls, concat, dash, sdp) name other files and are refused unopened.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,m4v,h264,hevc,vvc,av1,obu,ivf,"
    "mxf,nut,dv,rm,wtv,mjpeg,yuv4mpegpipe,mp3,wav,flac,aac,ac3,aiff,caf,apng,h261,h263,amr,ape,dts,eac3"
)


@contextmanager
def open_container(source: VideoSource, layout: Layout) -> Iterator[av.container.InputContainer]:
    """The file opened by PyAV, files and known formats only.

    Raises:
        ItemError: NO_INDEX, NOT_MEDIA, UNREADABLE.
    """
    import av
    import av.error

    if layout.kind == "mp4" and not layout.has_index:
        raise ItemError(
            f"the mp4 has no index (moov): {source.name!r}",
            code="NO_INDEX",
            hint="the recording was cut off or never finished; repair it with a tool such as untrunc, or copy it again",
        )
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    if source.codecs:
        options["codec_whitelist"] = source.codecs
    try:
        container = av.open(
            source.address,
            options=options,
            metadata_errors="replace",
        )
    except av.error.FFmpegError as error:
        if error.errno in (errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE):
            raise ItemError(f"cannot read {source.name!r}: {error.strerror}", code="UNREADABLE") from error
        if error.errno == errno.ENOMEM:
            raise ItemError(f"no memory left to open {source.name!r}", code="OUT_OF_MEMORY") from error
        raise _not_media(source, layout) from error
    with container:
        yield container


def _not_media(source: VideoSource, layout: Layout) -> ItemError:
    return ItemError(
        f"no video or audio format is recognised in {source.name!r}",
        code="TRUNCATED" if layout.missing_bytes else "NOT_MEDIA",
        hint="the content is not media, whatever the name says; see what it is with the `file` command",
    )


def default_stream(container: av.container.InputContainer, source: VideoSource, layout: Layout) -> Any:
    """The video stream a player would show: FFmpeg's choice, cover pictures left out.

    Raises:
        ItemError: NO_VIDEO_STREAM, CODEC_UNAVAILABLE, NOT_MEDIA (no stream at all).
    """
    import av.stream

    pictures = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & pictures]
    if not len(container.streams):
        raise _not_media(source, layout)
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams}))
        raise ItemError(
            f"no video stream in {source.name!r}, only {kinds}", code="NO_VIDEO_STREAM", hint="audio is not captioned"
        )
    best = container.streams.best("video")
    chosen = next((s for s in streams if best is not None and s.index == best.index), streams[0])
    if chosen.codec_context is None:
        raise ItemError(
            f"this FFmpeg has no decoder for the video stream of {source.name!r}",
            code="CODEC_UNAVAILABLE",
            hint="re-encode the file to H.264",
        )
    # The list given to `av.open` holds while FFmpeg looks into the file; the decoder itself is opened later.
    if source.codecs and chosen.codec_context.codec.name not in source.codecs.split(","):
        raise ItemError(
            f"the video stream of {source.name!r} is {chosen.codec_context.name}, which is not read here",
            code="CODEC_UNAVAILABLE",
            hint="re-encode the file to H.264",
        )
    return chosen


def check_pixels(height: int, width: int, max_pixels: int, name: str) -> None:
    """Raises ItemError TOO_LARGE when a frame is greater than allowed; called before anything is allocated for it."""
    if height * width > max_pixels:
        raise ItemError(
            f"frames of {width}x{height} = {height * width} pixels exceed the limit of {max_pixels}: {name!r}",
            code="TOO_LARGE",
            hint="scale the video down, or raise max_pixels",
        )


def packets_until_damage(container: Any, stream: Any) -> Iterator[Any]:
    """Packets up to the end, or up to where the file stops making sense."""
    import av.error

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.EOFError, av.error.InvalidDataError):
            return
        yield packet
