"""What happens in a clip, and how it is drawn."""
