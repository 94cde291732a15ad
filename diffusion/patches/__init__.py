"""Patches of a model, one file each: what each replaces, how, and the paper."""
