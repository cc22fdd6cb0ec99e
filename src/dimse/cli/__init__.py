"""The command line.

app       the commands, their exit codes, what becomes of errors
running   an event loop for a command, and its log
output    sizes, names and reasons in words; JSON lines
echo send receive demo    one command each
"""
