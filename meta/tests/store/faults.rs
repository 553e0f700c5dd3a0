//! The disk fails by command, under SQLite's own file layer.
