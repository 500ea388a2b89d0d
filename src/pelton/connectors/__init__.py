"""The systems that messages come from and go to: one port, a file or folder for each system, and a registry by address.

Called by the runtime (port and registry) and the server (connections). Imports the kernel's JSON type and net.
"""
