"""Where topologies, snapshots of hosts and bare rules become the dataplane's worlds, and are asked questions.

Nothing here asks a kernel: a world is made of facts, and every answer says on which of them it rests.
"""
