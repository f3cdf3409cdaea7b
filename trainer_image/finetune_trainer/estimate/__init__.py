"""What a training will need, told before it asks for a node: memory, disk, time, and the cheapest change that would make it fit."""
