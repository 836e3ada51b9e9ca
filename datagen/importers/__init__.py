"""One published format a file, each read into samples."""
