"""Success detection by images: a classifier trained on recorded bags, with the arm's own check."""
