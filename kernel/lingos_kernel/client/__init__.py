"""The one way in from outside: KernelClient."""
