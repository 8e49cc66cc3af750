"""The line REPL, `lingos sh`: a prompt, and answers that are written as they come."""
