"""The BAGEL-compatible trainer; no other package imports it, and it imports only shards."""
