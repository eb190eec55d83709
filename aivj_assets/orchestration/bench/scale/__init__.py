"""`aivj bench scale`: the real graph over a large library, with a stand-in for the browser."""
