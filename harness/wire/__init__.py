"""The stopwatch under the client libraries: transports that stamp bytes, and what the bytes said.

`tap` holds what one request did on the wire, `transport` fills it below httpx and httpx2, `streams`
reads the stream of each protocol out of it, `raw` is HTTP without a client library.
"""
