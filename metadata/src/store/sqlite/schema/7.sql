-- Version 7. Released schemas are never edited: the next version is a file of its own.

-- The text of a record had the name that whose fault it is needs.
alter table processes rename column fault to message;

-- Why no process was started, where none was: command_not_found, not_executable, bad_cwd and so on. Null otherwise, and in
-- records of earlier versions.
alter table processes add column start_failure text;

-- A cancellation by the caller is no failure.
update processes set failed = 0 where failed = 1 and outcome = 'killed' and call_end = 'reset';

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
    coalesce(p.call_end, p.start_failure) as reason,
    p.message,
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
