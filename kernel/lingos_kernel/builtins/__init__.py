"""The built-in syscalls, registered through the same hooks as any plugin."""
