//! One node, from outside: its binary, its ports, its files.

mod doors;
mod lifecycle;
mod settings;
mod tokens;

mod running;
