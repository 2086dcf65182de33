"""Networks and a schedule small enough for tests; recipes name them by `_target_` where `support` is trusted."""
