"""Patches of weights, of a network's computation and of guidance, one file each."""
