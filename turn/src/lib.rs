//! Turns and steps of a caller's loop: an agent's turn, a CI job, as spans around the commands that it runs.
