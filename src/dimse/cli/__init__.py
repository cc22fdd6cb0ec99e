"""The command line.

app              parses the command line, runs a command, and turns errors into one line and an exit code
exit_codes       what the exit codes mean
arguments        the parser, and arguments that several commands share
usage_errors     what to type instead of a wrong line
old_spellings    what other software calls an option
query_options    arguments of find, get, move and retrieve, and the query made of them
runtime          the event loop of a command, Ctrl-C and closed pipes
logs             the log on standard error
output           the only way to the terminal: escaped text and JSON lines
progress         progress bars
report           counts results, and writes them as text or JSON lines
send_report, receive_report, retrieve_report    the reports of these jobs; get and move use the last, too
explain_report   what explain has found out, as text or JSON
completion       scripts that complete the command line in a shell
peer_state       the last state of each named peer
saving           writes a peer that was explained to the configuration file
match_output     matches of find as a table, CSV or JSON
echo, explain, send, receive, find, get, move, retrieve, peers  one command each; `dimse demo` is in `dimse.demo`
"""
