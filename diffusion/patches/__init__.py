"""Patches that change how a network computes, one file each."""
