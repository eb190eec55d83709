"""The show page's server: who may ask, what is handed out, music that comes in, the log that goes out."""
