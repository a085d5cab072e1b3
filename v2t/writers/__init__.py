"""One file per output format, loaded by file name (`--format txt,jsonl`).

A format of one file per clip defines `SUFFIX`, `render(record) -> bytes` and, where a person's edit can be read back,
`read(data) -> str`, the caption. A format of one file per run defines `FILE_NAME`, `render(record) -> bytes` for one
row and `read(path)`, its rows. Records are those of `v2t.caption`.
"""
