"""Further full screens: models, syscalls, plugins, audit and logs."""
