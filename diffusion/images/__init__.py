"""Images and masks as tensors: resize, composite, filter, detect, read and encode."""
