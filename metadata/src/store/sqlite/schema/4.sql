-- Version 4. Released schemas are never edited: the next version is a file of its own.

-- Why the call of a process was cut short, where the process was killed for that: reset, deadline, client_lost, connection_lost, revoked,
-- shut_down, violation. Null otherwise, and in records of earlier versions.
alter table processes add column call_end text;
