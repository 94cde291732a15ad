"""What the command line shows: progress, tables, JSON. Knows the engine, no nodes."""
