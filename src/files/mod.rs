//! What is on the disk: names, manifests, the walk that makes one, reading, and writing beneath
//! one folder. Knows no socket and no message.

pub mod attributes;
pub mod beneath;
pub mod by_name;
pub mod developer;
pub mod disk;
pub mod exclude;
pub mod expand;
pub mod folder;
pub mod git;
pub mod guard;
pub mod holes;
pub mod manifest;
pub mod mapping;
pub mod modes;
pub mod naming;
pub mod own;
pub mod path;
pub mod pseudo;
pub mod reader;
pub mod root;
pub mod select;
pub mod sparse;
pub mod stamp;
pub mod states;
pub mod target;
pub mod times;
pub mod trial;
pub mod walk;
