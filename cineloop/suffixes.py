"""The file name endings that stand for a video, a picture or sound, in lower case."""

from __future__ import annotations

_CONTAINERS = ".3g2 .3gp .asf .avi .f4v .flv .gif .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob"
VIDEO_SUFFIXES = frozenset([*_CONTAINERS.split(), ".webm", ".wmv"])
IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .webp .bmp".split())
AUDIO_SUFFIXES = frozenset(".aac .ac3 .aif .aiff .flac .m4a .mka .mp3 .oga .ogg .opus .wav .wma".split())
