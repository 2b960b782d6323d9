//! Success only when it is on the disk.
