"""From a case's images to what a network is fed: spaces, channels, organ maps and CT, splines."""
