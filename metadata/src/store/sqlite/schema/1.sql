-- Version 1. Released schemas are never edited: the next version is a file of its own.
-- Times are nanoseconds since 1970 in UTC. Ids are 16 bytes; hex() shows them.

-- One row a life of the server on this state directory.
create table lives (
    life        integer primary key,
    epoch       blob    not null unique,  -- what clients know this life by
    boot_id     blob,                     -- of the machine; a pid means nothing in another boot
    os_pid      integer,
    start_ticks integer,                  -- when the server's process was made, in clock ticks after the boot
    version     text,                     -- of baton
    begun_ns    integer,
    ended_ns    integer                   -- null: it runs, or was killed
) strict;

-- Clients, by the static key that they prove in the handshake.
create table owners (
    owner integer primary key,
    key   blob not null unique
) strict;

-- Names of stages, for people; written at each opening.
create table stages (
    stage integer primary key,
    name  text not null
) strict;

-- Which stages old timings are of, in order: one byte each. Thousands of old records share one row.
create table shapes (
    shape  integer primary key,
    stages blob not null unique
) strict;

-- How far work that goes through all records has come.
create table progress (
    task text    primary key,
    n    integer not null  -- processes.n
) strict;

create table threads (
    n               integer primary key,
    owner           integer not null,
    thread_id       text    not null,
    title           text,
    archived        integer not null default 0,
    created_ns      integer not null,
    updated_ns      integer not null,
    cwd             any,      -- text, or a blob where it is no UTF-8; so are the next two
    repository_root any,
    branch          any,
    head            text,
    facts_ns        integer,  -- when cwd, repository_root, branch and head were found
    unique (owner, thread_id)
) strict;

create index threads_by_update on threads (owner, archived, updated_ns);

create table thread_values (
    thread integer not null,  -- threads.n
    key    text    not null,
    value  text    not null,
    primary key (thread, key)
) strict, without rowid;

create table processes (
    n            integer primary key,
    owner        integer not null,
    id           blob    not null,
    begun_ns     integer not null,  -- when the start was accepted
    life         integer,
    thread       text,              -- threads.thread_id; the thread may be gone, or never have been described
    argv         any,               -- a JSON array, or a blob of NUL-terminated arguments where they are no UTF-8
    argv_cut     integer,
    cwd          any,
    detached     integer,
    parameters   blob,              -- digest of the start
    trace_id     blob,
    sampled      integer,
    os_pid       integer,
    start_ticks  integer,           -- with the life's boot id and os_pid: one process and no other
    spawned_ns   integer,
    last_seq     integer not null default 0,
    ended_ns     integer,
    outcome      text,              -- null while it runs; exited, signaled, timed_out, killed, failed_to_start, lost
    failed       integer not null default 0,
    exit_code    integer,
    signal       integer,
    core_dumped  integer,
    fault        text,
    stdout_bytes integer,
    stderr_bytes integer,
    slowest      integer,           -- stages.stage
    slowest_ns   integer,
    timings      blob,
    survivor     text,              -- of a lost one: killed or left, if it was found running when the server came back
    unique (owner, id)
) strict;

create index processes_by_time on processes (owner, begun_ns);
create index processes_by_thread on processes (owner, thread, begun_ns) where thread is not null;
create index processes_failed on processes (owner, begun_ns) where failed = 1;
create index processes_failed_by_thread on processes (owner, thread, begun_ns) where failed = 1 and thread is not null;
create index processes_running on processes (life) where outcome is null;
-- Trace ids are random: in one tree each insert would touch a page of its own. In buckets of 16,384 records only the last bucket is
-- written to, and a search looks into each.
create index processes_by_trace on processes (n >> 14, trace_id) where trace_id is not null;

-- For people.
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
    (p.ended_ns - coalesce(p.spawned_ns, p.begun_ns)) / 1e6 as duration_ms,
    s.name as slowest,
    p.slowest_ns / 1e6 as slowest_ms,
    p.thread,
    p.cwd,
    lower(hex(p.trace_id)) as trace_id,
    lower(hex(o.key)) as owner
from processes p
left join stages s on s.stage = p.slowest
left join owners o on o.owner = p.owner;
