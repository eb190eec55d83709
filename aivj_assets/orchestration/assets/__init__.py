"""The software-defined assets, one module a stage."""
