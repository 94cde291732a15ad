"""Cache outputs in memory and on disk: keys, tiers, and the version that keeps results apart."""
