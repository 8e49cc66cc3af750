"""The system-call table and the pipeline every call takes."""
