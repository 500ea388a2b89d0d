"""What the APIs and languages share above the runtime, whatever the transport: decoding JSON into structs, validation problems,
page tokens, lists, time zones.

`http` and `grpc` are the transports themselves; the other modules depend on neither. Called by `api` and the languages; may
import the runtime's public API.
"""
