"""The live page: reads only, one snapshot a rendering, pushed to the browser as server-sent events."""
