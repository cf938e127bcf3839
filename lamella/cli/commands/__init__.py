"""The commands, a module a group; each has `add_commands(family)`."""
