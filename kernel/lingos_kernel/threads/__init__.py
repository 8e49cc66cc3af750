"""The elastic pool that runs syscalls, and named locks."""
