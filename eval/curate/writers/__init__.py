"""Formats of a written set that captions of `v2t` have no use for; one file each, of the kind of `v2t.writers`."""
