"""The fields of a manifest's row and of a caption record, in words, for docs/reference/records.md.

A field of the code that is missing here, or the other way round, stops `make_reference.py`.
"""

MANIFEST = {
    "id": "text, unique in the file",
    "path": "text, relative to the manifest's folder, inside it",
    "start_s": "seconds of the file, at least 0; where the clip begins (default 0)",
    "end_s": "seconds of the file, after `start_s`; where the clip ends (default: the file's end)",
    "captions": "list of texts: captions or references of the clip",
    "conversations": "turns in LLaVA's form, for training",
    "facts": "what is true of the clip, as data",
    "prompt": "text that the clip was made from",
}
RECORD = {
    "id": "text: the clip",
    "path": "text: the video's path in the input folder",
    "status": '"ok" or "failed"',
    "start_s": "seconds of the file, where the clip is a part of it",
    "end_s": "the same for its end",
    "caption": "text as written to the formats; null in a failed record",
    "segments": "list of `{start_s, end_s, caption}` (and `error` of a part that failed): parts or timed events",
    "model": "text: the model's name",
    "revision": "text: its revision, or a hash of its weights",
    "style": "text: the style's name",
    "prompt_sha": "hash of the prompt the model was given",
    "fields": "what a style with fields (structured) reads from the answer",
    "decoder": "what decoded the video; null in a failed record",
    "frame_times_s": "seconds of the file of each frame that the model saw",
    "duration_s": "seconds of the file; null in a failed record",
    "tokens": "tokens written by the model",
    "seconds": "the clip's share of the model's time",
    "warnings": "list of `{code, message}`",
    "error": "`{code, message, hint}` of a failed record, else null",
    "captions": "all captions of the clip, its own first, where it has several (`--num`, `v2t edit`)",
    "edited": "true where a person wrote or chose the caption",
    "review": "accepted, rejected or look (needs one), as a person judged it in `v2t edit`",
    "tags": "list of texts, a person's",
}
