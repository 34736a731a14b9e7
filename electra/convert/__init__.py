"""Models in and out: Hugging Face's folders, BERT's too, and KerasHub's presets."""
