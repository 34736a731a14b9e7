"""Converted models as others find them: in another format, with a model card, on the Hub."""
