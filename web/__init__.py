"""The server's rooms: ComfyUI's HTTP and WebSocket API over the engine."""
