//! The `aa-monitor` command.

fn main() {}
