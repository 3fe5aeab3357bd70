"""What is computed beside the scores: centroid, second opinions, similarity, fairness, comparison."""
