"""The process table: sessions, jobs and agents."""
