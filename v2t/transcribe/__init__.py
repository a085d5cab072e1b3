"""`v2t transcribe`: what is spoken in films and recordings, as records, subtitles and text."""
