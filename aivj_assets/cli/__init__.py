"""`aivj …`: a module a command or group of commands; `app` puts them together."""
