"""The data plane: samples, tars, indexes, tables, manifests, the ledger and the executors."""
