//! Strangers' programs and strangers' certificates, against the library and the program: OpenSSL makes
//! certificates as people have them and speaks TLS with both ends, and a program of Python uploads.

#![cfg(unix)]

mod issued;
mod openssl;
mod said;
mod strangers;
mod uploader;
#[path = "../util/mod.rs"]
mod util;
