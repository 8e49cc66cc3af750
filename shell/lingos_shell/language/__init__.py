"""The shell's language: read, written, completed and carried out, whatever the front end."""
