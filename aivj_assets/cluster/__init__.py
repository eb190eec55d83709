"""Unit vectors to clusters: k-means on the sphere, cluster ids, pictures of them."""
