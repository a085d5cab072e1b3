"""Parts of films as files of their own: cut, scaled and brought to a rate in the decoders' children, each once."""
