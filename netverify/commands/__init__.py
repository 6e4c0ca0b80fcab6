"""The commands, one file each: arguments in, text out, an exit code back. What they do is done elsewhere.

Every module has `add(commands)`, which declares the command, and imports what it needs only when it runs, so
that `netverify --help` answers at once.
"""
