-- Version 6. Released schemas are never edited: the next version is a file of its own.

-- What the runtime family of a command measured, as JSON: its name, the remainder in nanoseconds, and the reasons of the
-- stages that are unavailable. Null: the start named no family, and in records of earlier versions.
alter table processes add column family text;
