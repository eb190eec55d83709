"""`python -m aivj_assets.cli`, for places where `aivj` is not on the path."""

from aivj_assets.cli.app import main

main()
