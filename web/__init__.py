"""The server: ComfyUI's HTTP and WebSocket API over the engine."""
