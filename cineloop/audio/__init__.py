"""Sound of films and sound files: tracks, samples at true times, blocks of long recordings."""
