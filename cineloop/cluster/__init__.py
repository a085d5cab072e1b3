"""Work on many machines: an existing engine places it, the journals of the output folder say what is done."""
