"""Published benchmarks, one a file: cases that have references and an instruction, and no target."""
