"""Success detection."""
