"""A real process is killed at every stage, in every namespace: see ``python -m tests.crash --help``.

A round: a simulator in a process of its own with strangers' listeners, a victim that opens sessions there, SIGKILL at
an exact stage, and the next start of the same program. When that one has settled and stopped, none of ours may be in
the simulator's own table, and no stranger's listener may have been closed.

What the rounds do not ask for, because no namespace can promise it:

* In the shared namespace of a 4.x node, whose list hides pinned relayers, the listener of a lost reply cannot be told
  from a stranger's and is left to its idle end. So the shared rounds run against dialect 3, whose list shows the path.
* In the shared namespace, a stranger that opens a listener just like ours after our look at the list makes both
  doubtful. So strangers just like ours are there before the victim starts; what comes later differs in something.
* Nobody else uses a range of ports or an address that is ours. The exception is a port that a DELETE of ours has just
  freed: a stranger may take it at once, except on an address of our own.
* A list that hides what was there before a POST would make any stranger look new: lists lie, or fail, to a start that
  comes to its end alone.

Modules, from the bottom up: plan, victim (the killed program), node, processes, rounds, campaign.
"""
