"""Recorded episodes, datasets and supervised fine-tuning."""
