"""The file formats as typed models, one module a format; nothing else knows a file's field names."""
