"""Makes models/demo from nothing: `python -m training --output models/demo`."""
