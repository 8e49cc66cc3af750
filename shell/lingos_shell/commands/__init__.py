"""The commands, one small module each; named in `lingos_shell.registry`, imported on use."""
