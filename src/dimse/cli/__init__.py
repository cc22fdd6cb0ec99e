"""The command line.

app       the commands, their exit codes, what becomes of errors
arguments how they are read, and those of several commands
running   an event loop for a command, and its log
output    sizes, names and reasons in words; JSON lines
progress  the bars
query     what is typed to ask for something; matches and retrieval show what comes of it
echo send receive find get move retrieve    one command each; `dimse demo` is in dimse.demo
"""
