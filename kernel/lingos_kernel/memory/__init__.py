"""KV pages, the radix prefix tree and the budget planner; pure bookkeeping, no torch."""
