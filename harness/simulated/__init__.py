"""A simulated engine: a server of planted speed that speaks llama.cpp's, OpenAI's and Ollama's protocols.

What belongs here is what such an engine needs: its law (how fast it is, how it fails), its slots
and prefix cache, its models, the shapes of its answers (`protocols`), its clock and its socket. It is
run against, never with: nothing here measures, and the harness reaches it over HTTP like any other engine.
"""
