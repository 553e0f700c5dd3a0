-- Version 5. Released schemas are never edited: the next version is a file of its own.

-- The turn and the step of the caller's loop that a command belongs to. Null: none, and in records of earlier versions.
alter table processes add column turn integer;  -- from 1
alter table processes add column step text;

-- A turn's number repeats from thread to thread, and a step's id may, so a search in one thread has an index of its own.
-- Rows without a turn or a step take no room here.
create index processes_by_turn on processes (owner, turn, begun_ns) where turn is not null;
create index processes_by_thread_turn on processes (owner, thread, turn, begun_ns)
    where thread is not null and turn is not null;
create index processes_by_step on processes (owner, step, begun_ns) where step is not null;
create index processes_by_thread_step on processes (owner, thread, step, begun_ns)
    where thread is not null and step is not null;

-- For people.
drop view history;
create view history as
select
    lower(hex(p.id)) as id,
    strftime('%Y-%m-%d %H:%M:%S', p.begun_ns / 1000000000, 'unixepoch') as begun,
    case typeof(p.argv)
        when 'text' then (select group_concat(value, ' ') from json_each(p.argv))
        else hex(p.argv)
    end as command,
    coalesce(p.outcome, 'running') as outcome,
    p.failed,
    coalesce(p.exit_code, p.signal) as status,
    p.fault,
    case when p.outcome <> 'lost' then (p.ended_ns - p.begun_ns) / 1e6 end as duration_ms,
    s.name as slowest,
    p.slowest_ns / 1e6 as slowest_ms,
    p.thread,
    p.turn,
    p.step,
    p.cwd,
    lower(hex(p.trace_id)) as trace_id,
    lower(hex(o.key)) as owner
from processes p
left join stages s on s.stage = p.slowest
left join owners o on o.owner = p.owner;
