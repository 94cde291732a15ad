"""Model files on disk: find, read and identify them. Importing this room loads no torch."""
