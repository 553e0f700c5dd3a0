-- Version 2. Released schemas are never edited: the next version is a file of its own.

-- Records that were given up before they could be written, because the disk took nothing for too long: how many of each owner, until
-- that owner acknowledges them. No row: none.
create table losses (
    owner   integer primary key,  -- owners.owner
    records integer not null
) strict;
