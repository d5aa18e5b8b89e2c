"""From latest values to judged rows and named episodes."""
