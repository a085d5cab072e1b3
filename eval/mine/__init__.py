"""Mining of clips: on which captioner, judge and dual encoder disagree, and preference pairs from several captions."""
