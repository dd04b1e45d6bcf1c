"""Weight-free model files: GGUF files of the right shapes and types, filled with random blocks.

Speed and memory of an engine do not depend on the values of the weights, so these stand in for a
download wherever only speed and memory are asked.
"""
