"""What the APIs and languages share above the runtime, however requests come: JSON into structs, what is wrong with a request,
page tokens, lists, zones.

`http` and `grpc` are the transports themselves; the modules beside them know neither. Called by `api` and the languages; imports
the runtime's face.
"""
