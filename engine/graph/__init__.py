"""Graphs as frozen data: build, edit, validate and lint them. Nothing here runs."""
