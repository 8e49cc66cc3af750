"""The engine: sequences, batches, attention, sampling. Torch lives here and in `models/`."""
