-- Version 3. Released schemas are never edited: the next version is a file of its own.

-- Every record that was first written in this life or a later one has this processes.n or a higher one; null: not known. A life before the
-- one that the oldest record was written in has none left.
alter table lives add column first_n integer;

-- For people. A command takes from its acceptance to its end. Nobody saw the end of a lost one.
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
    p.cwd,
    lower(hex(p.trace_id)) as trace_id,
    lower(hex(o.key)) as owner
from processes p
left join stages s on s.stage = p.slowest
left join owners o on o.owner = p.owner;
