"""The ASGI application on the Unix socket."""
