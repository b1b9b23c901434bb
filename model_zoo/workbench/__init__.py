"""From a file or a library to a model: inspect, recover, explore, discover."""
