"""Video files in and out: frames with their true times, decoded in killable child processes."""
