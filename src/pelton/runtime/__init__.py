"""The asyncio engine around the kernel: commits, event matching, work, timers and deliveries."""
