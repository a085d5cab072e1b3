"""Best of n: which of the clips made for a prompt to keep."""
