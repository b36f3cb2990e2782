"""What holds for all tests: the guards that each stands under, and the servers that they share."""

pytest_plugins = ("tests.guards", "tests.side_by_side")
