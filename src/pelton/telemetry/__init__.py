"""What a server says about itself to those who watch it: histograms that cost nearly nothing. Every room may import it; it
imports no other.
"""
