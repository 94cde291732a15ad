"""The server: ComfyUI's HTTP and WebSocket API over the engine. `latentloom serve` is the same."""

from __future__ import annotations

import sys

from latentloom.nodes import registry
from latentloom.web.serving import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], registry))
