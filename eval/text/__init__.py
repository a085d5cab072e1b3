"""Text for the caption metrics: tokens, n-grams, and the Java programs of pycocoevalcap."""
