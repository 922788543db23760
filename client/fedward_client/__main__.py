"""`python -m fedward_client` is `fedward-site`."""

from fedward_client.cli import main

main()
