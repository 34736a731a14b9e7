"""Models of other libraries: Hugging Face's folders, BERT's too, and KerasHub's presets."""
