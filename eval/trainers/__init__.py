"""What trainers of video models do with a folder of clips and captions: rules as data, a check, a set that fits."""
