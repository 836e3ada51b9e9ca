"""One format that other trainers and hubs read a file, each written from a finished directory."""
