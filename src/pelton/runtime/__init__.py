"""The asyncio engine around the kernel: commits, routing, work, timers and deliveries."""
