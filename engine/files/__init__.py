"""Files that a run reads and writes, confined to the folders that the user granted."""
