"""Graph files: native YAML and JSON, ComfyUI's API JSON, and pictures that carry either."""
